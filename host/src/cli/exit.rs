//! Exit codes, and the failures behind them.

use std::process::ExitCode;

use wharf::config::ConfigErrors;

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Success.
    Done = 0,
    /// Something failed at run time, or messages were abandoned.
    Failed = 1,
    /// The arguments or the configuration are wrong; nothing was begun. The code that clap uses, too.
    Usage = 2,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A failure of the command.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The settings are wrong: all their problems.
    Config(ConfigErrors),
    /// An argument that cannot be used.
    Usage(anyhow::Error),
    /// Something failed at run time.
    Runtime(anyhow::Error),
}

impl Failure {
    /// The exit code of the failure.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Usage(_) => Exit::Usage,
            Self::Runtime(_) => Exit::Failed,
        }
    }

    /// An argument that cannot be used, for this reason.
    pub(crate) fn usage(reason: impl Into<String>) -> Self {
        Self::Usage(anyhow::Error::msg(reason.into()))
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::Config(errors)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Runtime(error)
    }
}
