//! Which server next, after which wait, and when to give up.
//!
//! The client's own count covers the first connect, too, and cannot be 0; it waits before every server instead of once
//! a pass, and asks a server that refuses us for ever. So the choice is made here, before every attempt.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
    max: Option<u32>,
    wait: Duration,
    randomize: bool,
    outage: Mutex<Outage>,
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
        }
    }

    /// The first connect succeeded, with this server.
    pub(super) fn connected(&self, server: &ServerAddr) {
        locked(&self.outage).last = Some(server.clone());
    }

    /// Called by the client before every attempt, the first connect included.
    pub(super) fn next(&self, pool: &[Server], shared: &Arc<Shared>) -> Next {
        let connects = shared.connects();
        if connects == 0 {
            // The first connect: the pool is the one server that is tried.
            return pool.first().map_or(Next::GiveUp, |server| {
                attempt(server.addr.clone(), Duration::ZERO)
            });
        }
        let mut outage = locked(&self.outage);
        if outage.connects != connects {
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
        outage.last = Some(server.clone());
        // Other servers are tried at once; the wait is before the last one of a pass.
        let wait = if outage.left.is_empty() {
            jittered(self.wait)
        } else {
            Duration::ZERO
        };
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

fn attempt(addr: ServerAddr, wait: Duration) -> Next {
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
mod tests {
    use std::sync::atomic::Ordering;

    use async_nats::Statistics;

    use super::*;
    use crate::connection::ConnectionState;

    const WAIT: Duration = Duration::from_secs(1);

    /// A connection to the first of these servers, and what its client would tell of them.
    struct Scene {
        reconnects: Reconnects,
        shared: Arc<Shared>,
        statistics: Arc<Statistics>,
        pool: Vec<Server>,
    }

    impl Scene {
        fn new(servers: &[&str], max_reconnect: Option<u32>) -> Self {
            let settings = ConnectionSettings {
                max_reconnect,
                reconnect_wait: WAIT,
                randomize: false,
                ..ConnectionSettings::default()
            };
            let server = |name: &&str| Server {
                addr: name.parse().expect("an address"),
                failed_attempts: 0,
                did_connect: false,
                is_discovered: false,
                last_error: None,
            };
            let pool: Vec<_> = servers.iter().map(server).collect();
            let scene = Self {
                reconnects: Reconnects::new(&settings),
                shared: Arc::new(Shared::new()),
                statistics: Arc::default(),
                pool,
            };
            scene.shared.established(Arc::clone(&scene.statistics));
            scene.reconnects.connected(&scene.pool[0].addr);
            scene.succeed();
            scene
        }

        fn succeed(&self) {
            self.statistics.connects.add(1, Ordering::Relaxed);
        }

        /// The host of the next server, and whether there is a wait before it.
        fn next(&self) -> Option<(String, bool)> {
            match self.reconnects.next(&self.pool, &self.shared) {
                Next::Try(ReconnectToServer { addr, delay }) => {
                    let delay = delay.expect("a delay");
                    assert!(
                        delay.is_zero() || (WAIT..=WAIT.mul_f64(1.1)).contains(&delay),
                        "{delay:?}"
                    );
                    Some((addr.host().to_owned(), !delay.is_zero()))
                }
                Next::GiveUp => None,
            }
        }

        fn lost(&self) -> Option<String> {
            match &*self.shared.state().borrow() {
                ConnectionState::Lost(why) => Some(why.clone()),
                _ => None,
            }
        }
    }

    fn at_once(host: &str) -> Option<(String, bool)> {
        Some((host.to_owned(), false))
    }

    fn waited(host: &str) -> Option<(String, bool)> {
        Some((host.to_owned(), true))
    }

    #[test]
    fn the_others_are_tried_at_once_and_the_one_that_failed_after_the_wait() {
        let scene = Scene::new(&["a", "b", "c"], Some(2));
        let tried: Vec<_> = std::iter::from_fn(|| scene.next()).collect();
        let pass = [at_once("b"), at_once("c"), waited("a")];
        assert_eq!(
            tried.into_iter().map(Some).collect::<Vec<_>>(),
            [pass.clone(), pass].concat()
        );
        let why = scene.lost().expect("it is lost");
        assert!(why.contains("2 tries") && why.contains("nats://b"), "{why}");
    }

    #[test]
    fn tries_are_counted_anew_after_a_success() {
        let scene = Scene::new(&["a"], Some(2));
        for _ in 0..5 {
            assert_eq!([scene.next(), scene.next()], [waited("a"), waited("a")]);
            scene.succeed();
        }
        assert_eq!(scene.lost(), None);
        assert_eq!(
            [scene.next(), scene.next(), scene.next()],
            [waited("a"), waited("a"), None]
        );
        assert_eq!(scene.shared.disconnects(), 6);
    }

    #[test]
    fn without_a_limit_it_goes_on_and_with_zero_it_does_not_begin() {
        let scene = Scene::new(&["a"], None);
        assert!((0..1000).all(|_| scene.next().is_some()));
        let scene = Scene::new(&["a"], Some(0));
        assert_eq!(scene.next(), None);
        assert_eq!(
            scene.lost().as_deref(),
            Some("it broke, and max_reconnect is 0")
        );
    }

    #[test]
    fn a_server_that_refuses_us_twice_in_one_outage_is_one_too_many() {
        let mut scene = Scene::new(&["a", "b"], None);
        scene.pool[0].last_error =
            Some("authorization violation: nats: authorization violation".into());
        // An outage with one refusal, then another.
        assert_eq!(
            [scene.next(), scene.next(), scene.next()],
            [at_once("b"), waited("a"), at_once("b")]
        );
        scene.succeed();
        assert_eq!([scene.next(), scene.next()], [at_once("a"), waited("b")]);
        assert_eq!([scene.next(), scene.next()], [at_once("a"), None]);
        assert!(
            scene
                .lost()
                .is_some_and(|why| why.contains("nats://a does not let us in any more"))
        );
    }
}
