//! The micro service that every host is, and the subscription to its orders. The form of both is described in
//! [`crate::admin`].
//!
//! Its tasks live on the connection's thread, where no guest can hold it up.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::admin_context::AdminContext;
use super::orders::OrderHandler;
use super::wire::{SERVICE, Verb, orders_subject, subject};
use crate::connection::Inbound;
use crate::error::Error;
use crate::task::log_panic;

const DESCRIPTION: &str = "Runs sandboxed WebAssembly message handlers";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The time that the server may take to note the subscriptions.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The time that a host of the same name may take to answer.
const DUPLICATE_TIMEOUT: Duration = Duration::from_secs(1);

/// The host's micro service. It runs as long as the host does.
pub(crate) struct Service {
    /// Cancelled when no more requests are taken.
    closed: CancellationToken,
    /// One task for each subscription.
    tasks: JoinSet<()>,
}

impl Service {
    /// Begins to answer. A host that cannot be seen runs all the same: what keeps it from being seen is logged.
    pub(crate) async fn start(context: AdminContext) -> Self {
        let context = Arc::new(context);
        let mut service = Self {
            closed: CancellationToken::new(),
            tasks: JoinSet::new(),
        };
        if let Err(error) = service.begin(&context).await {
            tracing::warn!(
                "the host cannot be seen by its name {:?}: {error}",
                context.name
            );
        }
        service
    }

    async fn begin(&mut self, context: &Arc<AdminContext>) -> Result<(), Error> {
        let connection = &context.connection;
        for verb in ["PING", "INFO", "STATS"] {
            for whom in [
                String::new(),
                format!(".{SERVICE}"),
                format!(".{SERVICE}.{}", context.id),
            ] {
                let inbound = connection
                    .subscribe(format!("$SRV.{verb}{whom}").into(), None)
                    .await?;
                let describing = describe(Arc::clone(context), verb, inbound, self.closed.clone());
                self.tasks.spawn_on(describing, connection.runtime());
            }
        }
        if context.takes_orders {
            warn_of_duplicate_name(context).await;
            // Without a queue group: a guest's subscription of the same group would get some of the orders.
            let inbound = connection
                .subscribe(orders_subject(&context.name, "*").into(), None)
                .await?;
            let handler = OrderHandler::new(Arc::clone(context));
            self.tasks.spawn_on(
                handler.serve(inbound, self.closed.clone()),
                connection.runtime(),
            );
            tracing::info!(
                host = context.name,
                "the host does as it is told on {}",
                orders_subject(&context.name, "…")
            );
        }
        connection.fence(BEGIN_TIMEOUT).await
    }

    /// Takes no more requests.
    pub(crate) fn close(&self) {
        self.closed.cancel();
    }

    /// Waits until what was in flight is answered.
    pub(crate) async fn finish(mut self, deadline: Instant) {
        let all_ended = async {
            while let Some(ended) = self.tasks.join_next().await {
                log_panic("a task that answers for the host", ended);
            }
        };
        if timeout_at(deadline, all_ended).await.is_err() {
            tracing::warn!("somebody who changed a guest gets no answer: it took too long");
        }
    }
}

/// Answers one kind of question about the host, until the service is closed. Each question is read at once, and nothing of
/// it is kept but the subject that the answer goes to.
async fn describe(
    context: Arc<AdminContext>,
    verb: &'static str,
    mut inbound: Inbound,
    closed: CancellationToken,
) {
    while let Some(Some(Message { reply, .. })) = closed.run_until_cancelled(inbound.next()).await {
        // Whoever asked asks again if it cannot be sent; the reason has been logged.
        context.answer_now(reply, None, || {
            description(&context, verb).to_string().into()
        });
    }
}

/// Two hosts of one name would both do what one is told.
async fn warn_of_duplicate_name(context: &AdminContext) {
    let asked = subject(&context.name, Verb::List);
    if context
        .connection
        .request(asked.into(), None, Bytes::new(), DUPLICATE_TIMEOUT)
        .await
        .is_ok()
    {
        tracing::warn!(
            "another host is called {:?}, too: give each a name of its own, [host] name",
            context.name
        );
    }
}

/// The answer to `$SRV.<verb>`.
fn description(context: &AdminContext, verb: &str) -> Value {
    let mut answer = json!({
        "type": format!("io.nats.micro.v1.{}_response", verb.to_lowercase()),
        "name": SERVICE,
        "id": context.id,
        "version": VERSION,
        "metadata": {
            "host": context.name,
            "guests": context.guests.count().to_string(),
            "admin": context.takes_orders.to_string(),
        },
    });
    let endpoints = Verb::ALL.into_iter().filter(|_| context.takes_orders);
    let endpoint = |verb: Verb| json!({ "name": verb.as_str(), "subject": subject(&context.name, verb), "queue_group": "" });
    match verb {
        "INFO" => {
            answer["description"] = DESCRIPTION.into();
            answer["endpoints"] = endpoints.map(endpoint).collect();
        }
        "STATS" => {
            answer["started"] = humantime::format_rfc3339_millis(context.started)
                .to_string()
                .into();
            let with_figures = |verb| context.stats.add_to(verb, endpoint(verb));
            answer["endpoints"] = endpoints.map(with_figures).collect();
        }
        _ => {}
    }
    answer
}
