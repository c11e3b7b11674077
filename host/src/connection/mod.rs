//! The one connection to NATS: connect, authenticate, TLS, reconnect, fence, drain.
//!
//! | file | what |
//! |---|---|
//! | `plan.rs`, `auth.rs` | settings → options of the client, and the first connect |
//! | `reconnect.rs` | which server next, after which wait, and when to give up |
//! | `shared.rs`, `events.rs` | what the connection's thread and its callers share: state, counters, log lines |
//! | `cause.rs` | why the connection broke, as far as the client lets it be known |
//! | `thread.rs` | the thread that runs the client, from open to end |
//! | `client.rs` | the client of now, and how the next one is made when it ends |
//! | `inbox.rs` | replies to requests, through one subscription |
//! | `inbound.rs` | a subscription, and how several are stopped without losing a message |
//! | `lines.rs` | all subscriptions, so that they can move to another client |
//! | `publish_ack.rs` | a publish that a stream acknowledges |

mod auth;
mod cause;
mod client;
mod error;
mod events;
mod inbound;
mod inbox;
mod lines;
mod plan;
mod publish_ack;
mod reconnect;
mod shared;
mod thread;

use std::future::Future;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_nats::client::traits::Publisher;
use async_nats::message::OutboundMessage;
use async_nats::{HeaderMap, Message, PublishErrorKind, StatusCode, Subject, SubscribeErrorKind};
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::ConnectionSettings;
use crate::error::Error;
use crate::lock::locked;
use crate::protocol::subject::{MAX_SUBJECT_BYTES, check_pattern, check_queue, check_subject};

use client::{Clients, Held};
pub use error::{ConnectError, Refusal};
use inbound::Target;
pub(crate) use inbound::{Inbound, Stopper};
pub use publish_ack::PublishAck;
use shared::Shared;
pub use shared::{ConnectionCounters, ConnectionState};
use thread::Thread;

/// How long a publish or subscribe waits for room in the client's queue, which fills up while there is no server.
const QUEUE_WAIT: Duration = Duration::from_secs(2);

/// How long a fence waits before it is sent again: it may have been lost together with a connection.
const FENCE_INTERVAL: Duration = Duration::from_secs(1);

/// One connection to NATS, shared by all its clones. When the last one is dropped it ends, without a fence.
#[derive(Clone, Debug)]
pub(crate) struct Connection(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clients: Arc<Clients>,
    shared: Arc<Shared>,
    thread: Thread,
}

impl Connection {
    /// Connects: one pass over the servers. May be called from any runtime; the client gets a thread of its own.
    ///
    /// # Errors
    /// When a setting cannot be used, or with what every server answered.
    pub(crate) async fn open(settings: &ConnectionSettings) -> Result<Self, ConnectError> {
        let plan = plan::Plan::new(settings)?;
        let shared = Arc::new(Shared::new());
        let (thread, clients) = thread::start(plan, &shared).await?;
        Ok(Self(Arc::new(Inner {
            clients,
            shared,
            thread,
        })))
    }

    /// The client of now: it may end, and then there is another one, so it is not to be kept for long. Its calls may
    /// wait without a limit while there is no server: those here do not.
    pub(crate) fn client(&self) -> async_nats::Client {
        self.0.clients.current().client.clone()
    }

    /// Its one `JetStream` context, not to be kept for long, either; its task lives on the connection's thread.
    pub(crate) fn jetstream(&self) -> async_nats::jetstream::Context {
        self.0.clients.current().jetstream.clone()
    }

    /// The most bytes of a payload that the server takes.
    pub(crate) fn max_payload(&self) -> usize {
        self.0.clients.current().client.max_payload()
    }

    /// The connection's own thread. Nothing that computes belongs there. When the connection is closed or lost for
    /// good the thread ends, and the tasks on it are dropped.
    pub(crate) fn runtime(&self) -> &tokio::runtime::Handle {
        self.0.thread.runtime()
    }

    /// Whether there is a server, and whether there can be one again.
    pub(crate) fn state(&self) -> watch::Receiver<ConnectionState> {
        self.0.shared.state()
    }

    /// What has happened so far.
    pub(crate) fn counters(&self) -> ConnectionCounters {
        self.0.shared.counters()
    }

    /// Publishes a message. Ok says that it is on its way.
    pub(crate) async fn publish(
        &self,
        subject: Subject,
        reply: Option<Subject>,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<(), Error> {
        check_publish_subject(&subject)?;
        reply.as_ref().map_or(Ok(()), check_publish_subject)?;
        let current = self.current().await?;
        let client = &current.client;
        let message = OutboundMessage {
            subject,
            reply,
            payload,
            headers,
        };
        self.promptly(client.publish_message(message))
            .await?
            .map_err(|error| match error.kind() {
                PublishErrorKind::MaxPayloadExceeded => {
                    Error::TooLarge(client.max_payload() as u64)
                }
                PublishErrorKind::InvalidSubject => Error::Invalid(error.to_string()),
                PublishErrorKind::Send => broken(),
            })
    }

    /// Subscribes to a subject, as a member of a queue group or alone.
    pub(crate) async fn subscribe(
        &self,
        subject: Subject,
        queue: Option<String>,
    ) -> Result<Inbound, Error> {
        check_pattern(&subject).map_err(Error::Invalid)?;
        if let Some(queue) = &queue {
            check_queue(queue).map_err(Error::Invalid)?;
        }
        let target = Target { subject, queue };
        loop {
            let current = self.current().await?;
            match self.promptly(target.subscribe(&current.client)).await? {
                Ok(subscriber) => {
                    let lines = &self.0.shared.lines;
                    let entered = lines.enter(target.clone(), subscriber, current.number);
                    if let Some(inbound) = entered {
                        return Ok(inbound);
                    }
                    // The client has ended meanwhile: once more, with the next one.
                }
                Err(error) => match error.kind() {
                    SubscribeErrorKind::InvalidSubject | SubscribeErrorKind::InvalidQueueName => {
                        return Err(Error::Invalid(error.to_string()));
                    }
                    SubscribeErrorKind::Other if current.has_ended() => {}
                    SubscribeErrorKind::Other => return Err(broken()),
                },
            }
        }
    }

    /// Publishes a message and waits for the first reply.
    pub(crate) async fn request(
        &self,
        subject: Subject,
        headers: Option<HeaderMap>,
        payload: Bytes,
        within: Duration,
    ) -> Result<Message, Error> {
        let mut ticket = self.0.shared.inbox.ticket(&subject)?;
        let answer = async {
            self.publish(subject, Some(ticket.subject()), headers, payload)
                .await?;
            ticket
                .answer()
                .await
                .unwrap_or_else(|| Err(self.unavailable()))
        };
        let message = timeout(within, answer)
            .await
            .map_err(|_| Error::Timeout)??;
        match message.status {
            Some(StatusCode::NO_RESPONDERS) => Err(Error::NoResponders),
            _ => Ok(message),
        }
    }

    /// Publishes a message that a stream stores, and waits for the stream's acknowledgement.
    pub(crate) async fn publish_acked(
        &self,
        subject: Subject,
        headers: Option<HeaderMap>,
        payload: Bytes,
        within: Duration,
    ) -> Result<PublishAck, Error> {
        let name = subject.clone();
        match self.request(subject, headers, payload, within).await {
            Ok(message) => publish_ack::acknowledged(&name, &message.payload),
            Err(Error::NoResponders) => {
                Err(Error::NotFound(format!("no stream listens on '{name}'")))
            }
            Err(error) => Err(error),
        }
    }

    /// A round trip: everything that the server had sent before has arrived, everything sent before was taken.
    ///
    /// It is a message from us to us. Where the server's permissions forbid that, the server's refusal, which names the
    /// message, has made the same way and counts as much.
    ///
    /// # Errors
    /// `Timeout`; `Unavailable` when the connection was lost meanwhile: then nothing is proven of what came before.
    pub(crate) async fn fence(&self, within: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + within;
        let mut state = self.state();
        let mut ticket = self.0.shared.inbox.fence();
        let disconnects = self.0.shared.disconnects();
        let mut refused_subscription = None;
        loop {
            let round = async {
                if self.0.shared.inbox.is_refused() {
                    // Nothing can come back to us but the refusal of a subscription.
                    refused_subscription = Some(self.subscribe(ticket.subject(), None).await?);
                } else {
                    self.publish(ticket.subject(), None, None, Bytes::new())
                        .await?;
                }
                Ok::<_, Error>(timeout(FENCE_INTERVAL, ticket.answer()).await)
            };
            let lost = async { state.wait_for(ConnectionState::is_final).await.map(|_| ()) };
            tokio::select! {
                biased;
                answer = timeout_at(deadline, round) => match answer.map_err(|_| Error::Timeout)?? {
                    Ok(Some(_)) => break,
                    Ok(None) => return Err(self.unavailable()),
                    Err(_) => {}
                },
                _ = lost => return Err(self.unavailable()),
            }
        }
        drop(refused_subscription);
        if self.0.shared.disconnects() == disconnects {
            return Ok(());
        }
        Err(Error::Unavailable(
            "the connection to NATS was lost meanwhile, and messages perhaps with it".into(),
        ))
    }

    /// Stops subscriptions so that nothing is lost that the server sent: each still yields what has arrived, then ends.
    ///
    /// # Errors
    /// As [`Connection::fence`]; the subscriptions are stopped all the same.
    pub(crate) async fn quiesce(
        &self,
        subscriptions: &[Stopper],
        within: Duration,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + within;
        let stopped = inbound::unsubscribe_all(subscriptions, deadline).await;
        let fenced = self
            .fence(deadline.saturating_duration_since(Instant::now()))
            .await;
        // Ending is worth a moment even when the time is up: otherwise readers would wait for ever.
        let ended =
            inbound::end_all(subscriptions, deadline.max(Instant::now() + QUEUE_WAIT)).await;
        fenced.and(stopped).and(ended)
    }

    /// A fence, then the end of the client and of its thread.
    ///
    /// Not to be awaited on the connection's own runtime, which ends with it.
    ///
    /// # Errors
    /// As [`Connection::fence`]; the connection is closed all the same.
    pub(crate) async fn close(&self, within: Duration) -> Result<(), Error> {
        let fenced = self.fence(within).await;
        self.0.thread.stop().await?;
        fenced
    }

    /// The client of now. Where it has just ended the next one is waited for, but not for ever.
    async fn current(&self) -> Result<Held<'_>, Error> {
        let Inner {
            clients, shared, ..
        } = &*self.0;
        if shared.is_over() {
            return Err(self.unavailable());
        }
        let current = clients.current();
        if !current.has_ended() {
            return Ok(current);
        }
        let mut state = self.state();
        let living = async {
            tokio::select! {
                living = clients.living() => living,
                _ = state.wait_for(ConnectionState::is_final) => None,
            }
        };
        let living = timeout(QUEUE_WAIT, living).await.ok().flatten();
        living.ok_or_else(|| self.unavailable())
    }

    /// Waits for room in the client's queue, but not for ever. There nearly always is room: only then a timer is made.
    async fn promptly<T>(&self, command: impl Future<Output = T>) -> Result<T, Error> {
        if self.0.shared.is_over() {
            return Err(self.unavailable());
        }
        let mut command = std::pin::pin!(command);
        let first =
            std::future::poll_fn(|context| Poll::Ready(command.as_mut().poll(context))).await;
        match first {
            Poll::Ready(done) => Ok(done),
            Poll::Pending => timeout(QUEUE_WAIT, command)
                .await
                .map_err(|_| self.unavailable()),
        }
    }

    /// Why the connection does not take anything now.
    fn unavailable(&self) -> Error {
        Error::Unavailable(match &*self.state().borrow() {
            ConnectionState::Connected => {
                "the server does not keep up: the connection's queue is full".to_owned()
            }
            ConnectionState::Disconnected => {
                "there is no connection to NATS, and nothing more can be queued".to_owned()
            }
            ConnectionState::Lost(why) => format!("the connection to NATS is lost: {why}"),
            ConnectionState::Closed => "the connection to NATS is closed".to_owned(),
        })
    }
}

/// A command met the client at its end.
fn broken() -> Error {
    Error::Unavailable("the connection to NATS broke at this moment".to_owned())
}

/// Whether it can be published on. The usual subject is told by a glance at its bytes; words are for the others.
fn check_publish_subject(subject: &Subject) -> Result<(), Error> {
    let is_usual = subject.len() <= MAX_SUBJECT_BYTES
        && subject.is_valid()
        && !subject.bytes().any(|byte| matches!(byte, b'*' | b'>'));
    if is_usual {
        Ok(())
    } else {
        check_subject(subject).map_err(Error::Invalid)
    }
}
