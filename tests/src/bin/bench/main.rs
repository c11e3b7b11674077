//! Measures a guest beside a native async-nats handler, in one run, on one server: absolute figures vary from machine
//! to machine, their ratio is what to keep. `cargo xtask bench` builds all that it takes and runs it.

mod cpu;
mod load;
mod native;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use report::{Figure, Kind};
use wharf_tests::{TestServer, Wharf, wharf};

const HELP: &str = "\
Measures a guest beside a native async-nats handler

Usage: cargo xtask bench [--seconds N] [--rounds N] [--json]

  --seconds N  How long each handler is kept busy in a round (default: 3)
  --rounds N   How often all of them take their turn (default: 3); the figures are the rounds' medians
  --json       Print the figures as JSON
";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [native::FLAG, url] => native::serve(url).await,
        [.., "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => bench(Arguments::read(arguments)?).await,
    }
}

async fn bench(arguments: Arguments) -> Result<()> {
    if cfg!(debug_assertions) {
        eprintln!(
            "warning: this is a debug build, and its figures say nothing: use `cargo xtask bench`"
        );
    }
    let folder = tempfile::tempdir()?;
    let mut server = TestServer::start("").await?;
    let url = server.url();
    let native = native::Handler::start(&url).await?;
    let direct = folder.path().join("direct");
    configure(
        &direct,
        &url,
        "never",
        &[(Kind::Reused, 1_000_000), (Kind::Fresh, 1)],
        &arguments.guest,
    )?;
    let host = Wharf::start(wharf::command(&direct, &["run"])?).await?;
    let filtered = folder.path().join("filtered");
    configure(
        &filtered,
        &url,
        "always",
        &[(Kind::Filtered, 1_000_000)],
        &arguments.guest,
    )?;
    let filtered = Wharf::start(wharf::command(&filtered, &["run"])?).await?;

    let handlers = [
        (Kind::Native, native.pid()),
        (Kind::Reused, host.pid()?),
        (Kind::Fresh, host.pid()?),
        (Kind::Filtered, filtered.pid()?),
    ];
    let figures = measure(&arguments, &url, handlers).await;
    let stopped = [host.stop().await?, filtered.stop().await?];
    native.stop().await?;
    server.stop().await?;
    let figures = figures?;
    for stopped in stopped {
        stopped.well()?;
    }
    if arguments.json {
        report::json(&figures)
    } else {
        report::table(&figures)
    }
}

/// Lets each handler take its turn in every round, so that what disturbs the machine disturbs all of them.
async fn measure(
    arguments: &Arguments,
    url: &str,
    handlers: [(Kind, u32); 4],
) -> Result<Vec<Figure>> {
    let client = async_nats::connect(url).await?;
    let mut figures = Vec::new();
    for round in 0..=arguments.rounds {
        for (kind, pid) in handlers {
            // The first round only warms up: caches, pools, the server's routes.
            let duration = if round == 0 {
                Duration::from_millis(200)
            } else {
                arguments.duration
            };
            eprintln!("round {round} of {}: {}", arguments.rounds, kind.name());
            let figure = load::measure(&client, kind, pid, duration)
                .await
                .with_context(|| kind.name())?;
            if round > 0 {
                figures.push(figure);
            }
        }
    }
    Ok(report::medians(&figures))
}

/// One host in a folder of its own, with guests of the same component, and how often each uses an instance.
fn configure(
    folder: &Path,
    url: &str,
    filter: &str,
    guests: &[(Kind, u32)],
    guest: &Path,
) -> Result<()> {
    std::fs::create_dir(folder)?;
    let guest = serde_json::to_string(&std::path::absolute(guest)?.to_string_lossy())?;
    let mut text =
        format!("nats.server = \"{url}\"\nnats.filter = \"{filter}\"\nhost.cache = \"cache\"\n");
    for (kind, reuse) in guests {
        let (name, subject) = (kind.key(), kind.subject());
        text += &format!(
            "[guests.{name}]\ncomponent = {guest}\nsubscribe = [\"{subject}\"]\ninstances.reuse = {reuse}\n"
        );
    }
    Ok(std::fs::write(folder.join("wharf.toml"), text)?)
}

/// What the program is told.
struct Arguments {
    guest: PathBuf,
    duration: Duration,
    rounds: u32,
    json: bool,
}

impl Arguments {
    fn read(arguments: Vec<String>) -> Result<Self> {
        let mut read = Self {
            guest: PathBuf::new(),
            duration: Duration::from_secs(3),
            rounds: 3,
            json: false,
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .with_context(|| format!("{argument} takes a value"))
            };
            match argument.as_str() {
                "--guest" => read.guest = value()?.into(),
                "--seconds" => read.duration = Duration::from_secs(number(&value()?)?.into()),
                "--rounds" => read.rounds = number(&value()?)?,
                "--json" => read.json = true,
                _ => bail!("unknown argument `{argument}`; `cargo xtask bench --help` lists them"),
            }
        }
        ensure!(
            read.guest.is_file(),
            "no component to measure: `cargo xtask bench` names it"
        );
        Ok(read)
    }
}

fn number(text: &str) -> Result<u32> {
    let number: u32 = text
        .parse()
        .with_context(|| format!("`{text}` is no number"))?;
    ensure!((1..=60).contains(&number), "{number} is not from 1 to 60");
    Ok(number)
}
