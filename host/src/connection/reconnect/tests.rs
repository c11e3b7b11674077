use std::cell::Cell;
use std::sync::atomic::Ordering;

use async_nats::Statistics;

use super::*;
use crate::connection::ConnectionState;

const WAIT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(3600);

/// A connection to the first of these servers, and the servers as its client would report them.
struct Scene {
    reconnects: ReconnectPolicy,
    shared: Arc<ConnectionShared>,
    statistics: Arc<Statistics>,
    pool: Vec<Server>,
    /// The time that has passed since `begun`.
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
            reconnects: ReconnectPolicy::new(&settings, false),
            shared: Arc::new(ConnectionShared::new(crate::config::FilterMode::Never)),
            statistics: Arc::default(),
            pool,
            later: Cell::default(),
            begun: Instant::now(),
        };
        scene.shared.count_with(Arc::clone(&scene.statistics));
        scene.reconnects.note_first_connect(&scene.pool[0].addr);
        scene.succeed_for(LONG);
        scene
    }

    /// Notes that the last attempt succeeded, and that the connection was up for this time.
    fn succeed_for(&self, time: Duration) {
        self.statistics.connects.add(1, Ordering::Relaxed);
        self.later.set(self.later.get() + time);
    }

    /// The host of the next server, and whether there is a wait before it.
    fn next(&self) -> Option<(String, bool)> {
        let now = self.begun + self.later.get();
        match self.reconnects.next_at(now, &self.pool, &self.shared) {
            ReconnectDecision::Try(ReconnectToServer { addr, delay }) => {
                let delay = delay.expect("a delay");
                self.later.set(self.later.get() + delay);
                assert!(
                    delay.is_zero() || (WAIT..=WAIT.mul_f64(1.1)).contains(&delay),
                    "{delay:?}"
                );
                Some((addr.host().to_owned(), !delay.is_zero()))
            }
            ReconnectDecision::GiveUp => None,
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
