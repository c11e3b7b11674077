//! Does what operators tell the host. The form of it is described in [`crate::admin`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{HeaderMap, HeaderName, Message, Subject};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::service::Desk;
use super::{CanaryInfo, ChangeError, DrainReport, GuestInfo};
use crate::admin::{Canary, Change, Details, Ended, Guest, Named, Refused, VERBS};
use crate::config::{BucketAccess, GuestSettings, SubjectGrant, parse_guest_name};
use crate::connection::{Inbound, locked};
use crate::error::Error;
use crate::headers::set;

/// Changes that may wait for their turn at once.
const MOST_CHANGES: usize = 16;

/// Answers one request after the other; changes go on beside it.
pub(super) struct Clerk(Arc<Desk>);

type Reply = Result<Value, Refused>;

impl Clerk {
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        Self(desk)
    }

    /// Until it is closed. What it has begun by then it finishes.
    pub(super) async fn serve(self, mut inbound: Inbound, closed: CancellationToken) {
        let mut changes = JoinSet::new();
        loop {
            tokio::select! {
                () = closed.cancelled() => break,
                Some(ended) = changes.join_next() => log_panic(ended),
                message = inbound.next() => match message {
                    Some(message) => self.take(message, &mut changes).await,
                    None => break,
                },
            }
        }
        drop(inbound);
        while let Some(ended) = changes.join_next().await {
            log_panic(ended);
        }
    }

    async fn take(&self, message: Message, changes: &mut JoinSet<()>) {
        let Message {
            subject,
            reply,
            payload,
            ..
        } = message;
        let begun = Instant::now();
        let verb = subject.rsplit('.').next().unwrap_or_default();
        let Some(verb) = VERBS.into_iter().find(|known| *known == verb) else {
            let refused = refused(
                404,
                format!("there is no {verb:?} here, but {}", VERBS.join(", ")),
            );
            // Nothing was done: whoever asked learns that by hearing nothing.
            let _unsent = self.0.send(reply, &Err(refused)).await;
            return;
        };
        match verb {
            "load" | "replace" | "unload" | "promote" | "abandon" => {
                if changes.len() >= MOST_CHANGES {
                    let words = format!(
                        "{MOST_CHANGES} changes are waiting for their turn: try again later"
                    );
                    self.0
                        .settle(verb, begun, reply, Err(refused(429, words)))
                        .await;
                    return;
                }
                let desk = Arc::clone(&self.0);
                let change = async move {
                    let changed = desk.change(verb, &payload).await;
                    desk.settle(verb, begun, reply, changed).await;
                };
                changes.spawn_on(change, &self.0.runtime);
            }
            "drain" => {
                self.0
                    .settle(verb, begun, reply, encode(&Ended::default()))
                    .await;
                tracing::info!("told to drain");
                self.0.stop.cancel();
            }
            _ => {
                self.0
                    .settle(verb, begun, reply, self.0.look(verb, &payload))
                    .await
            }
        }
    }
}

impl Desk {
    /// What needs no more than a look.
    fn look(&self, verb: &str, payload: &[u8]) -> Reply {
        let guests = self.guests.list();
        if verb == "list" {
            let guests = guests.iter().map(in_words).collect();
            return encode(&crate::admin::Guests {
                host: self.name.clone(),
                guests,
            });
        }
        let Named { guest } = parse(payload)?;
        let not_loaded = || {
            Refused::from(ChangeError::NotLoaded {
                name: guest.clone(),
            })
        };
        let found = guests
            .iter()
            .find(|info| info.name == guest)
            .ok_or_else(not_loaded)?;
        let (settings, prefix) = self.guests.settings(&guest).ok_or_else(not_loaded)?;
        encode(&details(&self.name, in_words(found), &settings, &prefix))
    }

    async fn change(&self, verb: &'static str, payload: &[u8]) -> Reply {
        let (guest, changed) = match verb {
            "unload" | "promote" | "abandon" => {
                let Named { guest } = parse(payload)?;
                let changed = match verb {
                    "promote" => self.guests.promote(&guest).await,
                    "abandon" => self.guests.abandon(&guest).await,
                    _ => self.guests.unload(&guest).await,
                };
                (guest, changed)
            }
            _ => {
                let Change { guest, settings } = parse(payload)?;
                let settings = settings_of(&guest, &settings)?;
                let changed = match verb {
                    "load" => self
                        .guests
                        .load(&guest, settings)
                        .await
                        .map(|()| DrainReport::default()),
                    _ => self.guests.replace(&guest, settings).await,
                };
                (guest, changed)
            }
        };
        let report = changed.map_err(Refused::from);
        match &report {
            Ok(_) => tracing::info!(guest, "told to {verb}: done"),
            Err(refused) => tracing::warn!(guest, "told to {verb}: {refused}"),
        }
        let DrainReport {
            finished,
            abandoned,
            problems,
            ..
        } = report?;
        encode(&Ended {
            finished,
            abandoned,
            problems,
        })
    }

    /// Answers, and counts.
    async fn settle(
        &self,
        verb: &'static str,
        begun: Instant,
        reply_to: Option<Subject>,
        reply: Reply,
    ) {
        self.tally.count(verb, begun.elapsed(), &reply);
        if let Err(Error::TooLarge(most)) = self.send(reply_to.clone(), &reply).await {
            let words = format!("the reply is larger than the {most} bytes that the server allows");
            // Whoever waits hears nothing then; the reason has been logged.
            let _unsent = self.send(reply_to, &Err(refused(500, words))).await;
        }
    }

    async fn send(&self, reply_to: Option<Subject>, reply: &Reply) -> Result<(), Error> {
        match reply {
            Ok(value) => self.answer(reply_to, None, value.to_string().into()).await,
            Err(refused) => {
                let mut headers = HeaderMap::new();
                let code = HeaderName::from_static("Nats-Service-Error-Code");
                set(&mut headers, code, &refused.code.to_string());
                let words = HeaderName::from_static("Nats-Service-Error");
                set(&mut headers, words, &one_line(&refused.error));
                let payload = encode(refused).unwrap_or_default().to_string();
                self.answer(reply_to, Some(headers), Bytes::from(payload))
                    .await
            }
        }
    }
}

/// What has been asked of the host so far.
#[derive(Default)]
pub(super) struct Tally(Mutex<BTreeMap<&'static str, Figures>>);

#[derive(Default)]
struct Figures {
    requests: u64,
    errors: u64,
    last_error: String,
    time: Duration,
}

impl Tally {
    fn count(&self, verb: &'static str, time: Duration, reply: &Reply) {
        let mut tally = locked(&self.0);
        let figures = tally.entry(verb).or_default();
        figures.requests += 1;
        figures.time += time;
        if let Err(Refused { code, error }) = reply {
            figures.errors += 1;
            figures.last_error = format!("{code}:{}", one_line(error));
        }
    }

    /// Adds a verb's figures to what else is said of it.
    pub(super) fn add_to(&self, verb: &str, mut endpoint: Value) -> Value {
        let tally = locked(&self.0);
        let none = Figures::default();
        let figures = tally.get(verb).unwrap_or(&none);
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let time = nanos(figures.time);
        endpoint["num_requests"] = figures.requests.into();
        endpoint["num_errors"] = figures.errors.into();
        endpoint["last_error"] = figures.last_error.clone().into();
        endpoint["processing_time"] = time.into();
        endpoint["average_processing_time"] = (time / figures.requests.max(1)).into();
        endpoint
    }
}

impl From<ChangeError> for Refused {
    fn from(error: ChangeError) -> Self {
        let code = match &error {
            ChangeError::NotLoaded { .. } | ChangeError::NoCanary { .. } => 404,
            ChangeError::AlreadyLoaded { .. } => 409,
            ChangeError::Stopping => 503,
            _ => 422,
        };
        refused(code, format!("{:#}", anyhow::Error::from(error)))
    }
}

fn refused(code: u16, error: String) -> Refused {
    Refused { code, error }
}

/// A header, and a line of figures, has no line breaks.
fn one_line(words: &str) -> String {
    words
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(payload)
        .map_err(|error| refused(400, format!("the request cannot be read: {error}")))
}

fn encode(reply: &impl serde::Serialize) -> Reply {
    serde_json::to_value(reply)
        .map_err(|error| refused(500, format!("the reply cannot be written: {error}")))
}

fn settings_of(guest: &str, text: &str) -> Result<GuestSettings, Refused> {
    parse_guest_name(guest).map_err(|reason| refused(400, format!("{guest:?} {reason}")))?;
    GuestSettings::parse(&format!("guest {guest}"), text, &|name| {
        std::env::var_os(name)
    })
    .map_err(|errors| refused(400, errors.to_string()))
}

fn in_words(info: &GuestInfo) -> Guest {
    let stats = json!(info.stats);
    let counts = stats.as_object().into_iter().flatten();
    Guest {
        name: info.name.clone(),
        component: info.component.to_string(),
        version: info.version,
        queued: info.queued,
        in_hand: info.in_hand,
        stats: counts
            .filter_map(|(name, count)| Some((name.clone(), count.as_u64()?)))
            .collect(),
        canary: info.canary.as_ref().map(canary_in_words),
        canary_taken_out: info.canary_taken_out.clone(),
    }
}

fn canary_in_words(info: &CanaryInfo) -> Canary {
    Canary {
        component: info.component.to_string(),
        version: info.version,
        share: info.share.get(),
        max_failure: info.max_failure.get(),
        window: info.window,
        handled: info.handled,
        failed: info.failed,
        recently_failed: info.recently_failed,
        queued: info.queued,
        in_hand: info.in_hand,
    }
}

fn details(host: &str, guest: Guest, settings: &GuestSettings, prefix: &str) -> Details {
    let on_wire = |subject: &str, ignore_prefix: bool| match ignore_prefix {
        true => subject.to_owned(),
        false => format!("{prefix}{subject}"),
    };
    let grants = |grants: &[SubjectGrant]| {
        grants
            .iter()
            .map(|grant| on_wire(&grant.subject, grant.ignore_prefix))
            .collect()
    };
    let access = |access: &BucketAccess| match access {
        BucketAccess::Read => "read".to_owned(),
        BucketAccess::ReadWrite => "read-write".to_owned(),
    };
    Details {
        host: host.to_owned(),
        guest,
        subscribe: settings
            .subscribe
            .iter()
            .map(|one| on_wire(&one.subject, one.ignore_prefix))
            .collect(),
        may_subscribe: grants(&settings.may_subscribe),
        publish: grants(&settings.publish),
        request: grants(&settings.request),
        buckets: settings
            .buckets
            .iter()
            .map(|(name, may)| (name.clone(), access(may)))
            .collect(),
        instances: settings.instances.max.get(),
        memory_bytes: settings.limits.memory_bytes,
        time_ms: u64::try_from(settings.limits.time.as_millis()).unwrap_or(u64::MAX),
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("a change of a guest has panicked: {error}");
    }
}
