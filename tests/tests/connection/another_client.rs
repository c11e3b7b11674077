//! A client that ends, because of a message that makes it panic, and the next one, which goes on for it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use wharf::config::{BucketSettings, ConnectionSettings};
use wharf::{ConnectionState, Connector, Error};
use wharf_tests::raw::{LONE_CR, Raw};
use wharf_tests::{TestServer, round_trip, soon, until};

use crate::drain::drain_under_flood;
use crate::malformed::{answered, echo};

/// A server, a connection with a subscription to `poison`, and one who sends to it.
struct Scene {
    server: TestServer,
    connector: Connector,
    raw: Raw,
    _poisoned: wharf::RawSubscription,
}

impl Scene {
    async fn start() -> Result<Self> {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut ConnectionSettings)) -> Result<Self> {
        let server = TestServer::start("").await?;
        let mut settings = server.settings();
        change(&mut settings);
        let connector = Connector::connect(settings).await?;
        let poisoned = connector.subscribe_raw("poison", None).await?;
        connector.flush_published().await?;
        let raw = Raw::connect(&server).await?;
        Ok(Self {
            server,
            connector,
            raw,
            _poisoned: poisoned,
        })
    }

    /// Ends the client, and waits for the next.
    async fn poison(&mut self) -> Result<()> {
        self.poison_on("poison").await
    }

    async fn poison_on(&mut self, subject: &str) -> Result<()> {
        let before = self.connector.counters().connects;
        self.raw.publish(subject, "", LONE_CR, b"").await?;
        let mut state = self.connector.state();
        let is_new = |state: &ConnectionState| {
            *state == ConnectionState::Connected && self.connector.counters().connects > before
        };
        soon("there is another client", state.wait_for(is_new)).await??;
        // The server has noted its subscriptions.
        Ok(self.connector.flush_published().await?)
    }
}

#[tokio::test]
async fn subscriptions_requests_and_buckets_go_on() -> Result<()> {
    let mut scene = Scene::start().await?;
    let _echoing = echo(&scene.connector, "echo").await?;
    let client = scene.server.client().await?;
    let mut numbers = scene.connector.subscribe::<u32>("numbers", None).await?;
    let settings = BucketSettings::default();
    let bucket = scene.connector.create_bucket("b", settings).await?;
    bucket.set_raw("k", "before", None).await?;
    answered(&client, "echo").await?;

    scene.poison().await?;
    answered(&client, "echo").await?;
    scene.connector.publish("numbers", &7).await?;
    let number = soon("a number", numbers.next())
        .await?
        .context("a number")??;
    assert_eq!(number.value, 7);
    assert_eq!(bucket.get_raw("k").await?.context("a value")?, "before");
    bucket.set_raw("k", "after", None).await?;
    assert_eq!(bucket.keys(None).await?, ["k"]);
    scene.connector.flush_published().await?;
    let counters = scene.connector.counters();
    assert_eq!((counters.connects, counters.disconnects), (2, 1));
    Ok(())
}

#[tokio::test]
async fn what_had_arrived_is_still_read_and_in_order() -> Result<()> {
    const EACH: u32 = 2000;
    let mut scene = Scene::start().await?;
    let mut numbers = scene.connector.subscribe::<u32>("numbers", None).await?;
    scene.connector.flush_published().await?;
    for time in 0..4 {
        for number in 0..EACH {
            let number = EACH * time + number;
            scene.connector.publish("numbers", &number).await?;
        }
        // All of it has come back.
        scene.connector.flush_published().await?;
        if time < 3 {
            scene.poison().await?;
        }
    }
    let mut read = Vec::new();
    while read.len() < 4 * EACH as usize {
        let number = soon("a number", numbers.next())
            .await?
            .context("a number")??;
        read.push(number.value);
    }
    assert_eq!(read, (0..4 * EACH).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn a_reader_that_waits_and_a_request_in_flight_go_on_waiting() -> Result<()> {
    let mut scene = Scene::start().await?;
    let service = scene.server.client().await?;
    let mut asked = service.subscribe("slow").await?;
    round_trip(&service).await?;
    let mut numbers = scene.connector.subscribe::<u32>("numbers", None).await?;
    let reading = tokio::spawn(async move { numbers.next().await });
    let connector = scene.connector.clone();
    let asking = tokio::spawn(async move { connector.request_raw("slow", "?").await });
    let request = soon("the request", asked.next()).await?.context("one")?;

    scene.poison().await?;
    let inbox = request.reply.context("a subject for the reply")?;
    service.publish(inbox, "!".into()).await?;
    let reply = soon("the reply", asking).await???;
    assert_eq!(reply.payload, "!");
    scene.connector.publish("numbers", &7).await?;
    let number = soon("a number", reading).await??.context("a number")??;
    assert_eq!(number.value, 7);
    Ok(())
}

#[tokio::test]
async fn members_of_a_queue_group_stay_members() -> Result<()> {
    let mut scene = Scene::start().await?;
    let (one, two) = (&scene.connector, &scene.connector);
    let mut members = [
        one.subscribe_raw("work", Some("workers")).await?,
        two.subscribe_raw("work", Some("workers")).await?,
    ];
    scene.poison().await?;
    for _ in 0..100 {
        scene.connector.publish_raw("work", "").await?;
    }
    scene.connector.flush_published().await?;
    let mut got = 0;
    for member in &mut members {
        while let Ok(Some(_)) = tokio::time::timeout(Duration::ZERO, member.next()).await {
            got += 1;
        }
    }
    assert_eq!(got, 100, "each message is one member's");
    Ok(())
}

#[tokio::test]
async fn counters_add_up() -> Result<()> {
    let mut scene = Scene::start().await?;
    let mut seen = scene.connector.counters();
    for time in 1..4 {
        for _ in 0..10 {
            scene.connector.publish_raw("poison", "12345").await?;
        }
        scene.connector.flush_published().await?;
        let now = scene.connector.counters();
        // And one for the round trip.
        assert_eq!(now.messages_out, seen.messages_out + 11);
        assert_eq!(now.messages_in, seen.messages_in + 11);
        assert!(now.bytes_in > seen.bytes_in && now.bytes_out > seen.bytes_out);
        scene.poison().await?;
        seen = scene.connector.counters();
        assert_eq!((seen.connects, seen.disconnects), (time + 1, time));
        assert_eq!(seen.messages_out, now.messages_out + 1);
    }
    Ok(())
}

#[tokio::test]
async fn twenty_of_them_in_a_row_are_survived() -> Result<()> {
    let wait = Duration::from_millis(20);
    let mut scene = Scene::with(|settings| {
        settings.reconnect_wait = wait;
        settings.max_reconnect = Some(1);
    })
    .await?;
    let begun = tokio::time::Instant::now();
    for _ in 0..20 {
        scene.poison().await?;
    }
    ensure!(
        begun.elapsed() > wait * 19,
        "a storm: {:?}",
        begun.elapsed()
    );
    let _echoing = echo(&scene.connector, "echo").await?;
    let client = scene.server.client().await?;
    answered(&client, "echo").await?;
    let counters = scene.connector.counters();
    assert_eq!((counters.connects, counters.disconnects), (21, 20));
    let connections = &scene.server.monitor("/connz").await?["num_connections"];
    assert_eq!(connections, 3, "of the ended ones none is left");
    Ok(())
}

#[tokio::test]
async fn it_counts_as_a_connection_that_was_lost() -> Result<()> {
    let mut scene = Scene::with(|settings| settings.max_reconnect = Some(0)).await?;
    let mut messages = scene.connector.subscribe_raw("messages", None).await?;
    scene.connector.publish_raw("messages", "").await?;
    scene.connector.flush_published().await?;
    scene.raw.publish("poison", "", LONE_CR, b"").await?;
    let mut state = scene.connector.state();
    let is_lost = |state: &ConnectionState| matches!(state, ConnectionState::Lost(_));
    let lost = soon("it is lost", state.wait_for(is_lost)).await??.clone();
    assert!(
        matches!(&lost, ConnectionState::Lost(why) if why.contains("max_reconnect is 0")),
        "{lost:?}"
    );
    assert!(messages.next().await.is_some(), "what had arrived");
    assert!(soon("it ends", messages.next()).await?.is_none());
    let error = scene
        .connector
        .publish_raw("a", "")
        .await
        .expect_err("lost");
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    Ok(())
}

#[tokio::test]
async fn while_there_is_no_server_it_looks_for_one_as_long_as_it_may() -> Result<()> {
    let mut scene = Scene::with(|settings| {
        settings.max_reconnect = Some(3);
        settings.reconnect_wait = Duration::from_millis(100);
    })
    .await?;
    let mut messages = scene.connector.subscribe_raw("messages", None).await?;
    // The server is gone before the next client can connect.
    scene.raw.publish("poison", "", LONE_CR, b"").await?;
    scene.raw.flush().await?;
    scene.server.kill().await?;
    let mut state = scene.connector.state();
    let is_lost = |state: &ConnectionState| matches!(state, ConnectionState::Lost(_));
    let lost = soon("it is lost", state.wait_for(is_lost)).await??.clone();
    assert!(
        matches!(&lost, ConnectionState::Lost(why) if why.contains("3 tries") && why.contains("refused")),
        "{lost:?}"
    );
    assert!(soon("it ends", messages.next()).await?.is_none());
    Ok(())
}

#[tokio::test]
async fn what_was_made_with_the_client_itself_ends_and_the_next_one_is_there() -> Result<()> {
    let mut scene = Scene::start().await?;
    let client = scene.connector.client();
    let jetstream = scene.connector.jetstream();
    let mut messages = client.subscribe("messages").await?;
    let mut state = scene.connector.state();
    state.mark_unchanged();
    scene.raw.publish("poison", "", LONE_CR, b"").await?;
    assert!(soon("it ends", messages.next()).await?.is_none());
    soon("the state tells", state.changed()).await??;
    let is_connected = |state: &ConnectionState| *state == ConnectionState::Connected;
    soon("and again", state.wait_for(is_connected)).await??;
    assert!(client.publish("a", "".into()).await.is_err());
    assert!(jetstream.get_stream("S").await.is_err());

    let mut messages = scene.connector.client().subscribe("messages").await?;
    scene.connector.publish_raw("messages", "x").await?;
    let message = soon("a message", messages.next()).await?.context("one")?;
    assert_eq!(message.payload, "x");
    let jetstream = scene.connector.jetstream();
    jetstream.get_or_create_stream("S").await?;
    Ok(())
}

#[tokio::test]
async fn a_client_that_its_user_drains_is_followed_by_another_one() -> Result<()> {
    let scene = Scene::start().await?;
    scene.connector.client().drain().await?;
    until("there is another client", || {
        scene.connector.counters().connects == 2
    })
    .await?;
    scene.connector.flush_published().await?;
    Ok(())
}

#[tokio::test]
async fn the_connections_own_inbox_is_no_way_to_end_it() -> Result<()> {
    let mut scene = Scene::start().await?;
    scene.raw.subscribe("service").await?;
    let connector = scene.connector.clone();
    let asking = tokio::spawn(async move { connector.request_raw("service", "?").await });
    let request = scene.raw.next().await?;
    let inbox = String::from_utf8(request.reply.context("a subject for the reply")?)?;
    scene.poison_on(&inbox).await?;
    // The request still waits, and gets the answer that can be read.
    let plain = b"NATS/1.0\r\n\r\n";
    scene.raw.publish(&inbox, "", plain, b"!").await?;
    assert_eq!(soon("the reply", asking).await???.payload, "!");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_it_stops_under_a_flood_afterwards() -> Result<()> {
    for _ in 0..5 {
        let Scene {
            server,
            connector,
            mut raw,
            _poisoned: poisoned,
        } = Scene::start().await?;
        let end_the_client = async move |connector: &Connector| {
            raw.publish("poison", "", LONE_CR, b"").await?;
            until("there is another client", || {
                connector.counters().connects == 2
            })
            .await?;
            // Nobody reads it, which would hold up the drain.
            drop(poisoned);
            Ok(connector.flush_published().await?)
        };
        drain_under_flood(&server, connector, end_the_client).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_drain_in_which_the_client_ends_still_yields_what_had_arrived() -> Result<()> {
    const MESSAGES: usize = 500;
    for _ in 0..20 {
        let mut scene = Scene::start().await?;
        let mut subscriptions = Vec::new();
        for _ in 0..20 {
            subscriptions.push(scene.connector.subscribe_raw("messages", None).await?);
        }
        for _ in 0..MESSAGES {
            scene.connector.publish_raw("messages", "").await?;
        }
        scene.connector.flush_published().await?;
        // Before, between or behind the steps of the drain.
        scene.raw.publish("poison", "", LONE_CR, b"").await?;
        let Scene {
            connector,
            _poisoned: poisoned,
            ..
        } = scene;
        drop(poisoned);
        let draining = tokio::spawn(connector.drain());
        for mut messages in subscriptions {
            let mut read = 0;
            while soon("a message or the end", messages.next())
                .await?
                .is_some()
            {
                read += 1;
            }
            assert_eq!(read, MESSAGES);
        }
        match soon("the drain ends", draining).await?? {
            Ok(()) | Err(Error::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    Ok(())
}
