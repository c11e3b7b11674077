//! Log lines, on stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::args::{Args, Command, LogFormat};
use super::exit::Failure;

/// The environment variable with the filter of log lines.
const VARIABLE: &str = "WHARF_LOG";

/// Begins to write log lines.
pub(super) fn start(args: &Args) -> Result<(), Failure> {
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter(args)?)
        .with_writer(std::io::stderr);
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
    Ok(())
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
