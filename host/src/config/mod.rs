//! Settings: as they are written, then as they are meant.

mod settings;

pub use settings::*;
