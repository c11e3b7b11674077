//! Tasks and their ends.

use tokio::task::JoinError;

/// Logs that a task has panicked, if it has. That it was aborted is no news.
pub(crate) fn log_panic(what: &str, ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("{what} has panicked: {error}");
    }
}
