//! The Rust target that guests are built for.

use std::path::Path;
use std::process::Command;

use crate::{Result, process};

/// The target of every Rust guest.
pub(crate) const TARGET: &str = "wasm32-wasip2";

/// Makes sure that the toolchain can build guests.
pub(crate) fn ensure_target() -> Result {
    if installed()? {
        return Ok(());
    }
    if process::output(Command::new("rustup").arg("--version")).is_err() {
        return Err(format!(
            "this Rust toolchain lacks the target {TARGET}, and there is no rustup to add it with.\n\
             Install Rust with rustup (https://rustup.rs), or the {TARGET} standard library with whatever \
             installed Rust here."
        ));
    }
    process::run(Command::new("rustup").args(["target", "add", TARGET])).map_err(|error| {
        format!(
            "the Rust target {TARGET} is missing and could not be added.\nIt takes the network, once. {error}"
        )
    })
}

/// Asks the compiler, not rustup: a toolchain may have come another way.
fn installed() -> Result<bool> {
    let sysroot = process::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    Ok(Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(TARGET)
        .join("lib")
        .is_dir())
}
