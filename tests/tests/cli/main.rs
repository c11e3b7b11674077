//! The command, as people and scripts use it: arguments, output, exit codes, signals.
#![allow(missing_docs, clippy::unwrap_used)]

mod command;
mod offline;
mod push;
mod run;
mod send;
mod watch;
