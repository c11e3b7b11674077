//! How the command ends.

use std::process::ExitCode;

use wharf::config::ConfigErrors;

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All was done.
    Done = 0,
    /// Something failed at run time, or work was abandoned.
    Failed = 1,
    /// The arguments or the configuration are wrong; nothing was begun. The code that clap uses, too.
    Usage = 2,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why the command could not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The settings are wrong: all that is wrong with them.
    Config(ConfigErrors),
    /// The command was given something that it cannot use.
    Usage(anyhow::Error),
    /// Something failed while it worked.
    Runtime(anyhow::Error),
}

impl Failure {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Usage(_) => Exit::Usage,
            Self::Runtime(_) => Exit::Failed,
        }
    }

    /// Arguments that cannot be used, for this reason.
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
