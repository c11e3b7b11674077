//! The choice of the next server, of the wait before it, and of when to give up.
//!
//! The client's own count covers the first connect, too, and cannot be 0; the client waits before every server instead
//! of once a pass, and asks a server that refuses us for ever. So the choice is made here, before every attempt.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::{ReconnectToServer, Server, ServerAddr};

use super::shared::ConnectionShared;
use crate::config::ConnectionSettings;
use crate::lock::locked;

/// The most times that one server may refuse us in one outage: with the second refusal the connection is given up, as
/// such a server does not change its mind.
const MAX_REFUSALS: u32 = 2;

/// Words of a server's refusal, in small letters: credentials that are wrong, or no longer good.
const REFUSAL_WORDS: [&str; 3] = [
    "authorization violation",
    "authentication expired",
    "authentication revoked",
];

/// The settings of reconnecting, and the progress of the current outage.
pub(super) struct ReconnectPolicy {
    /// The most passes over the servers in one outage. `None`: no limit.
    max_passes: Option<u32>,
    /// The wait before the last server of a pass. A connection that was up for less is tried again only after it.
    wait: Duration,
    /// Shuffle the servers before each pass.
    randomize: bool,
    /// The current outage, or the last one.
    outage: Mutex<Outage>,
    /// The servers that are known, each with the error of its last attempt.
    pool: Mutex<Vec<Server>>,
    /// Connect with TLS only: servers that others tell of are known as `tls://`.
    tls_required: bool,
}

/// The progress of the attempts since the connection was lost.
#[derive(Default)]
struct Outage {
    /// The number of connects that had succeeded when the outage began: another number means another outage.
    connects: u64,
    /// Passes over the servers, the current one included.
    passes: u32,
    /// The servers that the current pass has yet to try.
    left: VecDeque<ServerAddr>,
    /// The server that was tried last. If that attempt succeeded, the server that is lost now.
    last: Option<ServerAddr>,
    /// The time when that attempt began. If it succeeded, the connection was up from then on. (The client's event that
    /// says when it was complete may be lost.)
    began: Option<Instant>,
    /// The number of times that each server has refused us.
    refusals: HashMap<ServerAddr, u32>,
}

/// The next step after a connection was lost, or an attempt failed.
#[derive(Debug)]
pub(super) enum ReconnectDecision {
    /// Try this server, after its delay.
    Try(ReconnectToServer),
    /// Try no more. The connection's state says why.
    GiveUp,
}

impl ReconnectPolicy {
    pub(super) fn new(settings: &ConnectionSettings, tls_required: bool) -> Self {
        Self {
            max_passes: settings.max_reconnect,
            wait: settings.reconnect_wait,
            randomize: settings.randomize,
            outage: Mutex::default(),
            pool: Mutex::default(),
            tls_required,
        }
    }

    /// Notes that the first connect succeeded, with this server.
    pub(super) fn note_first_connect(&self, server: &ServerAddr) {
        let mut outage = locked(&self.outage);
        outage.last = Some(server.clone());
        outage.began = Some(Instant::now());
    }

    /// Sets the servers, as a client knows them.
    pub(super) fn set_pool(&self, pool: Vec<Server>) {
        *locked(&self.pool) = pool;
    }

    /// The servers, as the last client knew them.
    pub(super) fn pool(&self) -> Vec<Server> {
        locked(&self.pool).clone()
    }

    /// Adds servers that a server tells of. An address that is none is left out.
    pub(super) fn learn(&self, urls: &[String]) {
        let mut pool = locked(&self.pool);
        for addr in urls.iter().filter_map(|url| url.parse().ok()) {
            let addr = self.with_tls(addr);
            if pool.iter().all(|server| server.addr != addr) {
                pool.push(Server {
                    is_discovered: true,
                    ..untried(addr)
                });
            }
        }
    }

    /// Notes why an attempt failed.
    pub(super) fn note_error(&self, addr: &ServerAddr, error: &str) {
        for server in locked(&self.pool).iter_mut() {
            if server.addr == *addr {
                server.last_error = Some(error.to_owned());
            }
        }
    }

    /// Completes the servers by those that a client knows, and the outcome of its last attempt, which may have been
    /// through the relay. Returns them.
    pub(super) fn merge(
        &self,
        client_pool: &[Server],
        relay: Option<&ServerAddr>,
        was_relayed: bool,
    ) -> Vec<Server> {
        let last = locked(&self.outage).last.clone();
        let mut pool = locked(&self.pool);
        for server in client_pool {
            let is_relay = relay == Some(&server.addr);
            let of_last = if is_relay {
                was_relayed
            } else {
                !was_relayed && Some(&server.addr) == last.as_ref()
            };
            let addr = if is_relay {
                last.clone()
            } else {
                Some(self.with_tls(server.addr.clone()))
            };
            match pool
                .iter_mut()
                .find(|known| Some(&known.addr) == addr.as_ref())
            {
                Some(known) if of_last => known.last_error.clone_from(&server.last_error),
                Some(_) => {}
                None if is_relay => {}
                None => pool.extend(addr.map(|addr| Server {
                    addr,
                    ..server.clone()
                })),
            }
        }
        pool.clone()
    }

    /// The address as this connection uses it.
    pub(super) fn with_tls(&self, addr: ServerAddr) -> ServerAddr {
        if !self.tls_required || addr.tls_required() {
            return addr;
        }
        let mut url = addr.clone().into_inner();
        // This fails for schemes of another sort, which servers have not.
        if url.set_scheme("tls").is_err() {
            return addr;
        }
        ServerAddr::from_url(url).unwrap_or(addr)
    }

    /// The servers, for the next client that is made after one has ended.
    pub(super) fn pool_after_client_end(&self) -> Vec<Server> {
        let mut pool = self.pool();
        let last = locked(&self.outage).last.clone();
        for server in &mut pool {
            // Of use only if the client ended while it looked for a server, which then has to count as an attempt.
            if Some(&server.addr) == last.as_ref() {
                server.last_error = Some("the client ended".to_owned());
            }
        }
        pool
    }

    /// Decides about the next attempt. Called before every one, by the client, and where the next client is made.
    ///
    /// The first attempt after a lost connection is at once, also with a single server: one message may have cut the
    /// connection. After a connection that was up for less than `reconnect_wait` the wait comes first: otherwise a sender
    /// of such messages could have us reconnect all the time.
    pub(super) fn next(
        &self,
        pool: &[Server],
        shared: &Arc<ConnectionShared>,
    ) -> ReconnectDecision {
        self.next_at(Instant::now(), pool, shared)
    }

    /// Decides as [`ReconnectPolicy::next`] at this time.
    fn next_at(
        &self,
        now: Instant,
        pool: &[Server],
        shared: &Arc<ConnectionShared>,
    ) -> ReconnectDecision {
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
        } else if let Some(reason) = outage.note_failure(pool) {
            shared.give_up(reason);
            return ReconnectDecision::GiveUp;
        }
        if outage.left.is_empty() {
            if self.max_passes.is_some_and(|max| outage.passes >= max) {
                shared.give_up(self.used_up(pool));
                return ReconnectDecision::GiveUp;
            }
            outage.passes += 1;
            outage.left = self.order(pool, outage.last.as_ref());
        }
        let Some(server) = outage.left.pop_front() else {
            return ReconnectDecision::GiveUp;
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
        ReconnectDecision::Try(attempt(server, wait))
    }

    /// The servers in the order of one pass: the one that failed last comes last.
    fn order(&self, pool: &[Server], failed: Option<&ServerAddr>) -> VecDeque<ServerAddr> {
        let mut servers: Vec<_> = pool.iter().map(|server| server.addr.clone()).collect();
        if self.randomize {
            shuffle(&mut servers);
        }
        servers.sort_by_key(|server| Some(server) == failed);
        servers.into()
    }

    /// The reason for giving up after the last pass.
    fn used_up(&self, pool: &[Server]) -> String {
        let tries = self.max_passes.unwrap_or_default();
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
    /// Notes that the last attempt failed. Returns the reason for giving up if its server has refused us too often.
    fn note_failure(&mut self, pool: &[Server]) -> Option<String> {
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
        (*refusals >= MAX_REFUSALS)
            .then(|| format!("{server} does not let us in any more: {reason}"))
    }
}

/// The last error of a server. The client notes none for a name that does not resolve.
fn last_error(server: &Server) -> &str {
    server
        .last_error
        .as_deref()
        .unwrap_or("its name does not resolve")
}

/// A server that was not tried yet.
pub(super) fn untried(addr: ServerAddr) -> Server {
    Server {
        addr,
        failed_attempts: 0,
        did_connect: false,
        is_discovered: false,
        last_error: None,
    }
}

/// An attempt at this address after this wait.
pub(super) fn attempt(addr: ServerAddr, wait: Duration) -> ReconnectToServer {
    ReconnectToServer {
        addr,
        delay: Some(wait),
    }
}

/// The wait and up to a tenth more, so that many clients do not come back at once.
fn jittered(wait: Duration) -> Duration {
    let tenths = f64::from(u32::try_from(random() >> 32).unwrap_or_default()) / f64::from(u32::MAX);
    wait + wait.mul_f64(tenths / 10.0)
}

/// Shuffles the items.
pub(super) fn shuffle<T>(items: &mut [T]) {
    for end in (1..items.len()).rev() {
        let other = usize::try_from(random() % (end as u64 + 1)).unwrap_or_default();
        items.swap(end, other);
    }
}

/// A random number to spread clients. Not for secrets: it is not a cryptographic one.
fn random() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests;
