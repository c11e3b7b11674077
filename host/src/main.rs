//! The command `wharf`.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
