//! Which server next, after which wait, and when to give up.
//!
//! The client's own count covers the first connect, too, and cannot be 0; it waits before every server instead of once
//! a pass, and asks a server that refuses us for ever. So the choice is made here, before every attempt.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::{ReconnectToServer, Server, ServerAddr};

use super::locked;
use super::shared::Shared;
use crate::config::ConnectionSettings;

/// A server that refuses us twice in one outage will not change its mind.
const REFUSALS: u32 = 2;

/// How a server's refusal reads: credentials that are wrong, or no longer good.
const REFUSAL_WORDS: [&str; 3] = [
    "authorization violation",
    "authentication expired",
    "authentication revoked",
];

pub(super) struct Reconnects {
    /// Passes over the servers in one outage, at most.
    max: Option<u32>,
    wait: Duration,
    randomize: bool,
    /// The outage now, or the last one.
    outage: Mutex<Outage>,
    /// The servers, as the client that connected or asked last knew them.
    pool: Mutex<Vec<Server>>,
}

/// How far the attempts have come since the connection was lost.
#[derive(Default)]
struct Outage {
    /// How many connects had succeeded when it began: another number means another outage.
    connects: u64,
    /// Passes over the servers, the current one included.
    passes: u32,
    /// What is left of the current pass.
    left: VecDeque<ServerAddr>,
    /// What was tried last. If that succeeded, the server that is lost now.
    last: Option<ServerAddr>,
    /// When that attempt began. If it succeeded, the connection was up from then on. (The client's event that says when
    /// it was complete may be lost.)
    began: Option<Instant>,
    /// How often each server has refused us.
    refusals: HashMap<ServerAddr, u32>,
}

/// What to do about a connection that is lost.
pub(super) enum Next {
    Try(ReconnectToServer),
    GiveUp,
}

impl Reconnects {
    pub(super) fn new(settings: &ConnectionSettings) -> Self {
        Self {
            max: settings.max_reconnect,
            wait: settings.reconnect_wait,
            randomize: settings.randomize,
            outage: Mutex::default(),
            pool: Mutex::default(),
        }
    }

    /// The first connect succeeded, with this server.
    pub(super) fn connected(&self, server: &ServerAddr) {
        let mut outage = locked(&self.outage);
        outage.last = Some(server.clone());
        outage.began = Some(Instant::now());
    }

    /// The servers, as a client knows them.
    pub(super) fn knows(&self, pool: Vec<Server>) {
        *locked(&self.pool) = pool;
    }

    pub(super) fn known(&self) -> Vec<Server> {
        locked(&self.pool).clone()
    }

    /// The servers, for one who makes the next client after one has ended.
    pub(super) fn known_after_end(&self) -> Vec<Server> {
        let mut pool = self.known();
        let last = locked(&self.outage).last.clone();
        for server in &mut pool {
            // Of use only if it ended while it looked for a server, which then has to count as an attempt.
            if Some(&server.addr) == last.as_ref() {
                server.last_error = Some("the client ended".to_owned());
            }
        }
        pool
    }

    /// Called before every attempt to connect again, by the client, and by one who makes the next client.
    ///
    /// The first attempt after a connection is at once, also where it was the only server's: what cut it may have been
    /// one message. After one that was up for less than `reconnect_wait` it is not: whoever sends such messages all the
    /// time would otherwise have us reconnect all the time.
    pub(super) fn next(&self, pool: &[Server], shared: &Arc<Shared>) -> Next {
        self.next_at(Instant::now(), pool, shared)
    }

    fn next_at(&self, now: Instant, pool: &[Server], shared: &Arc<Shared>) -> Next {
        let connects = shared.connects();
        let mut outage = locked(&self.outage);
        let is_first = outage.connects != connects;
        let mut was_short = false;
        if is_first {
            let up_for = outage
                .began
                .map(|began| now.saturating_duration_since(began));
            was_short = up_for.is_some_and(|up_for| up_for < self.wait);
            let last = outage.last.take();
            *outage = Outage {
                connects,
                last,
                ..Outage::default()
            };
            shared.disconnected();
        } else if let Some(reason) = outage.failed(pool) {
            shared.give_up(reason);
            return Next::GiveUp;
        }
        if outage.left.is_empty() {
            if self.max.is_some_and(|max| outage.passes >= max) {
                shared.give_up(self.used_up(pool));
                return Next::GiveUp;
            }
            outage.passes += 1;
            outage.left = self.order(pool, outage.last.as_ref());
        }
        let Some(server) = outage.left.pop_front() else {
            return Next::GiveUp;
        };
        // Other servers are tried at once; the wait is before the last one of a pass, which has failed before.
        let is_last = outage.left.is_empty();
        let waits = if is_first { was_short } else { is_last };
        let wait = if waits {
            jittered(self.wait)
        } else {
            Duration::ZERO
        };
        outage.last = Some(server.clone());
        outage.began = Some(now + wait);
        tracing::info!(
            target: "wharf::connection",
            server = server.as_url_str(), pass = outage.passes, ?wait, "trying to reconnect"
        );
        attempt(server, wait)
    }

    /// The servers in the order of one pass. The one that failed last is the last one.
    fn order(&self, pool: &[Server], failed: Option<&ServerAddr>) -> VecDeque<ServerAddr> {
        let mut servers: Vec<_> = pool.iter().map(|server| server.addr.clone()).collect();
        if self.randomize {
            shuffle(&mut servers);
        }
        servers.sort_by_key(|server| Some(server) == failed);
        servers.into()
    }

    fn used_up(&self, pool: &[Server]) -> String {
        let tries = self.max.unwrap_or_default();
        if tries == 0 {
            return "it broke, and max_reconnect is 0".to_owned();
        }
        let reasons: Vec<_> = pool
            .iter()
            .map(|server| format!("{server}: {}", last_error(server)))
            .collect();
        let times = if tries == 1 { "try" } else { "tries" };
        format!(
            "no server could be reached in {tries} {times} ({})",
            reasons.join("; ")
        )
    }
}

impl Outage {
    /// Takes note that the last attempt failed. A reason if that was once too often.
    fn failed(&mut self, pool: &[Server]) -> Option<String> {
        let server = pool
            .iter()
            .find(|server| Some(&server.addr) == self.last.as_ref())?;
        let reason = last_error(server);
        tracing::warn!(target: "wharf::connection", %server, reason, "cannot reconnect");
        let lowercase = reason.to_lowercase();
        if !REFUSAL_WORDS.iter().any(|words| lowercase.contains(words)) {
            return None;
        }
        let refusals = self.refusals.entry(server.addr.clone()).or_default();
        *refusals += 1;
        (*refusals >= REFUSALS).then(|| format!("{server} does not let us in any more: {reason}"))
    }
}

/// The client does not note a name that does not resolve.
fn last_error(server: &Server) -> &str {
    server
        .last_error
        .as_deref()
        .unwrap_or("its name does not resolve")
}

/// A server that nothing is known of yet.
pub(super) fn untried(addr: ServerAddr) -> Server {
    Server {
        addr,
        failed_attempts: 0,
        did_connect: false,
        is_discovered: false,
        last_error: None,
    }
}

pub(super) fn attempt(addr: ServerAddr, wait: Duration) -> Next {
    Next::Try(ReconnectToServer {
        addr,
        delay: Some(wait),
    })
}

/// Up to a tenth more, so that many clients do not come back at once.
fn jittered(wait: Duration) -> Duration {
    let tenths = f64::from(u32::try_from(random() >> 32).unwrap_or_default()) / f64::from(u32::MAX);
    wait + wait.mul_f64(tenths / 10.0)
}

pub(super) fn shuffle<T>(items: &mut [T]) {
    for end in (1..items.len()).rev() {
        let other = usize::try_from(random() % (end as u64 + 1)).unwrap_or_default();
        items.swap(end, other);
    }
}

/// Good enough to spread clients. Nothing secret depends on it.
fn random() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests;
