//! One function for each task, and the steps that they share.

use std::process::Command;

use crate::workspace::Workspace;
use crate::{Result, guests as guest, process, server};

/// Plays the demo's data through its guest.
pub(crate) fn demo(workspace: &Workspace) -> Result {
    let nats_server = server::find(workspace)?;
    let components = guest::build_rust(workspace)?;
    build(workspace, &[])?;
    let mut demo = Command::new(workspace.program("debug", "quakes-demo"));
    demo.current_dir(&workspace.root)
        .env(server::VARIABLE, nats_server);
    demo.arg("--guest").arg(components.join("quakes_rust.wasm"));
    demo.arg("--folder").arg(workspace.target.join("demo"));
    process::run(&mut demo)
}

/// Runs every test.
pub(crate) fn test(workspace: &Workspace, arguments: &[String]) -> Result {
    let nats_server = server::find(workspace)?;
    guests(workspace)?;
    // The tests start programs of the workspace: `cargo test` alone builds only those of each test's own package.
    build(workspace, &[])?;
    let mut cargo = process::cargo();
    cargo
        .current_dir(&workspace.root)
        .args(["test", "--workspace"])
        .args(arguments);
    // Compiled components would otherwise be kept in the user's cache directory.
    cargo
        .env(server::VARIABLE, nats_server)
        .env("XDG_CACHE_HOME", workspace.target.join("cache"));
    process::run(&mut cargo)
}

/// Measures a guest beside a native handler.
pub(crate) fn bench(workspace: &Workspace, arguments: &[String]) -> Result {
    let nats_server = server::find(workspace)?;
    let components = guest::build_rust(workspace)?;
    build(workspace, &["--release"])?;
    let mut bench = Command::new(workspace.program("release", "bench"));
    bench
        .current_dir(&workspace.root)
        .env(server::VARIABLE, nats_server);
    bench.env("XDG_CACHE_HOME", workspace.target.join("cache"));
    process::run(
        bench
            .arg("--guest")
            .arg(components.join("echo.wasm"))
            .args(arguments),
    )
}

/// Builds every guest.
pub(crate) fn guests(workspace: &Workspace) -> Result {
    let components = guest::build_rust(workspace)?;
    eprintln!("Rust guests are in {}", workspace.shown(&components));
    for component in guest::build_python(workspace)? {
        eprintln!("a Python guest is {}", workspace.shown(&component));
    }
    Ok(())
}

/// Builds the whole workspace, always: a part of it would be built with other features of its dependencies, twice.
fn build(workspace: &Workspace, options: &[&str]) -> Result {
    process::run(
        process::cargo()
            .current_dir(&workspace.root)
            .args(["build", "--workspace"])
            .args(options),
    )
}
