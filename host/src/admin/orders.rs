//! Orders of operators, carried out. Their form is described in [`crate::admin`].

use std::sync::Arc;

use async_nats::{HeaderMap, HeaderName, Message, Subject};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;
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
use crate::rollout::{ChangeError, DrainReport};
use crate::task::log_panic;

/// Changes that may wait for their turn at once.
const MAX_CHANGES: usize = 16;

/// Answers one order after the other; changes of guests go on beside it.
pub(super) struct OrderHandler(Arc<AdminContext>);

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

    /// Answers orders until it is closed. Changes that have begun by then are finished.
    pub(super) async fn serve(self, mut inbound: Inbound, closed: CancellationToken) {
        const CHANGE: &str = "a change of a guest";
        let mut changes = JoinSet::new();
        loop {
            tokio::select! {
                () = closed.cancelled() => break,
                Some(ended) = changes.join_next() => log_panic(CHANGE, ended),
                message = inbound.next() => match message {
                    Some(message) => self.take(message, &mut changes).await,
                    None => break,
                },
            }
        }
        drop(inbound);
        while let Some(ended) = changes.join_next().await {
            log_panic(CHANGE, ended);
        }
    }

    async fn take(&self, message: Message, changes: &mut JoinSet<()>) {
        let context = &self.0;
        let Message {
            subject,
            reply,
            payload,
            ..
        } = message;
        let begun = Instant::now();
        let word = subject.rsplit('.').next().unwrap_or_default();
        let Some(verb) = Verb::ALL.into_iter().find(|verb| verb.as_str() == word) else {
            let known = Verb::ALL.map(Verb::as_str).join(", ");
            let unknown = error_reply(404, format!("there is no {word:?} here, but {known}"));
            // Nothing was done: whoever asked learns that by hearing nothing.
            let _unsent = context.send(reply, &Err(unknown)).await;
            return;
        };
        match verb {
            Verb::List => context.settle(verb, begun, reply, context.list()).await,
            Verb::Show => {
                let shown = context.show(&payload);
                context.settle(verb, begun, reply, shown).await;
            }
            Verb::Load | Verb::Replace | Verb::Unload | Verb::Promote | Verb::Abort => {
                if changes.len() >= MAX_CHANGES {
                    let words = format!(
                        "{MAX_CHANGES} changes are waiting for their turn: try again later"
                    );
                    let refused = Err(error_reply(429, words));
                    context.settle(verb, begun, reply, refused).await;
                    return;
                }
                let context = Arc::clone(context);
                let runtime = context.runtime.clone();
                let change = async move {
                    let changed = context.change(verb, &payload).await;
                    context.settle(verb, begun, reply, changed).await;
                };
                changes.spawn_on(change, &runtime);
            }
            Verb::Drain => {
                let done = encode(&DrainSummary::default());
                context.settle(verb, begun, reply, done).await;
                tracing::info!("told to drain");
                context.stop.cancel();
            }
        }
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
        let all = self.guests.status();
        let found = all.iter().find(|status| status.name == guest);
        let found = found.ok_or_else(not_loaded)?;
        let (settings, prefix) = self.guests.settings(&guest).ok_or_else(not_loaded)?;
        encode(&details(&self.name, found, &settings, &prefix))
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
    async fn settle(
        &self,
        verb: Verb,
        begun: Instant,
        reply_to: Option<Subject>,
        result: OrderResult,
    ) {
        let error = result.as_ref().err();
        self.stats.count(verb, begun.elapsed(), error);
        if let Err(Error::TooLarge(most)) = self.send(reply_to.clone(), &result).await {
            let words = format!("the reply is larger than the {most} bytes that the server allows");
            // Whoever waits hears nothing then; the reason has been logged.
            let _unsent = self.send(reply_to, &Err(error_reply(500, words))).await;
        }
    }

    async fn send(&self, reply_to: Option<Subject>, result: &OrderResult) -> Result<(), Error> {
        match result {
            Ok(value) => self.answer(reply_to, None, value.to_string().into()).await,
            Err(error) => {
                let mut headers = HeaderMap::new();
                let code = HeaderName::from_static(SERVICE_ERROR_CODE);
                set(&mut headers, code, &error.code.to_string());
                let words = HeaderName::from_static(SERVICE_ERROR);
                set(&mut headers, words, &one_line(&error.error));
                let payload = encode(error).unwrap_or_default().to_string();
                self.answer(reply_to, Some(headers), Bytes::from(payload))
                    .await
            }
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
