//! What the build made, beside the program that runs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The directory that everything is built into, `target` unless Cargo was told otherwise.
///
/// # Errors
/// When this program is in none.
pub fn target() -> Result<PathBuf> {
    let target = profile()?.parent().map(PathBuf::from);
    target.context("programs are in target/PROFILE")
}

/// The root of the workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// A program of this workspace, as it was built in this profile.
///
/// # Errors
/// When it has not been built.
pub fn program(name: &str) -> Result<PathBuf> {
    let program = profile()?.join(name);
    ensure!(
        program.exists(),
        "{} is missing: run `cargo build --workspace`",
        program.display()
    );
    Ok(program)
}

/// The component of a guest of `tests/guests` or `examples`, as `cargo xtask guests` builds it.
///
/// # Errors
/// When it has not been built.
pub fn component(name: &str) -> Result<PathBuf> {
    let target = target()?;
    let component = if name.ends_with("-python") {
        target.join(format!("guests/{name}.wasm"))
    } else {
        let name = name.replace('-', "_");
        target.join(format!("wasm32-wasip2/guest/{name}.wasm"))
    };
    ensure!(
        component.exists(),
        "{} is missing: run `cargo xtask guests`",
        component.display()
    );
    Ok(component)
}

/// `target/debug` for tests, which are in its `deps`; `target/release` for the benchmark, which is not.
fn profile() -> Result<PathBuf> {
    let program = std::env::current_exe().context("this program cannot tell where it is")?;
    let mut folders = program.ancestors().skip(1);
    let folder = folders.find(|folder| !folder.ends_with("deps"));
    folder
        .map(PathBuf::from)
        .context("programs are in target/PROFILE")
}
