//! Publish and subscribe, and key/value, for Rust callers over the connection.

mod keyvalue;
mod messaging;
mod stored_publish;
mod typed;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use crate::config::{BucketSettings, ConnectionSettings, Serializer};
use crate::connection::{ConnectError, Connection, ConnectionCounters, ConnectionState, Stopper};
use crate::error::Error;
use crate::lock::locked;

use keyvalue::Buckets;
pub use keyvalue::{Bucket, Entry};
#[cfg(test)]
pub(crate) use keyvalue::{fuzz_key, fuzz_stored_headers};
pub use messaging::{RawSubscription, Received, Subscription};
pub use stored_publish::StoreOptions;

/// The time that a request waits for its reply, unless told otherwise.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Publish and subscribe, requests, streams and key/value buckets over one connection to NATS.
///
/// A clone is cheap and uses the same connection. Values are written as JSON; [`Connector::with_serializer`] makes
/// a clone that writes `MessagePack`. Subjects get the prefix of the settings; [`Connector::with_prefix`] and
/// [`Connector::without_prefix`] make clones that put another one or none. Every call that has to wait for the server
/// has a limit of time.
///
/// ```no_run
/// use futures_util::StreamExt;
/// use wharf::Connector;
/// use wharf::config::ConnectionSettings;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let connector = Connector::connect(ConnectionSettings::default()).await?;
/// let mut orders = connector.subscribe::<u32>("orders", None).await?;
/// connector.publish("orders", &42).await?;
/// if let Some(order) = orders.next().await {
///     assert_eq!(order?.value, 42);
/// }
/// drop(orders);
/// connector.drain().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Connector {
    /// The connection, and all else that clones have in common.
    shared: Arc<ConnectorInner>,
    /// The text before every subject of this clone. Empty for none.
    prefix: Arc<str>,
    /// The form in which this clone writes and reads values.
    serializer: Serializer,
    /// The time that this clone waits for replies and acknowledgements.
    request_timeout: Duration,
}

/// The part of a connector that all its clones share.
#[derive(Debug)]
struct ConnectorInner {
    /// The connection to NATS. Shared with a host and its guests unless it is the connector's own.
    connection: Connection,
    /// The connection is the connector's own: draining closes it.
    is_owner: bool,
    /// The time that a drain may take, from its begin to the end of the connection.
    drain_timeout: Duration,
    /// The bucket of calls that name none.
    default_bucket: String,
    /// The buckets that are or were open, and the settings to create others with.
    buckets: Buckets,
    /// Stoppers of the subscriptions that a drain ends. Some may be gone already.
    subscriptions: Mutex<Vec<Stopper>>,
    /// One token for every subscription whose reader has not seen its end.
    readers: TaskTracker,
}

impl Connector {
    /// Connects to NATS.
    ///
    /// The client library panics at some messages that no client should send. The connection outlives that, but not in a
    /// program that is compiled with `panic = "abort"`: whoever may publish to it can end it. For the panic's words there
    /// is a panic hook, which passes on all that does not come from the client.
    ///
    /// # Errors
    /// When a setting cannot be used, or no server lets us in: says for every server why.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), wharf::ConnectError> {
    /// use wharf::Connector;
    /// use wharf::config::{Auth, ConnectionSettings};
    ///
    /// let connector = Connector::connect(ConnectionSettings {
    ///     servers: "tls://nats.example.org".into(),
    ///     auth: Auth::Credentials("app.creds".into()),
    ///     ..ConnectionSettings::default()
    /// })
    /// .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(settings: ConnectionSettings) -> Result<Self, ConnectError> {
        let connection = Connection::open(&settings).await?;
        Ok(Self::new(connection, &settings, BTreeMap::new(), true))
    }

    /// Over a connection that somebody else closes.
    pub(crate) fn over(
        connection: Connection,
        settings: &ConnectionSettings,
        buckets: BTreeMap<String, BucketSettings>,
    ) -> Self {
        Self::new(connection, settings, buckets, false)
    }

    /// Gives back what it keeps of buckets that nobody has open.
    pub(crate) fn forget_unused_buckets(&self) {
        self.shared.buckets.forget_unused();
    }

    fn new(
        connection: Connection,
        settings: &ConnectionSettings,
        bucket_settings: BTreeMap<String, BucketSettings>,
        is_owner: bool,
    ) -> Self {
        let shared = ConnectorInner {
            buckets: Buckets::new(connection.clone(), bucket_settings),
            connection,
            is_owner,
            drain_timeout: settings.drain_timeout,
            default_bucket: settings.default_bucket.clone(),
            subscriptions: Mutex::default(),
            readers: TaskTracker::new(),
        };
        Self {
            shared: Arc::new(shared),
            prefix: settings.prefix.as_str().into(),
            serializer: Serializer::default(),
            request_timeout: REQUEST_TIMEOUT,
        }
    }

    /// Writes and reads values in this form.
    ///
    /// ```no_run
    /// # async fn example(connector: wharf::Connector) -> Result<(), wharf::Error> {
    /// use wharf::config::Serializer;
    ///
    /// connector.with_serializer(Serializer::Msgpack).publish("points", &(1, 2)).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_serializer(mut self, serializer: Serializer) -> Self {
        self.serializer = serializer;
        self
    }

    /// Puts this before every subject, instead of the settings' prefix.
    ///
    /// ```no_run
    /// # async fn example(connector: &wharf::Connector) -> Result<(), wharf::Error> {
    /// let test = connector.clone().with_prefix("test.");
    /// test.publish("orders", &42).await?; // on test.orders
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Takes subjects as they are.
    ///
    /// ```no_run
    /// # async fn example(connector: &wharf::Connector) -> Result<(), wharf::Error> {
    /// connector.without_prefix().publish("audit", &"started").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn without_prefix(&self) -> Self {
        self.clone().with_prefix("")
    }

    /// Waits this long for the reply to a request, or for a stream's acknowledgement.
    ///
    /// ```no_run
    /// # async fn example(connector: &wharf::Connector) -> Result<(), wharf::Error> {
    /// use std::time::Duration;
    ///
    /// let patient = connector.clone().with_request_timeout(Duration::from_secs(60));
    /// let report: String = patient.request("reports.make", &2026).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// The client underneath, for what is not offered here. Its calls may wait without a limit while there is no server.
    ///
    /// It ends when a message arrives that it cannot read so badly that it panics. The connector has another one then,
    /// and its own subscriptions and requests go on; those made with this client end, and what it is told is not sent.
    /// [`Connector::state`] tells by `Disconnected`, then `Connected`, when to ask for it anew.
    ///
    /// ```no_run
    /// # fn example(connector: &wharf::Connector) {
    /// println!("connected to {}", connector.client().server_info().server_name);
    /// # }
    /// ```
    #[must_use]
    pub fn client(&self) -> async_nats::Client {
        self.shared.connection.client()
    }

    /// The `JetStream` context underneath, for what is not offered here. It ends with [`Connector::client`].
    ///
    /// ```no_run
    /// # async fn example(connector: &wharf::Connector) -> Result<(), async_nats::Error> {
    /// let stream = connector.jetstream().get_stream("ORDERS").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn jetstream(&self) -> async_nats::jetstream::Context {
        self.shared.connection.jetstream()
    }

    /// The connection's state: whether there is a server, and whether there can be one again; also to wait for a change.
    ///
    /// ```no_run
    /// # async fn example(connector: &wharf::Connector) {
    /// use wharf::ConnectionState;
    ///
    /// let mut state = connector.state();
    /// let lost = state.wait_for(|state| matches!(state, ConnectionState::Lost(_))).await;
    /// # }
    /// ```
    #[must_use]
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.shared.connection.state()
    }

    /// Counts of the connection so far.
    ///
    /// ```no_run
    /// # fn example(connector: &wharf::Connector) {
    /// println!("reconnected {} times", connector.counters().connects - 1);
    /// # }
    /// ```
    #[must_use]
    pub fn counters(&self) -> ConnectionCounters {
        self.shared.connection.counters()
    }

    /// Waits until the server has taken everything that was published before.
    ///
    /// # Errors
    /// `Timeout`, or `Unavailable` when the connection was lost meanwhile.
    ///
    /// ```no_run
    /// # async fn example(connector: &wharf::Connector) -> Result<(), wharf::Error> {
    /// connector.publish("orders", &42).await?;
    /// connector.flush_published().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn flush_published(&self) -> Result<(), Error> {
        self.shared.connection.fence(self.request_timeout).await
    }

    /// Stops, for all clones, without losing a message: every subscription still yields what the server has sent and
    /// then ends; when their readers have seen that, and the server has taken all that was published, the connection
    /// is closed.
    ///
    /// A subscription that is neither read nor dropped holds this up until `drain_timeout`.
    ///
    /// # Errors
    /// When it took longer than `drain_timeout`, or the connection was lost meanwhile. It is closed all the same.
    ///
    /// ```no_run
    /// # async fn example(connector: wharf::Connector) -> Result<(), wharf::Error> {
    /// connector.drain().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn drain(self) -> Result<(), Error> {
        let ConnectorInner {
            connection,
            is_owner,
            drain_timeout,
            subscriptions,
            readers,
            ..
        } = &*self.shared;
        let deadline = Instant::now() + *drain_timeout;
        let left = || deadline.saturating_duration_since(Instant::now());
        let all = std::mem::take(&mut *locked(subscriptions));
        let stopped = connection.quiesce(&all, left()).await;
        readers.close();
        let read = timeout_at(deadline, readers.wait())
            .await
            .map_err(|_| Error::Timeout);
        let closed = if *is_owner {
            connection.close(left()).await
        } else {
            connection.fence(left()).await
        };
        stopped.and(read).and(closed)
    }
}
