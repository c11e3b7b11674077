//! The tasks of this workspace: `cargo xtask help` lists them.
//!
//! No dependency but the standard library: this program must compile in a second on a fresh clone.
//! It changes nothing outside the working tree but the toolchain's target `wasm32-wasip2`.

mod deny;
mod fuzz;
mod guests;
mod process;
mod python;
mod server;
mod tasks;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use workspace::Workspace;

/// What a task ends with: nothing, or what is missing and how to get it.
type Result<T = ()> = std::result::Result<T, String>;

const HELP: &str = "\
The tasks of this workspace

Usage: cargo xtask <TASK> [ARGUMENTS]

Tasks:
  demo            Build everything, then send a week of earthquakes through a guest and check what it made of them
  test [ARGS]     Build the guests, then run every test; ARGS go to `cargo test --workspace`,
                  as in `cargo xtask test --test quakes` or `cargo xtask test -- drain`
  bench [ARGS]    Measure a guest beside a native handler, in the release build; `cargo xtask bench --help` lists ARGS
  fuzz [ARGS]     Try what reads strangers' bytes with inputs that nobody thought of: all targets side by side for a minute, or
                  as in `cargo xtask fuzz key --executions 1000000 --seed 7`
  deny            Check the dependencies: known faults, licences, sources
  guests          Build the guests alone, and say where they are
  help            Print this

Each task gets what it needs into `target/tools`: a nats-server (unless $WHARF_NATS_SERVER names one, or PATH has
one of 2.11 or newer), for `test` and `guests` the compiler for Python guests, and for `deny` cargo-deny and the
database of advisories ($WHARF_ADVISORY_DB names another git repository than GitHub's). It adds the Rust target
wasm32-wasip2 with rustup. Nothing else outside the working tree is changed.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (task, rest) = match arguments.split_first() {
        Some((task, rest)) => (task.as_str(), rest),
        None => ("help", &[][..]),
    };
    match run(task, rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &str, rest: &[String]) -> Result {
    let workspace = Workspace::find()?;
    match task {
        "demo" => none(task, rest).and_then(|()| tasks::demo(&workspace)),
        "test" => tasks::test(&workspace, rest),
        "bench" => tasks::bench(&workspace, rest),
        "fuzz" => fuzz::fuzz(&workspace, rest),
        "deny" => none(task, rest).and_then(|()| deny::deny(&workspace)),
        "guests" => none(task, rest).and_then(|()| tasks::guests(&workspace)),
        "help" | "-h" | "--help" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(format!(
            "there is no task `{other}`; `cargo xtask help` lists the tasks"
        )),
    }
}

fn none(task: &str, rest: &[String]) -> Result {
    match rest.first() {
        None => Ok(()),
        Some(argument) => Err(format!(
            "`cargo xtask {task}` takes no arguments, but got `{argument}`"
        )),
    }
}
