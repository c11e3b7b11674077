//! The last message of every subject of a bucket, without its payload, as a consumer of the stream's leader gives them.
//!
//! The consumer is asked for two half pages at a time, each bounded in messages and bytes, so that a slow reader neither
//! holds much nor loses messages; their consecutive numbers prove that none was lost. The headers travel as they were
//! stored: one that the client cannot read breaks the connection, and that ends the reading.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use async_nats::{Message, StatusCode};
use futures_util::FutureExt;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::timeout;

use super::api::{Api, TIME_ALLOWED};
use super::backoff::{FIRST_PAUSE, backoff};
use super::stored_headers::is_value;
use crate::connection::{ConnectionState, Inbound};
use crate::error::Error;
use crate::protocol::ack::{AckPosition, ack_position};
use crate::random::Token;

/// The most messages that are asked for and not read yet. Well below what a subscription holds before it drops some.
pub(super) const MAX_PAGE: u64 = 4096;

/// The most messages of one request. There are two at a time: the server need not wait for the next one.
const MAX_REQUEST: u64 = MAX_PAGE / 2;

/// The most bytes of one request's messages. Larger than any message without its payload, as headers take at most 64 KiB.
const MAX_REQUEST_BYTES: u64 = 1 << 20;

/// The longest time that a reading takes. It ends earlier unless others write faster than this host reads.
const MAX_TIME: Duration = Duration::from_secs(60);

/// One of the messages.
pub(super) struct LastMessage<'a> {
    /// The message's subject.
    pub(super) subject: &'a str,
    /// The message's number in the stream.
    pub(super) sequence: u64,
    /// The message is a value, and not the mark that there is none.
    pub(super) is_value: bool,
}

/// The reason for which the reading ended early.
pub(super) enum ReadError {
    /// The connection broke meanwhile, perhaps because of a stored message.
    ConnectionLost,
    /// Any other.
    Failed(Error),
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Reads the last messages of the subjects that match one of the filters, in the order of their numbers, until `take` has
/// enough or nothing more is there. What is written meanwhile comes, too.
pub(super) async fn read(
    api: &Api,
    filters: &[String],
    take: impl FnMut(LastMessage<'_>) -> Result<ControlFlow<()>, Error>,
) -> Result<(), ReadError> {
    let connection_state = api.connection.state();
    let disconnects = api.connection.counters().disconnects;
    let consumer = api
        .create_consumer(filters, Instant::now() + TIME_ALLOWED)
        .await?;
    let inbox = format!("_INBOX.{}", Token::new());
    let reading = async {
        let messages = api
            .connection
            .subscribe(inbox.as_str().into(), None)
            .await?;
        let reader = Reader {
            api,
            consumer: &consumer,
            inbox: &inbox,
            messages,
            connection_state,
            disconnects,
            number: 0,
            asked: VecDeque::new(),
            requests: 2,
            pause: FIRST_PAUSE,
        };
        reader.read(take).await
    };
    let read = reading.await;
    // Where this fails the server forgets the consumer by itself: the listing is no worse for it.
    if let Err(error) = api
        .delete_consumer(&consumer, Instant::now() + TIME_ALLOWED)
        .await
    {
        tracing::debug!(bucket = api.bucket, %error, "a listing's consumer was left to the server");
    }
    match read {
        // Whatever was found first of it.
        Err(ReadError::Failed(Error::Unavailable(_) | Error::Timeout))
            if has_broken(api, disconnects) =>
        {
            Err(ReadError::ConnectionLost)
        }
        read => read,
    }
}

/// Whether the connection was lost since it had been lost so many times.
fn has_broken(api: &Api, disconnects: u64) -> bool {
    api.connection.counters().disconnects != disconnects
}

/// The reader of a consumer's messages.
struct Reader<'a> {
    /// Requests about the bucket.
    api: &'a Api,
    /// The consumer's name.
    consumer: &'a str,
    /// The subject that the messages are sent to.
    inbox: &'a str,
    /// The messages.
    messages: Inbound,
    /// The connection's state, to learn when it breaks.
    connection_state: watch::Receiver<ConnectionState>,
    /// The number of times that the connection had been lost before.
    disconnects: u64,
    /// The consumer's number of the last message.
    number: u64,
    /// The messages that are still to come for each request that is not answered in full.
    asked: VecDeque<u64>,
    /// The requests that are made at a time.
    requests: usize,
    /// The pause before a request is repeated that did not reach the consumer.
    pause: Duration,
}

impl Reader<'_> {
    async fn read(
        mut self,
        mut take: impl FnMut(LastMessage<'_>) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), ReadError> {
        let begun = Instant::now();
        loop {
            if begun.elapsed() > MAX_TIME {
                return Err(Error::Timeout.into());
            }
            while self.asked.len() < self.requests {
                self.ask().await?;
            }
            let message = self.next().await?;
            match message.status {
                None | Some(StatusCode::OK) => {
                    let sequence = self.note(&message)?;
                    let message = LastMessage {
                        subject: &message.subject,
                        sequence,
                        is_value: is_value(message.headers.as_ref()),
                    };
                    if take(message)?.is_break() {
                        return Ok(());
                    }
                }
                // Nothing more is there.
                Some(StatusCode::NOT_FOUND) => return Ok(()),
                // Less is there than the request before asks for, which goes on alone.
                Some(StatusCode::TIMEOUT) => {
                    self.asked.pop_back();
                    self.requests = 1;
                }
                // In a cluster it takes a moment until the consumer is known to all servers.
                Some(StatusCode::NO_RESPONDERS) => {
                    self.asked.pop_front();
                    if self.number > 0 || !backoff(&mut self.pause, begun + TIME_ALLOWED).await {
                        return Err(interrupted("its consumer does not answer").into());
                    }
                }
                Some(status) => {
                    let words = message.description.unwrap_or_else(|| status.to_string());
                    self.end_request(status, &words)?;
                }
            }
        }
    }

    /// Asks for the next half page.
    async fn ask(&mut self) -> Result<(), Error> {
        let request =
            json!({ "batch": MAX_REQUEST, "max_bytes": MAX_REQUEST_BYTES, "no_wait": true });
        let subject = self.api.subject("CONSUMER.MSG.NEXT", self.consumer);
        self.api
            .connection
            .publish(
                subject.into(),
                Some(self.inbox.into()),
                None,
                request.to_string().into(),
            )
            .await?;
        self.asked.push_back(MAX_REQUEST);
        Ok(())
    }

    /// The next message, or the next answer to a request.
    async fn next(&mut self) -> Result<Message, ReadError> {
        // Most are there already: these take no timer.
        if let Some(Some(message)) = self.messages.next().now_or_never() {
            return Ok(message);
        }
        let (messages, state) = (&mut self.messages, &mut self.connection_state);
        let (api, disconnects) = (self.api, self.disconnects);
        let broke = async {
            while state.changed().await.is_ok() {
                if has_broken(api, disconnects) {
                    return;
                }
            }
        };
        let next = async {
            tokio::select! {
                biased;
                message = messages.next() => message.ok_or(ReadError::ConnectionLost),
                () = broke => Err(ReadError::ConnectionLost),
            }
        };
        timeout(TIME_ALLOWED, next)
            .await
            .unwrap_or(Err(ReadError::Failed(Error::Timeout)))
    }

    /// Notes that the server has ended a request, for this reason.
    fn end_request(&mut self, status: StatusCode, words: &str) -> Result<(), Error> {
        let is_conflict = status.as_u16() == 409;
        if is_conflict && words.contains("Batch Completed") {
            // All of it has arrived.
            return Ok(());
        }
        // The next message would exceed the request's bytes: it comes with the next request.
        if is_conflict && words.contains("MaxBytes") && self.asked.pop_front() != Some(MAX_REQUEST)
        {
            return Ok(());
        }
        Err(interrupted(words))
    }

    /// Notes that a message has arrived, and returns its number in the stream.
    fn note(&mut self, message: &Message) -> Result<u64, ReadError> {
        let position = message.reply.as_deref().and_then(ack_position);
        let AckPosition { sequence, number } = position.ok_or_else(|| {
            Error::Failed("a message of a listing does not say where it stands".to_owned())
        })?;
        if number != self.number + 1 {
            return Err(interrupted("messages were lost on their way").into());
        }
        self.number = number;
        if let Some(left) = self.asked.front_mut() {
            *left -= 1;
            if *left == 0 {
                self.asked.pop_front();
            }
        }
        Ok(sequence)
    }
}

/// The error of a listing that was interrupted.
pub(super) fn interrupted(words: &str) -> Error {
    Error::Unavailable(format!(
        "the listing of keys was interrupted, try again: {words}"
    ))
}
