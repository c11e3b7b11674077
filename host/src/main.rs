//! The command `wharf`.

// `cli/output.rs` prints: colours and machine-readable logs are decided there.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
