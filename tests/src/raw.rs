//! A NATS client of a few lines, which sends bytes as they are: what no library would.

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

use crate::{TestServer, soon};

/// Headers with a lone carriage return in a value. The client library panics when it reads them.
pub const LONE_CR: &[u8] = b"NATS/1.0\r\nX: a\rb\r\n\r\n";

/// Headers with a space in a name. The client library drops the connection when it reads them.
pub const SPACE_IN_NAME: &[u8] = b"NATS/1.0\r\nA B: x\r\n\r\n";

/// Such a client, without a name or password.
#[derive(Debug)]
pub struct Raw {
    stream: BufStream<TcpStream>,
    /// Messages that arrived while something else was waited for.
    arrived: Vec<RawMessage>,
}

/// A message as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawMessage {
    /// The subject that it was published on.
    pub subject: Vec<u8>,
    /// Where a reply goes.
    pub reply: Option<Vec<u8>>,
    /// The block of headers, its first and last line included. Empty if there is none.
    pub headers: Vec<u8>,
    /// What comes after the headers.
    pub payload: Vec<u8>,
}

impl Raw {
    /// Connects, and waits until the server has let it in.
    ///
    /// # Errors
    /// When it does not.
    pub async fn connect(server: &TestServer) -> Result<Self> {
        let stream = TcpStream::connect(server.address()).await?;
        stream.set_nodelay(true)?;
        let mut raw = Self {
            stream: BufStream::new(stream),
            arrived: Vec::new(),
        };
        ensure!(raw.line().await?.starts_with(b"INFO "), "no INFO");
        let options = r#"{"verbose":false,"headers":true,"no_responders":true,"protocol":1,"lang":"raw","version":"0"}"#;
        raw.send(format!("CONNECT {options}\r\n").as_bytes())
            .await?;
        raw.flush().await?;
        Ok(raw)
    }

    /// Sends these bytes, whatever they are.
    ///
    /// # Errors
    /// When the server has closed the connection.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// Publishes a message with this block of headers, which nobody looks at; the lengths are right.
    ///
    /// # Errors
    /// As [`Raw::send`].
    pub async fn publish(
        &mut self,
        subject: impl AsRef<[u8]>,
        reply: impl AsRef<[u8]>,
        headers: &[u8],
        payload: &[u8],
    ) -> Result<()> {
        let (head, all) = (headers.len(), headers.len() + payload.len());
        let line = format!(" {head} {all}\r\n");
        let parts: [&[u8]; 8] = [
            b"HPUB ",
            subject.as_ref(),
            b" ",
            reply.as_ref(),
            line.as_bytes(),
            headers,
            payload,
            b"\r\n",
        ];
        self.send(&parts.concat()).await
    }

    /// Publishes such a message to a stream, and waits until it is stored, with all that was published before. Hears what
    /// else arrives meanwhile, too: for a client that has no other subscription.
    ///
    /// # Errors
    /// As [`Raw::send`], and when it is not stored.
    pub async fn store(
        &mut self,
        subject: impl AsRef<[u8]>,
        headers: &[u8],
        payload: &[u8],
    ) -> Result<()> {
        const ANSWER: &str = "_INBOX.raw.stored";
        self.subscribe(ANSWER).await?;
        self.publish(subject, ANSWER, headers, payload).await?;
        let answer = self.next().await?.payload;
        let text = String::from_utf8_lossy(&answer);
        ensure!(
            text.contains("\"seq\":") && !text.contains("error"),
            "{text}"
        );
        Ok(())
    }

    /// Waits until the server has taken everything that was sent before.
    ///
    /// # Errors
    /// As [`Raw::send`].
    pub async fn flush(&mut self) -> Result<()> {
        self.send(b"PING\r\n").await?;
        loop {
            let line = soon("the server answers", self.line()).await??;
            if line == b"PONG" {
                return Ok(());
            }
            self.take(&line).await?;
        }
    }

    /// Subscribes; the server has noted it afterwards.
    ///
    /// # Errors
    /// As [`Raw::send`].
    pub async fn subscribe(&mut self, subject: &str) -> Result<()> {
        self.send(format!("SUB {subject} 1\r\n").as_bytes()).await?;
        self.flush().await
    }

    /// The next message, on whichever subject.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn next(&mut self) -> Result<RawMessage> {
        while self.arrived.is_empty() {
            let line = soon("a message arrives", self.line()).await??;
            self.take(&line).await?;
        }
        Ok(self.arrived.remove(0))
    }

    async fn line(&mut self) -> Result<Vec<u8>> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).await?;
        let line = line.strip_suffix(b"\r\n");
        Ok(line
            .context("the server has closed the connection")?
            .to_vec())
    }

    /// Does what a line from the server asks for.
    async fn take(&mut self, line: &[u8]) -> Result<()> {
        let mut fields = line.split(|byte| *byte == b' ');
        let verb = fields.next().unwrap_or_default();
        let fields: Vec<Vec<u8>> = fields.map(<[u8]>::to_vec).collect();
        let lengths = match verb {
            b"PING" => return self.send(b"PONG\r\n").await,
            b"MSG" => 1,
            b"HMSG" => 2,
            b"INFO" => return Ok(()),
            _ => bail!("the server says {}", String::from_utf8_lossy(line)),
        };
        let number =
            |field: &Vec<u8>| -> Result<usize> { Ok(std::str::from_utf8(field)?.parse()?) };
        let (names, lengths) = fields
            .split_at_checked(fields.len().saturating_sub(lengths))
            .context("a message with too few fields")?;
        let all = number(lengths.last().context("a length")?)?;
        let head = match lengths {
            [head, _] => number(head)?,
            _ => 0,
        };
        let mut headers = vec![0; all + 2];
        self.stream.read_exact(&mut headers).await?;
        headers.truncate(all);
        let payload = headers.split_off(head);
        let [subject, _, reply @ ..] = names else {
            bail!("a message with too few fields");
        };
        self.arrived.push(RawMessage {
            subject: subject.clone(),
            reply: reply.first().cloned(),
            headers,
            payload,
        });
        Ok(())
    }
}
