//! The one connection to NATS: connect, authenticate, TLS, reconnect, fence, drain.
//!
//! | file | contents |
//! |---|---|
//! | `mod.rs` | [`Connection`]: publish, subscribe, request, fence, quiesce, close |
//! | `options.rs`, `auth.rs` | settings → options of the client, and the first connect |
//! | `reconnect.rs` | the choice of the next server, of the wait before it, and of when to give up |
//! | `thread.rs` | the thread that runs the client, from open to end |
//! | `shared.rs` | state that the thread and its callers share: the connection's state, counters, inbox, subscriptions |
//! | `client.rs` | the current client, and the next one that is made when it ends |
//! | `client_signs.rs` | facts about one client that must not be lost: in use, ended |
//! | `events.rs` | the client's events: into the state, the counters and the log |
//! | `cause.rs` | the cause of a broken connection, as far as the client lets it be known |
//! | `inbox.rs` | replies to requests, through one subscription |
//! | `inbound.rs` | a subscription as its reader holds it, and the steps that stop several without losing a message |
//! | `subscription.rs` | the state of one subscription, which outlives clients |
//! | `open_subscriptions.rs` | all subscriptions, so that they can move to another client |
//! | `server_choice.rs` | the client's next server: directly, or through the relay |
//! | `filter_switch.rs` | the decision whether messages pass the filter |
//! | `header_limits.rs` | the limits of headers, for messages that have not passed the filter |
//! | `relay/` | a relay between client and server, with a filter for what the client cannot read |
//! | `log_throttle.rs` | log lines that every message can cause, at most one a second |
//! | `publish_subject.rs` | the check of a subject that is published on |
//! | `publish_ack.rs` | a stream's acknowledgement of a publish |
//! | `connect_error.rs` | errors of connecting |

mod auth;
mod cause;
mod client;
mod client_signs;
mod connect_error;
mod events;
mod filter_switch;
mod header_limits;
mod inbound;
mod inbox;
mod log_throttle;
mod open_subscriptions;
mod options;
mod publish_ack;
mod publish_subject;
mod reconnect;
mod relay;
mod server_choice;
mod shared;
mod subscription;
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
use crate::protocol::subject::{check_pattern, check_queue};

use client::{Clients, CurrentClient};
pub use connect_error::{ConnectError, Refusal};
pub(crate) use inbound::{Inbound, Stopper};
pub use publish_ack::PublishAck;
use publish_subject::check_publish_subject;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use relay::filter::fuzzed_stream::filter as fuzz_filter;
pub use relay::malformed::{MalformedCause, MalformedCounts};
use shared::ConnectionShared;
pub use shared::{ConnectionCounters, ConnectionState};
use subscription::SubscriptionTarget;
use thread::ConnectionThread;

/// The longest wait of a publish or subscribe for room in the client's queue, which fills up while there is no server.
const MAX_QUEUE_WAIT: Duration = Duration::from_secs(2);

/// The time after which a fence is sent again: it may have been lost together with a connection.
const FENCE_INTERVAL: Duration = Duration::from_secs(1);

/// One connection to NATS, shared by all clones of this handle. When the last one is dropped the connection ends, without
/// a fence.
#[derive(Clone, Debug)]
pub(crate) struct Connection(Arc<ConnectionInner>);

/// The parts of a connection.
#[derive(Debug)]
struct ConnectionInner {
    /// The current client.
    clients: Arc<Clients>,
    /// State that is shared with the thread.
    shared: Arc<ConnectionShared>,
    /// The thread that runs the client.
    thread: ConnectionThread,
}

impl Connection {
    /// Connects: one pass over the servers. May be called from any runtime; the client gets a thread of its own.
    ///
    /// # Errors
    /// `Refused` with each server's reason, `Thread`, or the error of a setting that cannot be used.
    pub(crate) async fn open(settings: &ConnectionSettings) -> Result<Self, ConnectError> {
        let plan = options::ConnectPlan::new(settings)?;
        let shared = Arc::new(ConnectionShared::new(settings.filter));
        let (thread, clients) = thread::start(plan, &shared).await?;
        Ok(Self(Arc::new(ConnectionInner {
            clients,
            shared,
            thread,
        })))
    }

    /// The current client. A client may end, and then there is another one, so it is not to be kept for long. A client's
    /// own calls may wait without a limit while there is no server: those of [`Connection`] do not.
    pub(crate) fn client(&self) -> async_nats::Client {
        self.0.clients.current().client.clone()
    }

    /// The current client's one `JetStream` context, which is not to be kept for long, either. The context's task lives on
    /// the connection's thread.
    pub(crate) fn jetstream(&self) -> async_nats::jetstream::Context {
        self.0.clients.current().jetstream.clone()
    }

    /// The most bytes of a payload that the server takes.
    pub(crate) fn max_payload(&self) -> usize {
        self.0.clients.current().client.max_payload()
    }

    /// The runtime of the connection's own thread. Nothing that computes belongs there. When the connection is closed or lost for
    /// good the thread ends, and the tasks on it are dropped.
    pub(crate) fn runtime(&self) -> &tokio::runtime::Handle {
        self.0.thread.runtime()
    }

    /// The connection's state, to be read or watched.
    pub(crate) fn state(&self) -> watch::Receiver<ConnectionState> {
        self.0.shared.state()
    }

    /// The connection's counters, as they are now.
    pub(crate) fn counters(&self) -> ConnectionCounters {
        self.0.shared.counters()
    }

    /// Publishes a message. `Ok` means that the client has taken it, not that the server has.
    ///
    /// # Errors
    /// `Invalid` for a subject that cannot be published on, `TooLarge`, `Unavailable`.
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
        self.with_queue_timeout(client.publish_message(message))
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
    ///
    /// # Errors
    /// `Invalid` for a subject or queue group that is none, `Unavailable`.
    pub(crate) async fn subscribe(
        &self,
        subject: Subject,
        queue: Option<String>,
    ) -> Result<Inbound, Error> {
        check_pattern(&subject).map_err(Error::Invalid)?;
        if let Some(queue) = &queue {
            check_queue(queue).map_err(Error::Invalid)?;
        }
        let target = SubscriptionTarget { subject, queue };
        loop {
            let current = self.current().await?;
            match self
                .with_queue_timeout(target.subscribe(&current.client))
                .await?
            {
                Ok(subscriber) => {
                    let shared = &self.0.shared;
                    let inbound = Inbound::new(shared, target.clone(), subscriber, current.number);
                    if let Some(inbound) = inbound {
                        return Ok(inbound);
                    }
                    // The client has ended meanwhile: try again, with the next one.
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
    ///
    /// # Errors
    /// As [`Connection::publish`], and `Timeout`, `NoResponders`, or `Failed` with the server's refusal.
    pub(crate) async fn request(
        &self,
        subject: Subject,
        headers: Option<HeaderMap>,
        payload: Bytes,
        within: Duration,
    ) -> Result<Message, Error> {
        let mut pending = self.0.shared.inbox.pending_reply(&subject)?;
        let reply = async {
            self.publish(subject, Some(pending.subject()), headers, payload)
                .await?;
            pending
                .reply()
                .await
                .unwrap_or_else(|| Err(self.0.shared.unavailable()))
        };
        let message = timeout(within, reply).await.map_err(|_| Error::Timeout)??;
        match message.status {
            Some(StatusCode::NO_RESPONDERS) => Err(Error::NoResponders),
            _ => Ok(message),
        }
    }

    /// Publishes a message that a stream stores, and waits for the stream's acknowledgement.
    ///
    /// # Errors
    /// As [`Connection::request`], with `NotFound` for `NoResponders`, and `Conflict`, `Invalid`, `Unsupported`,
    /// `Unavailable` or `Failed` as the stream says.
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

    /// Makes a round trip: everything that the server had sent before has arrived, everything sent before was taken.
    ///
    /// A fence is a message from us to us. Where the server's permissions forbid that, the server's refusal, which names the
    /// message, has made the same way and counts as much.
    ///
    /// # Errors
    /// `Timeout`; `Unavailable` when the connection was lost meanwhile: then nothing is proven of what came before.
    pub(crate) async fn fence(&self, within: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + within;
        let mut state = self.state();
        let mut pending = self.0.shared.inbox.fence();
        let disconnects = self.0.shared.disconnects();
        let mut refused_subscription = None;
        loop {
            let round = async {
                if self.0.shared.inbox.is_refused() {
                    // Nothing can come back to us but the refusal of a subscription.
                    refused_subscription = Some(self.subscribe(pending.subject(), None).await?);
                } else {
                    self.publish(pending.subject(), None, None, Bytes::new())
                        .await?;
                }
                Ok::<_, Error>(timeout(FENCE_INTERVAL, pending.reply()).await)
            };
            let lost = async { state.wait_for(ConnectionState::is_final).await.map(|_| ()) };
            tokio::select! {
                biased;
                answer = timeout_at(deadline, round) => match answer.map_err(|_| Error::Timeout)?? {
                    Ok(Some(_)) => break,
                    Ok(None) => return Err(self.0.shared.unavailable()),
                    Err(_) => {}
                },
                _ = lost => return Err(self.0.shared.unavailable()),
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
        // The end of subscriptions gets a moment even when the time is up: otherwise readers would wait for ever.
        let ended =
            inbound::end_all(subscriptions, deadline.max(Instant::now() + MAX_QUEUE_WAIT)).await;
        fenced.and(stopped).and(ended)
    }

    /// Closes the connection: a fence, then the end of the client and of its thread.
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

    /// The current client. Where it has just ended, the next one is awaited for up to [`MAX_QUEUE_WAIT`].
    ///
    /// # Errors
    /// `Unavailable` if there is none by then, or the connection is lost or closed.
    async fn current(&self) -> Result<CurrentClient<'_>, Error> {
        let ConnectionInner {
            clients, shared, ..
        } = &*self.0;
        if shared.is_over() {
            return Err(self.0.shared.unavailable());
        }
        let current = clients.current();
        if !current.has_ended() {
            return Ok(current);
        }
        let mut state = self.state();
        let running = async {
            tokio::select! {
                running = clients.running() => running,
                _ = state.wait_for(ConnectionState::is_final) => None,
            }
        };
        let running = timeout(MAX_QUEUE_WAIT, running).await.ok().flatten();
        running.ok_or_else(|| self.0.shared.unavailable())
    }

    /// Gives the client a command, and waits for room in the client's queue for up to [`MAX_QUEUE_WAIT`]. As there nearly
    /// always is room, a timer is made only where there is none.
    ///
    /// # Errors
    /// `Unavailable` if there is no room by then, or the connection is lost or closed.
    async fn with_queue_timeout<T>(&self, command: impl Future<Output = T>) -> Result<T, Error> {
        if self.0.shared.is_over() {
            return Err(self.0.shared.unavailable());
        }
        let mut command = std::pin::pin!(command);
        let first =
            std::future::poll_fn(|context| Poll::Ready(command.as_mut().poll(context))).await;
        match first {
            Poll::Ready(done) => Ok(done),
            Poll::Pending => timeout(MAX_QUEUE_WAIT, command)
                .await
                .map_err(|_| self.0.shared.unavailable()),
        }
    }
}

/// The error of a command that met the client at its end.
fn broken() -> Error {
    Error::Unavailable("the connection to NATS broke at this moment".to_owned())
}
