//! Fuzz targets: what reads bytes or texts of strangers is given many that nobody thought of.
//!
//! `cargo xtask fuzz` runs them, for a minute or as long as it is told. The compiler in use has no coverage to steer by:
//! inputs are mutated from a corpus, and one after which a target tells of something new joins the corpus for the rest of
//! the run. `cargo test` runs each target for a moment, from a fixed seed.
//!
//! | file | what |
//! |---|---|
//! | `targets.rs` | the list of targets |
//! | `fuzzer.rs` | one run: inputs, their execution, and the report of one that fails |
//! | `mutate.rs` | new inputs from those that there are |
//!
//! A target is a function beside the code that it tries, named `fuzz`. It panics where a promise does not hold, and returns
//! a number that tells what kind of input it was given. Its corpus is the folder `host/fuzz/NAME`.

mod fuzzer;
mod mutate;
mod targets;

pub(crate) use fuzzer::{kind_of, lines};
