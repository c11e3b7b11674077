//! Orders of operators, carried out. Their form is described in [`crate::admin`].

use std::sync::Arc;

use async_nats::{HeaderMap, HeaderName, Message, Subject};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::admin_context::AdminContext;
use super::stats::one_line;
use super::summary::{details, summary};
use super::wire::{DrainSummary, ErrorReply, GuestList, GuestRef, LoadRequest, Verb};
use crate::config::{GuestSettings, parse_guest_name};
use crate::connection::Inbound;
use crate::error::{Error, chain};
use crate::headers::set;
use crate::protocol::service_error::{SERVICE_ERROR, SERVICE_ERROR_CODE};
use crate::protocol::subject::quoted;
use crate::rollout::{ChangeError, DrainReport};
use crate::task::log_panic;

/// Changes that may wait for their turn at once.
const MAX_CHANGES: usize = 16;

/// Questions that may wait for their answers at once.
const MAX_QUESTIONS: usize = 256;

/// The most bytes of an order to change a guest: its settings, as TOML in JSON. With [`MAX_CHANGES`] it bounds what
/// orders hold of the host's memory.
const MAX_CHANGE_BYTES: usize = 1 << 20;

/// The most bytes of a question, which names a guest at most.
const MAX_QUESTION_BYTES: usize = 4096;

/// Reads orders at once. Questions are answered one after the other, and changes of guests carried out, by tasks beside
/// it, on the runtime that guests run on.
pub(super) struct OrderHandler(Arc<AdminContext>);

/// An order that was read, and waits.
struct Order {
    /// The order's kind.
    verb: Verb,
    /// The time of its arrival.
    begun: Instant,
    /// The subject that the answer goes to.
    reply_to: Option<Subject>,
    /// The request, a copy: what arrives is a part of a larger buffer, which it keeps alive.
    payload: Vec<u8>,
}

/// An order to change a guest.
enum Change {
    Load(LoadRequest),
    Replace(LoadRequest),
    Unload(GuestRef),
    Promote(GuestRef),
    Abort(GuestRef),
}

/// Answer to an order: JSON, or an error.
type OrderResult = Result<Value, ErrorReply>;

impl OrderHandler {
    pub(super) fn new(context: Arc<AdminContext>) -> Self {
        Self(context)
    }

    /// Takes orders until it is closed. Those that have begun by then are finished.
    pub(super) async fn serve(self, mut inbound: Inbound, closed: CancellationToken) {
        const CHANGE: &str = "a change of a guest";
        let mut changes = JoinSet::new();
        let (questions, waiting) = mpsc::channel(MAX_QUESTIONS);
        let mut answers = JoinSet::new();
        answers.spawn_on(
            answer_questions(Arc::clone(&self.0), waiting),
            &self.0.runtime,
        );
        loop {
            tokio::select! {
                () = closed.cancelled() => break,
                Some(ended) = changes.join_next() => log_panic(CHANGE, ended),
                message = inbound.next() => match message {
                    Some(message) => self.take(&message, &mut changes, &questions),
                    None => break,
                },
            }
        }
        drop((inbound, questions));
        while let Some(ended) = changes.join_next().await {
            log_panic(CHANGE, ended);
        }
        while let Some(ended) = answers.join_next().await {
            log_panic("the task that answers questions", ended);
        }
    }

    /// Takes an order without waiting for anything: nothing that arrives is left in the client.
    fn take(&self, message: &Message, changes: &mut JoinSet<()>, questions: &mpsc::Sender<Order>) {
        let (context, reply_to) = (&self.0, message.reply.clone());
        let begun = Instant::now();
        let word = message.subject.rsplit('.').next().unwrap_or_default();
        let Some(verb) = Verb::ALL.into_iter().find(|verb| verb.as_str() == word) else {
            let known = Verb::ALL.map(Verb::as_str).join(", ");
            let unknown = error_reply(
                404,
                format!("there is no {} here, but {known}", quoted(word)),
            );
            return context.send_now(reply_to, &Err(unknown));
        };
        let most = match verb {
            Verb::List | Verb::Drain => usize::MAX,
            Verb::Show => MAX_QUESTION_BYTES,
            _ => MAX_CHANGE_BYTES,
        };
        if message.payload.len() > most {
            let bytes = message.payload.len();
            let words = format!("the request has {bytes} bytes, and may have {most}");
            return context.settle_now(verb, begun, reply_to, &Err(error_reply(400, words)));
        }
        let payload = match verb {
            Verb::List | Verb::Drain => Vec::new(),
            _ => message.payload.to_vec(),
        };
        let order = Order {
            verb,
            begun,
            reply_to,
            payload,
        };
        match verb {
            Verb::List | Verb::Show => {
                if let Err(refused) = questions.try_send(order) {
                    refused
                        .into_inner()
                        .refuse(context, "questions", MAX_QUESTIONS);
                }
            }
            Verb::Load | Verb::Replace | Verb::Unload | Verb::Promote | Verb::Abort => {
                if changes.len() >= MAX_CHANGES {
                    return order.refuse(context, "changes", MAX_CHANGES);
                }
                let (context, runtime) = (Arc::clone(context), context.runtime.clone());
                let change = async move {
                    let changed = context.change(verb, &order.payload).await;
                    context.settle(order, changed).await;
                };
                changes.spawn_on(change, &runtime);
            }
            Verb::Drain => {
                let done = encode(&DrainSummary::default());
                context.settle_now(verb, begun, order.reply_to, &done);
                tracing::info!("told to drain");
                context.stop.cancel();
            }
        }
    }
}

impl Order {
    /// Refuses the order, as too many of its kind wait.
    fn refuse(self, context: &AdminContext, kind: &str, most: usize) {
        let words = format!("{most} {kind} are waiting for their turn: try again later");
        let refused = Err(error_reply(429, words));
        context.settle_now(self.verb, self.begun, self.reply_to, &refused);
    }
}

/// Answers questions, one after the other, until no more come.
async fn answer_questions(context: Arc<AdminContext>, mut questions: mpsc::Receiver<Order>) {
    while let Some(question) = questions.recv().await {
        let answer = match question.verb {
            Verb::Show => context.show(&question.payload),
            _ => context.list(),
        };
        context.settle(question, answer).await;
    }
}

impl Change {
    /// Reads the request of a verb that changes a guest. `None` if the verb does not.
    fn read(verb: Verb, payload: &[u8]) -> Option<Result<Self, ErrorReply>> {
        Some(match verb {
            Verb::Load => parse(payload).map(Self::Load),
            Verb::Replace => parse(payload).map(Self::Replace),
            Verb::Unload => parse(payload).map(Self::Unload),
            Verb::Promote => parse(payload).map(Self::Promote),
            Verb::Abort => parse(payload).map(Self::Abort),
            Verb::List | Verb::Show | Verb::Drain => return None,
        })
    }

    fn guest(&self) -> &str {
        match self {
            Self::Load(request) | Self::Replace(request) => &request.guest,
            Self::Unload(guest) | Self::Promote(guest) | Self::Abort(guest) => &guest.guest,
        }
    }
}

impl AdminContext {
    fn list(&self) -> OrderResult {
        encode(&GuestList {
            host: self.name.clone(),
            guests: self.guests.status().iter().map(summary).collect(),
        })
    }

    fn show(&self, payload: &[u8]) -> OrderResult {
        let GuestRef { guest } = parse(payload)?;
        let not_loaded = || {
            ErrorReply::from(ChangeError::NotLoaded {
                name: guest.clone(),
            })
        };
        let found = self.guests.status_of(&guest).ok_or_else(not_loaded)?;
        let (settings, prefix) = self.guests.settings(&guest).ok_or_else(not_loaded)?;
        encode(&details(&self.name, &found, &settings, &prefix))
    }

    async fn change(&self, verb: Verb, payload: &[u8]) -> OrderResult {
        let Some(change) = Change::read(verb, payload) else {
            return Err(error_reply(404, format!("{verb} changes no guest")));
        };
        let change = change?;
        let guest = change.guest().to_owned();
        let report = self.carry_out(change).await;
        match &report {
            Ok(_) => tracing::info!(guest, "told to {verb}: done"),
            Err(error) => tracing::warn!(guest, "told to {verb}: {error}"),
        }
        let DrainReport {
            finished,
            abandoned,
            problems,
            ..
        } = report?;
        encode(&DrainSummary {
            finished,
            abandoned,
            problems,
        })
    }

    async fn carry_out(&self, change: Change) -> Result<DrainReport, ErrorReply> {
        let guests = &self.guests;
        Ok(match change {
            Change::Load(LoadRequest { guest, settings }) => {
                let settings = self.read_settings(&guest, settings).await?;
                guests.load(&guest, settings).await?;
                DrainReport::default()
            }
            Change::Replace(LoadRequest { guest, settings }) => {
                let settings = self.read_settings(&guest, settings).await?;
                guests.replace(&guest, settings).await?
            }
            Change::Unload(GuestRef { guest }) => guests.unload(&guest).await?,
            Change::Promote(GuestRef { guest }) => guests.promote_canary(&guest).await?,
            Change::Abort(GuestRef { guest }) => guests.abort_canary(&guest).await?,
        })
    }

    /// Reads the settings of a guest, which may name only such files of the host as orders may. Files may be slow.
    async fn read_settings(&self, guest: &str, text: String) -> Result<GuestSettings, ErrorReply> {
        parse_guest_name(guest)
            .map_err(|reason| error_reply(400, format!("{guest:?} {reason}")))?;
        let (called, files) = (format!("guest {guest}"), self.files.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let mut settings = GuestSettings::parse(&called, &text, &|_| None)
                .map_err(|errors| error_reply(400, errors.to_string()))?;
            files
                .confine(&mut settings)
                .map_err(|reason| error_reply(400, format!("{called}: {reason}")))?;
            Ok(settings)
        });
        reading
            .await
            .unwrap_or_else(|panicked| Err(error_reply(500, panicked.to_string())))
    }

    /// Answers an order, and counts it.
    async fn settle(&self, order: Order, result: OrderResult) {
        let Order {
            verb,
            begun,
            reply_to,
            ..
        } = order;
        self.stats
            .count(verb, begun.elapsed(), result.as_ref().err());
        let (headers, payload) = reply(&result);
        if let Err(Error::TooLarge(most)) = self.answer(reply_to.clone(), headers, payload).await {
            let words = format!("the reply is larger than the {most} bytes that the server allows");
            let (headers, payload) = reply(&Err(error_reply(500, words)));
            // Whoever waits hears nothing then; the reason has been logged.
            let _unsent = self.answer(reply_to, headers, payload).await;
        }
    }

    /// Answers an order, and counts it, without waiting. To be used for short answers.
    fn settle_now(
        &self,
        verb: Verb,
        begun: Instant,
        reply_to: Option<Subject>,
        result: &OrderResult,
    ) {
        self.stats
            .count(verb, begun.elapsed(), result.as_ref().err());
        self.send_now(reply_to, result);
    }

    fn send_now(&self, reply_to: Option<Subject>, result: &OrderResult) {
        let (headers, payload) = reply(result);
        self.answer_now(reply_to, headers, || payload);
    }
}

/// A result as it travels: its headers, if it is an error, and its payload.
fn reply(result: &OrderResult) -> (Option<HeaderMap>, Bytes) {
    match result {
        Ok(value) => (None, value.to_string().into()),
        Err(error) => {
            let mut headers = HeaderMap::new();
            let code = HeaderName::from_static(SERVICE_ERROR_CODE);
            set(&mut headers, code, &error.code.to_string());
            let words = HeaderName::from_static(SERVICE_ERROR);
            set(&mut headers, words, &one_line(&error.error));
            let payload = encode(error).unwrap_or_default().to_string();
            (Some(headers), payload.into())
        }
    }
}

impl From<ChangeError> for ErrorReply {
    fn from(error: ChangeError) -> Self {
        let code = match &error {
            ChangeError::NotLoaded { .. } | ChangeError::NoCanary { .. } => 404,
            ChangeError::AlreadyLoaded { .. } => 409,
            ChangeError::Stopping => 503,
            ChangeError::TooManyInstances { .. } | ChangeError::Guest { .. } => 422,
        };
        error_reply(code, chain(&error))
    }
}

fn error_reply(code: u16, error: String) -> ErrorReply {
    ErrorReply { code, error }
}

fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<T, ErrorReply> {
    serde_json::from_slice(payload)
        .map_err(|error| error_reply(400, format!("the request cannot be read: {error}")))
}

fn encode(reply: &impl serde::Serialize) -> OrderResult {
    serde_json::to_value(reply)
        .map_err(|error| error_reply(500, format!("the reply cannot be written: {error}")))
}
