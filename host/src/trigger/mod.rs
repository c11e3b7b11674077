//! Where a guest's messages come from, and how what became of them is carried out. Knows nothing of WebAssembly.

mod subject;

pub(crate) use subject::{Arrival, Subjects};
