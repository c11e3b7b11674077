//! The command: arguments, output, exit codes, signals. The library does all else.

mod args;
mod check;
mod errand;
mod error_reply;
mod exit;
mod guests;
mod host_client;
mod hosts;
mod inspect;
mod logs;
mod output;
mod push;
mod reload;
mod run;
mod send;
mod sources;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use exit::{Exit, Failure};

/// Runs the command.
pub(crate) fn main() -> ExitCode {
    // Clap prints its own errors, and ends with the code for wrong usage.
    let args = Args::parse();
    let mut writing = None;
    let executed = logs::start(&args).and_then(|guard| {
        writing = guard;
        execute(args)
    });
    let exit = match executed {
        Ok(exit) => exit,
        Err(failure) => {
            output::report(&failure);
            failure.exit()
        }
    };
    output::report_dropped_lines();
    // Writes what waits, for a second at most.
    drop(writing);
    exit.into()
}

fn execute(args: Args) -> Result<Exit, Failure> {
    match args.command {
        Command::Run(command) => run::run(command, args.log_format),
        Command::Check(command) => check::check(&command),
        Command::Inspect(command) => inspect::inspect(&command),
        Command::Send(command) => send::send(&command),
        Command::Push(command) => push::push(&command),
        Command::Hosts(command) => hosts::hosts(&command),
        Command::Guests(command) => guests::guests(&command),
    }
}
