//! The host as others see it over NATS: a micro service, and, if that is enabled, what does as it is told. The form of
//! both is described in [`crate::admin`].
//!
//! All of it lives on the connection's thread, where no guest can hold it up.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::admin::{Clerk, Tally};
use super::guests::Guests;
use crate::admin::{SERVICE, VERBS, subject};
use crate::config::HostSettings;
use crate::connection::{Connection, Inbound};
use crate::error::Error;
use crate::policy::takes_orders;

const DESCRIPTION: &str = "Runs sandboxed WebAssembly message handlers";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How long the server may take to note the subscriptions.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a host of the same name may take to answer.
const NAMESAKE_TIMEOUT: Duration = Duration::from_secs(1);

/// What of the host the service speaks of, and what it may use.
pub(super) struct Desk {
    pub(super) name: String,
    id: String,
    started: SystemTime,
    admin: bool,
    pub(super) tally: Tally,
    pub(super) connection: Connection,
    pub(super) guests: Arc<Guests>,
    /// What guests run on.
    pub(super) runtime: Handle,
    /// Stops the host.
    pub(super) stop: CancellationToken,
}

impl Desk {
    pub(super) fn new(
        settings: &HostSettings,
        connection: Connection,
        guests: Arc<Guests>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            name: settings.name.clone().unwrap_or_else(default_name),
            id: nuid::next().to_string(),
            started: SystemTime::now(),
            admin: settings.admin,
            tally: Tally::default(),
            connection,
            guests,
            runtime: Handle::current(),
            stop,
        }
    }

    /// The answer to `$SRV.<verb>`.
    fn introduce(&self, verb: &str) -> Value {
        let mut answer = json!({
            "type": format!("io.nats.micro.v1.{}_response", verb.to_lowercase()),
            "name": SERVICE,
            "id": self.id,
            "version": VERSION,
            "metadata": {
                "host": self.name,
                "guests": self.guests.list().len().to_string(),
                "admin": self.admin.to_string(),
            },
        });
        let endpoints = VERBS.iter().filter(|_| self.admin);
        let endpoint = |verb: &&str| json!({ "name": verb, "subject": subject(&self.name, verb), "queue_group": "" });
        match verb {
            "INFO" => {
                answer["description"] = DESCRIPTION.into();
                answer["endpoints"] = endpoints.map(endpoint).collect();
            }
            "STATS" => {
                answer["started"] = humantime::format_rfc3339_millis(self.started)
                    .to_string()
                    .into();
                let with_figures = |verb| self.tally.add_to(verb, endpoint(&verb));
                answer["endpoints"] = endpoints.copied().map(with_figures).collect();
            }
            _ => {}
        }
        answer
    }

    /// Answers, with the host's rights: never where the server or a host takes orders, whoever asked for it.
    pub(super) async fn answer(
        &self,
        reply_to: Option<Subject>,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<(), Error> {
        let Some(reply_to) = reply_to.filter(|subject| !takes_orders(subject)) else {
            return Ok(());
        };
        let sent = self
            .connection
            .publish(reply_to, None, headers, payload)
            .await;
        sent.inspect_err(|error| tracing::debug!("an answer could not be sent: {error}"))
    }
}

/// Runs as long as the host does.
pub(super) struct Service {
    closed: CancellationToken,
    tasks: JoinSet<()>,
}

impl Service {
    /// Begins to answer. A host that cannot be seen runs all the same: what keeps it from being seen is logged.
    pub(super) async fn start(desk: Desk) -> Self {
        let desk = Arc::new(desk);
        let mut service = Self {
            closed: CancellationToken::new(),
            tasks: JoinSet::new(),
        };
        if let Err(error) = service.begin(&desk).await {
            tracing::warn!(
                "the host cannot be seen by its name {:?}: {error}",
                desk.name
            );
        }
        service
    }

    async fn begin(&mut self, desk: &Arc<Desk>) -> Result<(), Error> {
        let connection = &desk.connection;
        for verb in ["PING", "INFO", "STATS"] {
            for whom in [
                String::new(),
                format!(".{SERVICE}"),
                format!(".{SERVICE}.{}", desk.id),
            ] {
                let inbound = connection
                    .subscribe(format!("$SRV.{verb}{whom}").into(), None)
                    .await?;
                let introducing = introduce(Arc::clone(desk), verb, inbound, self.closed.clone());
                self.tasks.spawn_on(introducing, connection.runtime());
            }
        }
        if desk.admin {
            warn_of_a_namesake(desk).await;
            // Without a queue group: a guest's subscription of the same group would get some of the orders.
            let inbound = connection
                .subscribe(subject(&desk.name, "*").into(), None)
                .await?;
            let clerk = Clerk::new(Arc::clone(desk));
            self.tasks.spawn_on(
                clerk.serve(inbound, self.closed.clone()),
                connection.runtime(),
            );
            tracing::info!(
                host = desk.name,
                "the host does as it is told on {}",
                subject(&desk.name, "…")
            );
        }
        connection.fence(BEGIN_TIMEOUT).await
    }

    /// Takes no more requests.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }

    /// Waits until what was in hand is answered.
    pub(super) async fn finish(mut self, deadline: Instant) {
        let all_ended = async {
            while let Some(ended) = self.tasks.join_next().await {
                if let Err(error) = ended
                    && error.is_panic()
                {
                    tracing::error!("a task that answers for the host has panicked: {error}");
                }
            }
        };
        if timeout_at(deadline, all_ended).await.is_err() {
            tracing::warn!("somebody who changed a guest gets no answer: it took too long");
        }
    }
}

async fn introduce(
    desk: Arc<Desk>,
    verb: &'static str,
    mut inbound: Inbound,
    closed: CancellationToken,
) {
    while let Some(Some(Message { reply, .. })) = closed.run_until_cancelled(inbound.next()).await {
        let answer = desk.introduce(verb).to_string();
        // Whoever asked asks again; the reason has been logged.
        let _unsent = desk.answer(reply, None, answer.into()).await;
    }
}

/// Two hosts of one name would both do what one is told.
async fn warn_of_a_namesake(desk: &Desk) {
    let asked = subject(&desk.name, "list");
    if desk
        .connection
        .request(asked.into(), None, Bytes::new(), NAMESAKE_TIMEOUT)
        .await
        .is_ok()
    {
        tracing::warn!(
            "another host is called {:?}, too: give each a name of its own, [host] name",
            desk.name
        );
    }
}

/// The machine's name, made fit for a subject, and what tells several hosts on it apart.
fn default_name() -> String {
    const MOST_CHARACTERS: usize = 40;
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let machine = machine
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_default();
    let fit = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let name: String = machine
        .trim()
        .chars()
        .take(MOST_CHARACTERS)
        .map(fit)
        .collect();
    // Not from a NUID: two of one process begin alike.
    let random = format!("{:06x}", rand::random::<u32>() >> 8);
    if name.is_empty() {
        format!("host-{random}")
    } else {
        format!("{name}-{random}")
    }
}
