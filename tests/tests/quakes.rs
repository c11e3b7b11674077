//! The contract is not one language's own: every example does the same job, and is found by its folder. The demo plays
//! the week to it and checks its figures.

use std::process::Stdio;

use anyhow::{Result, ensure};
use tokio::process::Command;
use wharf_tests::{component, nats_server, program, workspace};

#[tokio::test]
async fn a_guest_in_rust_makes_the_known_figures_of_a_week_of_earthquakes() -> Result<()> {
    makes_the_known_figures("quakes-rust").await
}

#[tokio::test]
async fn a_guest_in_python_makes_the_known_figures_of_a_week_of_earthquakes() -> Result<()> {
    makes_the_known_figures("quakes-python").await
}

#[test]
fn every_example_guest_is_tested_here() -> Result<()> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(workspace().join("examples"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        found.extend((name != "quakes-demo").then_some(name));
    }
    found.sort();
    assert_eq!(
        found,
        ["quakes-python", "quakes-rust"],
        "add a test for what is new"
    );
    Ok(())
}

async fn makes_the_known_figures(example: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut demo = Command::new(program("quakes-demo")?);
    demo.arg("--guest").arg(component(example)?);
    demo.arg("--folder").arg(folder.path().join("demo"));
    demo.env("WHARF_NATS_SERVER", nats_server());
    // It gives up by itself, and ends its host first.
    let ended = demo.stdin(Stdio::null()).output().await?;
    let stderr = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{}:\n{stderr}", ended.status);
    let stdout = String::from_utf8(ended.stdout)?;
    ensure!(
        stdout.contains("All figures are right, and the host drained and ended with exit code 0."),
        "{stdout}\n{stderr}"
    );
    Ok(())
}
