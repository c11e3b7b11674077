//! A guest's stdout and stderr, as log lines under its name.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tracing::Level;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use super::sanitize;
use crate::guest_log::GuestLog;
use crate::lock::locked;

/// The most bytes of a log line. A longer one is cut into several, so that a guest cannot make the host hold on to one without an end.
const MAX_LINE_BYTES: usize = 8 * 1024;

/// The most that is taken at once; the guest comes back with the rest. Each byte may be a line by itself, and nobody else
/// runs while they are logged.
const MAX_WRITE_BYTES: usize = 4 * 1024;

/// The two streams of output.
#[derive(Debug, Clone, Copy)]
pub(super) enum StandardStream {
    Stdout,
    Stderr,
}

/// One stream of one instance.
#[derive(Clone)]
pub(super) struct LogStream {
    /// The version's log, which decides by its limits on each line.
    log: Arc<GuestLog>,
    /// The stream's kind, named in each line: only on stderr can a line say its level.
    stream: StandardStream,
    /// The line that has no end yet.
    line: Arc<Mutex<Vec<u8>>>,
}

impl LogStream {
    pub(super) fn new(log: Arc<GuestLog>, stream: StandardStream) -> Self {
        Self {
            log,
            stream,
            line: Arc::default(),
        }
    }

    fn take(&self, bytes: &[u8]) {
        let mut line = locked(&self.line);
        for &byte in bytes {
            if byte != b'\n' {
                line.push(byte);
            }
            if byte == b'\n' || line.len() >= MAX_LINE_BYTES {
                self.log(&line);
                line.clear();
            }
        }
    }

    fn log(&self, line: &[u8]) {
        if !self.log.admits(line.len()) {
            return;
        }
        let GuestLog { guest, version, .. } = &*self.log;
        let line = String::from_utf8_lossy(line);
        let line = sanitize::in_one_line(line.trim_end_matches('\r'));
        let (level, text) = leveled(self.stream, &line);
        let stream = match self.stream {
            StandardStream::Stdout => "stdout",
            StandardStream::Stderr => "stderr",
        };
        // A level is part of where an event comes from, and that is known when the host is compiled.
        macro_rules! event {
            ($level:expr) => {
                tracing::event!(target: "wharf::guest", $level, %guest, version, stream, "{text}")
            };
        }
        match level {
            Level::ERROR => event!(Level::ERROR),
            Level::WARN => event!(Level::WARN),
            Level::DEBUG => event!(Level::DEBUG),
            _ => event!(Level::INFO),
        }
    }
}

/// A line's level and text. `warn: text` on stderr, as the SDKs write it, is a warning; all that does not say is
/// information.
fn leveled(stream: StandardStream, line: &str) -> (Level, &str) {
    let said = match stream {
        StandardStream::Stdout => None,
        StandardStream::Stderr => line.split_once(": "),
    };
    match said {
        Some(("error", text)) => (Level::ERROR, text),
        Some(("warn", text)) => (Level::WARN, text),
        Some(("info", text)) => (Level::INFO, text),
        Some(("debug", text)) => (Level::DEBUG, text),
        _ => (Level::INFO, line),
    }
}

/// The last clone logs what was not ended by a line break.
impl Drop for LogStream {
    fn drop(&mut self) {
        if Arc::strong_count(&self.line) == 1 {
            let line = std::mem::take(&mut *locked(&self.line));
            if !line.is_empty() {
                self.log(&line);
            }
        }
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > MAX_WRITE_BYTES {
            return Err(StreamError::trap(
                "cannot write more than `check-write` allows",
            ));
        }
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_WRITE_BYTES)
    }
}

impl AsyncWrite for LogStream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_on_stderr_may_say_its_level() {
        let on_stderr = |line| leveled(StandardStream::Stderr, line);
        assert_eq!(on_stderr("error: disk: full"), (Level::ERROR, "disk: full"));
        assert_eq!(on_stderr("warn: low"), (Level::WARN, "low"));
        assert_eq!(on_stderr("info: "), (Level::INFO, ""));
        assert_eq!(on_stderr("debug: x = 1"), (Level::DEBUG, "x = 1"));
    }

    #[test]
    fn any_other_line_is_information_as_it_is() {
        for line in [
            "",
            "low",
            "error:low",
            "an error: low",
            "Error: low",
            "warning: low",
            "trace: low",
        ] {
            assert_eq!(leveled(StandardStream::Stderr, line), (Level::INFO, line));
        }
        assert_eq!(
            leveled(StandardStream::Stdout, "error: 0.1 %"),
            (Level::INFO, "error: 0.1 %")
        );
    }
}
