//! The demo: plays a week of earthquakes through a sandboxed guest and checks what it made of them. The guest may be
//! written in anything: this program sees only what travels over NATS. `cargo xtask demo` builds all that it takes and
//! runs it.

mod bucket;
mod config;
mod events;
mod figures;
mod known;
mod play;
mod report;
mod wharf;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::events::Event;
use crate::figures::Figures;
use crate::wharf::Wharf;

/// Compiling the guest included, which may carry a whole interpreter.
const START: Duration = Duration::from_secs(180);
const HANDLE: Duration = Duration::from_secs(120);
/// More than the host gives itself to drain.
const STOP: Duration = Duration::from_secs(45);
/// A week, for people to watch. Nobody watches where there is no terminal.
const WATCHED: Duration = Duration::from_secs(4);

#[tokio::main]
async fn main() -> ExitCode {
    match demo().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demo() -> Result<()> {
    let Arguments { guest, folder } = Arguments::read()?;
    let wharf = std::env::current_exe()?.with_file_name("wharf");
    let events = events::read(&events::data())?;
    let expected = Figures::expected(&events);
    known::check(&expected).context("the data are not what they should be")?;

    let config = config::write(&folder, &guest)?;
    eprintln!("Starting {} run --config {}", shown(&wharf), shown(&config));
    let host = Wharf::start(&wharf, &config, START).await?;
    eprintln!("The host is ready. Its own server is {}.", host.url());
    let shown = tokio::select! {
        shown = show(host.url(), &events, &expected) => shown,
        interrupt = tokio::signal::ctrl_c() => interrupt.map_err(Into::into).and_then(|()| bail!("interrupted")),
    };
    eprintln!("Stopping the host: it handles what has arrived, then it ends.");
    let stopped = stop(host).await;
    match (shown, stopped) {
        (Err(first), Err(second)) => bail!("{first:#}\nand then: {second:#}"),
        (Err(error), Ok(())) | (Ok(()), Err(error)) => return Err(error),
        (Ok(()), Ok(())) => {}
    }
    println!("\nAll figures are right, and the host drained and ended with exit code 0.");
    try_next(&wharf, &config, &guest);
    Ok(())
}

/// Plays the events, prints what the guest made of them, and checks it.
async fn show(url: &str, events: &[Event], expected: &Figures) -> Result<()> {
    let client = async_nats::connect(url)
        .await
        .with_context(|| format!("cannot connect to {url}"))?;
    let mut alerts = client.subscribe("alerts.>").await?;
    client.flush().await?;

    let bar = ProgressBar::new(expected.events()).with_style(ProgressStyle::with_template(
        "{bar:40} {pos}/{len} events handled, {elapsed}  {wide_msg}",
    )?);
    let duration = if std::io::stderr().is_terminal() {
        WATCHED
    } else {
        Duration::ZERO
    };
    let played = play::play(&client, events, duration);
    let handled = bucket::settle(&client, &mut alerts, expected, HANDLE, |figures, alert| {
        bar.set_position(figures.events());
        if let Some(alert) = alert {
            bar.set_message(format!("{:.1} {}", alert.mag, alert.place));
        }
    });
    let ((), figures) = tokio::try_join!(played, handled)?;
    bar.finish_with_message("");

    println!(
        "\nWhat the guest counted, as its bucket `{}` says:\n",
        bucket::BUCKET
    );
    println!("{}", report::table(&figures));
    print!("{}", report::alerts(&figures, 5));
    let differences = figures.differences(expected);
    ensure!(
        differences.is_empty(),
        "after {HANDLE:?} the figures are wrong:\n  {}",
        differences.join("\n  ")
    );
    known::check(&figures)
}

async fn stop(host: Wharf) -> Result<()> {
    let (status, log) = host.stop(STOP).await?;
    ensure!(
        status.success(),
        "the host ended with {status} instead of exit code 0. It wrote:\n{log}"
    );
    Ok(())
}

fn try_next(wharf: &Path, config: &Path, guest: &Path) {
    let (wharf, config, guest) = (shown(wharf), shown(config), shown(guest));
    let server = std::env::var_os("WHARF_NATS_SERVER").map_or(String::new(), |server| {
        format!("WHARF_NATS_SERVER={} ", shown(Path::new(&server)))
    });
    println!(
        "
Try next:
  {server}{wharf} run --config {config}
      the same host, until Ctrl-C; what was counted is still there
  {wharf} inspect {guest}
      what the guest wants from its host, in words
  README.md, \"Your first guest\"
      one of your own"
    );
}

/// A path as one would type it here.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here)
        .unwrap_or(path)
        .display()
        .to_string()
}

/// What the program is told.
struct Arguments {
    /// The guest's component.
    guest: PathBuf,
    /// A folder that is emptied, then holds all that the host writes.
    folder: PathBuf,
}

impl Arguments {
    fn read() -> Result<Self> {
        let arguments: Vec<_> = std::env::args_os().skip(1).collect();
        match arguments.as_slice() {
            [guest_flag, guest, folder_flag, folder]
                if guest_flag == "--guest" && folder_flag == "--folder" =>
            {
                Ok(Self {
                    guest: guest.into(),
                    folder: folder.into(),
                })
            }
            _ => bail!(
                "usage: quakes-demo --guest FILE.wasm --folder FOLDER; `cargo xtask demo` runs it"
            ),
        }
    }
}
