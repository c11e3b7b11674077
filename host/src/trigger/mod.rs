//! Where a guest's messages come from, and how what became of them is carried out. Knows nothing of WebAssembly.

mod arrival;
mod subject;
mod version;

pub(crate) use arrival::Arrival;
pub(crate) use subject::{Gate, Subjects};
pub(crate) use version::VersionSubjects;
