//! Plays a week of earthquakes through a guest and checks what it made of them. The guest may be written in
//! anything: this crate sees only what travels over NATS.

mod bucket;
mod config;
mod events;
mod figures;
mod known;
mod play;
mod report;
mod wharf;

pub use bucket::{BUCKET, settle};
pub use config::write as write_config;
pub use events::{Event, read};
pub use figures::{Figures, Network, Quake};
pub use known::check as check_known;
pub use play::play;
pub use report::{alerts, table};
pub use wharf::Wharf;

/// Where the events are, in the example that they belong to.
#[must_use]
pub fn data() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .with_file_name("quakes-rust")
        .join("data/earthquakes.jsonl")
}
