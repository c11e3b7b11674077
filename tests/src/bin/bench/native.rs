//! The native handler: this program itself, as a child process, so that its CPU time is its own.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::report::Kind;

/// The argument that makes this program the handler.
pub(crate) const FLAG: &str = "--native-handler";

/// Said on stdout once it is subscribed.
const READY: &[u8] = b"ready\n";

/// Echoes until stdin ends, as it does when the parent ends in any way.
pub(crate) async fn serve(url: &str) -> Result<()> {
    let client = async_nats::connect(url).await?;
    let mut messages = client.subscribe(Kind::Native.subject()).await?;
    client.flush().await?;
    let mut stdout = tokio::io::stdout();
    stdout.write_all(READY).await?;
    stdout.flush().await?;
    let echo = async {
        while let Some(message) = messages.next().await {
            if let Some(reply_to) = message.reply {
                client.publish(reply_to, message.payload).await?;
            }
        }
        anyhow::Ok(())
    };
    let mut rest = Vec::new();
    let mut stdin = tokio::io::stdin();
    tokio::select! {
        echoed = echo => echoed,
        ended = stdin.read_to_end(&mut rest) => Ok(ended.map(drop)?),
    }
}

/// The child process.
pub(crate) struct Handler(Child);

impl Handler {
    pub(crate) async fn start(url: &str) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args([FLAG, url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let mut said = [0; READY.len()];
        child
            .stdout
            .as_mut()
            .context("no stdout")?
            .read_exact(&mut said)
            .await
            .context("no native handler")?;
        Ok(Self(child))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id().expect("it is not awaited before it is stopped")
    }

    pub(crate) async fn stop(mut self) -> Result<()> {
        drop(self.0.stdin.take());
        let status = tokio::time::timeout(Duration::from_secs(10), self.0.wait()).await??;
        ensure!(status.success(), "the native handler ended with {status}");
        Ok(())
    }
}
