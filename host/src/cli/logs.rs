//! Log lines, on stderr.

use std::io::IsTerminal;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use super::args::{Args, Command, LogFormat};
use super::exit::Failure;
use super::output;

/// The environment variable with the filter of log lines.
const VARIABLE: &str = "WHARF_LOG";

/// The most lines that wait for whoever reads stderr. Lines of guests have up to 8 KiB.
const MAX_WAITING_LINES: usize = 4096;

/// Begins to write log lines. Those of a running host are written by a thread of their own, and are dropped while nobody reads them:
/// its guests and its signals wait for no reader. What the guard holds is written when it is dropped.
pub(super) fn start(args: &Args) -> Result<Option<WorkerGuard>, Failure> {
    let filter = filter(args)?;
    let (writer, guard) = match &args.command {
        Command::Run(_) => {
            let (stderr, guard) = NonBlockingBuilder::default()
                .buffered_lines_limit(MAX_WAITING_LINES)
                .thread_name("wharf-stderr")
                .finish(std::io::stderr());
            output::write_by(stderr.clone());
            (BoxMakeWriter::new(stderr), Some(guard))
        }
        _ => (BoxMakeWriter::new(std::io::stderr), None),
    };
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    match args.log_format {
        LogFormat::Json => logs.json().flatten_event(true).init(),
        LogFormat::Text => {
            // As for all other output: NO_COLOR and CLICOLOR_FORCE count.
            let colours =
                anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
            logs.with_target(false)
                .with_ansi(colours && std::io::stderr().is_terminal())
                .init();
        }
    }
    Ok(guard)
}

fn filter(args: &Args) -> Result<EnvFilter, Failure> {
    if let Some(directives) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        let directives = directives
            .to_str()
            .ok_or_else(|| Failure::usage(format!("{VARIABLE} is not UTF-8")))?;
        return EnvFilter::try_new(directives)
            .map_err(|error| Failure::usage(format!("{VARIABLE}: {error}")));
    }
    // Only a running host logs its normal work; the other commands print their results.
    let directives = match (args.verbose, &args.command) {
        (0, Command::Run(_)) => "warn,wharf=info",
        (0, _) => "warn",
        (1, _) => "info,wharf=debug",
        _ => "debug,wharf=trace",
    };
    Ok(EnvFilter::new(directives))
}
