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

    /// The servers, for one who makes the next client after one has ended.
    pub(super) fn pool_after_end(&self) -> Vec<Server> {
        let mut pool = locked(&self.pool).clone();
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
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::Ordering;

    use async_nats::Statistics;

    use super::*;
    use crate::connection::ConnectionState;

    const WAIT: Duration = Duration::from_secs(1);
    const LONG: Duration = Duration::from_secs(3600);

    /// A connection to the first of these servers, and what its client would tell of them.
    struct Scene {
        reconnects: Reconnects,
        shared: Arc<Shared>,
        statistics: Arc<Statistics>,
        pool: Vec<Server>,
        /// What is added to the time.
        later: Cell<Duration>,
        begun: Instant,
    }

    impl Scene {
        fn new(servers: &[&str], max_reconnect: Option<u32>) -> Self {
            let settings = ConnectionSettings {
                max_reconnect,
                reconnect_wait: WAIT,
                randomize: false,
                ..ConnectionSettings::default()
            };
            let server = |name: &&str| untried(name.parse().expect("an address"));
            let pool: Vec<_> = servers.iter().map(server).collect();
            let scene = Self {
                reconnects: Reconnects::new(&settings),
                shared: Arc::new(Shared::new()),
                statistics: Arc::default(),
                pool,
                later: Cell::default(),
                begun: Instant::now(),
            };
            scene.shared.counted_by(Arc::clone(&scene.statistics));
            scene.reconnects.connected(&scene.pool[0].addr);
            scene.succeed_for(LONG);
            scene
        }

        /// The last attempt succeeded, and the connection is up for so long.
        fn succeed_for(&self, time: Duration) {
            self.statistics.connects.add(1, Ordering::Relaxed);
            self.later.set(self.later.get() + time);
        }

        /// The host of the next server, and whether there is a wait before it.
        fn next(&self) -> Option<(String, bool)> {
            let now = self.begun + self.later.get();
            match self.reconnects.next_at(now, &self.pool, &self.shared) {
                Next::Try(ReconnectToServer { addr, delay }) => {
                    let delay = delay.expect("a delay");
                    self.later.set(self.later.get() + delay);
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
            assert_eq!([scene.next(), scene.next()], [at_once("a"), waited("a")]);
            scene.succeed_for(LONG);
        }
        assert_eq!(scene.lost(), None);
        assert_eq!(
            [scene.next(), scene.next(), scene.next()],
            [at_once("a"), waited("a"), None]
        );
        assert_eq!(scene.shared.disconnects(), 6);
    }

    #[test]
    fn after_a_connection_that_was_up_for_the_wait_the_first_attempt_is_at_once() {
        let scene = Scene::new(&["a"], None);
        for up_for in [LONG, WAIT, WAIT * 2] {
            assert_eq!(scene.next(), at_once("a"));
            scene.succeed_for(up_for);
        }
    }

    #[test]
    fn after_a_shorter_one_it_is_not_whichever_server_comes_next() {
        let scene = Scene::new(&["a"], None);
        assert_eq!(scene.next(), at_once("a"));
        for _ in 0..3 {
            scene.succeed_for(WAIT - Duration::from_millis(1));
            assert_eq!(scene.next(), waited("a"));
        }
        scene.succeed_for(WAIT);
        assert_eq!(scene.next(), at_once("a"));

        let scene = Scene::new(&["a", "b"], None);
        assert_eq!(scene.next(), at_once("b"));
        scene.succeed_for(Duration::ZERO);
        assert_eq!(scene.next(), waited("a"));
        scene.succeed_for(Duration::ZERO);
        assert_eq!([scene.next(), scene.next()], [waited("b"), waited("a")]);
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
        scene.succeed_for(LONG);
        assert_eq!([scene.next(), scene.next()], [at_once("a"), waited("b")]);
        assert_eq!([scene.next(), scene.next()], [at_once("a"), None]);
        assert!(
            scene
                .lost()
                .is_some_and(|why| why.contains("nats://a does not let us in any more"))
        );
    }
}
