//! The contract is not one language's own: every example does the same job, and is found by its folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quakes_demo::{Figures, Wharf};

/// Compiling a guest that carries its whole interpreter included.
const START: Duration = Duration::from_secs(180);
const HANDLE: Duration = Duration::from_secs(120);
const STOP: Duration = Duration::from_secs(45);

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
    for entry in std::fs::read_dir(root().join("examples"))? {
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
    let component = component(example)?;
    let folder = tempfile::tempdir()?;
    let config = quakes_demo::write_config(folder.path(), &component)?;
    let host = Wharf::start(&target().join("debug/wharf"), &config, START).await?;
    let figures = play(host.url()).await;
    let (status, log) = host.stop(STOP).await?;
    quakes_demo::check_known(&figures?).with_context(|| format!("the host wrote:\n{log}"))?;
    ensure!(
        status.success(),
        "the host ended with {status}. It wrote:\n{log}"
    );
    Ok(())
}

async fn play(url: &str) -> Result<Figures> {
    let events = quakes_demo::read(&quakes_demo::data())?;
    let expected = Figures::expected(&events);
    let client = async_nats::connect(url).await?;
    let mut alerts = client.subscribe("alerts.>").await?;
    client.flush().await?;
    let played = quakes_demo::play(&client, &events, Duration::ZERO);
    let handled = quakes_demo::settle(&client, &mut alerts, &expected, HANDLE, |_, _| {});
    let ((), figures) = tokio::try_join!(played, handled)?;
    let differences = figures.differences(&expected);
    ensure!(
        differences.is_empty(),
        "the figures are wrong:\n{}",
        differences.join("\n")
    );
    Ok(figures)
}

/// Where a guest was built to.
fn component(example: &str) -> Result<PathBuf> {
    let component = match example.strip_suffix("-rust") {
        Some(_) => target()
            .join("wasm32-wasip2/guest")
            .join(format!("{}.wasm", example.replace('-', "_"))),
        None => target().join("guests").join(format!("{example}.wasm")),
    };
    ensure!(
        component.is_file(),
        "{} is missing: run `cargo xtask guests`",
        component.display()
    );
    Ok(component)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate is in the workspace")
}

/// This test's program is in `<target>/debug/deps`.
fn target() -> PathBuf {
    let program = std::env::current_exe().expect("the program knows where it is");
    program
        .ancestors()
        .nth(3)
        .expect("it is in a target directory")
        .to_owned()
}
