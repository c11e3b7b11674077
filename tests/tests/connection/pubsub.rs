//! Publish, subscribe, request.

use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::HeaderMap;
use async_nats::message::OutboundMessage;
use futures_util::StreamExt;
use wharf::config::{Auth, ConnectionSettings, Secret, Serializer};
use wharf::{Connector, Error, StoreOptions};
use wharf_tests::{TestServer, soon, until};

#[tokio::test]
async fn a_value_goes_out_and_comes_back_in_both_forms() -> Result<()> {
    let server = TestServer::start("").await?;
    let connector = Connector::connect(server.settings()).await?;
    for serializer in [Serializer::Json, Serializer::Msgpack] {
        let connector = connector.clone().with_serializer(serializer);
        let mut numbers = connector.subscribe::<f64>("halve", None).await?;
        let answering = tokio::spawn(async move {
            let number = numbers.next().await.context("a number")??;
            number.reply(&(number.value / 2.0)).await?;
            anyhow::Ok(())
        });
        let half: f64 = connector.request("halve", &21).await?;
        assert!((half - 10.5).abs() < f64::EPSILON, "{half}");
        answering.await??;
    }
    connector.drain().await?;
    Ok(())
}

#[tokio::test]
async fn the_prefix_is_put_before_every_subject_unless_it_is_ignored() -> Result<()> {
    let server = TestServer::start("").await?;
    let settings = ConnectionSettings {
        prefix: "app.".into(),
        ..server.settings()
    };
    let connector = Connector::connect(settings).await?;
    let mut all = server.client().await?.subscribe(">").await?;
    let mut ours = connector.subscribe::<u8>("news.*", None).await?;
    let mut everywhere = connector
        .without_prefix()
        .subscribe::<u8>("news.*", None)
        .await?;
    soon("the other client is subscribed", async {
        // Its subscription counts from the first message on that it sees.
        while futures_util::FutureExt::now_or_never(all.next()).is_none() {
            connector.without_prefix().publish("warm-up", &0).await?;
            connector.flush_published().await?;
        }
        Ok::<_, Error>(())
    })
    .await??;
    connector.publish("news.a", &1).await?;
    connector.without_prefix().publish("news.b", &2).await?;
    connector
        .clone()
        .with_prefix("other.")
        .publish("news.c", &3)
        .await?;
    let message = ours.next().await.context("a message")??;
    assert_eq!(
        (message.subject(), message.value, &*message.message.subject),
        ("news.a", 1, "app.news.a")
    );
    let message = everywhere.next().await.context("a message")??;
    assert_eq!((message.subject(), message.value), ("news.b", 2));
    let mut subjects = Vec::new();
    while subjects.len() < 3 {
        let subject = soon("a message", all.next())
            .await?
            .context("a message")?
            .subject
            .to_string();
        if subject.contains("news") {
            subjects.push(subject);
        }
    }
    assert_eq!(subjects, ["app.news.a", "news.b", "other.news.c"]);
    Ok(())
}

#[tokio::test]
async fn the_members_of_a_queue_group_share_the_messages() -> Result<()> {
    const MESSAGES: usize = 200;
    let server = TestServer::start("").await?;
    let connector = Connector::connect(server.settings()).await?;
    let members = [
        connector
            .subscribe::<usize>("jobs", Some("workers"))
            .await?,
        connector
            .subscribe::<usize>("jobs", Some("workers"))
            .await?,
    ];
    for number in 0..MESSAGES {
        connector.publish("jobs", &number).await?;
    }
    let readers = members.map(|mut member| {
        tokio::spawn(async move {
            let mut numbers = Vec::new();
            while let Some(number) = member.next().await {
                numbers.push(number?.value);
            }
            Ok::<_, Error>(numbers)
        })
    });
    connector.drain().await?;
    let mut numbers = Vec::new();
    for reader in readers {
        let share = reader.await??;
        assert!(!share.is_empty(), "each has a share");
        numbers.extend(share);
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..MESSAGES).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn headers_and_bytes_travel_as_they_are() -> Result<()> {
    let server = TestServer::start("").await?;
    let connector = Connector::connect(server.settings()).await?;
    let mut messages = connector.subscribe_raw("raw", None).await?;
    let mut headers = HeaderMap::new();
    headers.append("Color", "red");
    headers.append("Color", "blue");
    let payload = vec![0, 255, b'\r', b'\n'];
    connector
        .publish_message(OutboundMessage {
            subject: "raw".into(),
            reply: Some("answers".into()),
            headers: Some(headers.clone()),
            payload: payload.clone().into(),
        })
        .await?;
    let message = soon("a message", messages.next())
        .await?
        .context("a message")?;
    assert_eq!(
        (message.payload.to_vec(), message.headers),
        (payload, Some(headers))
    );
    assert_eq!(message.reply.as_deref(), Some("answers"));
    Ok(())
}

#[tokio::test]
async fn a_callers_header_that_cannot_travel_is_refused() -> Result<()> {
    let server = TestServer::start("").await?;
    let connector = Connector::connect(server.settings()).await?;
    let mut messages = connector.subscribe_raw("a", None).await?;
    let message = |headers: &str| -> Result<OutboundMessage> {
        // The library checks values where they are made in code, not where they are read.
        let headers: HeaderMap = serde_json::from_str(headers)?;
        Ok(OutboundMessage {
            subject: "a".into(),
            reply: None,
            headers: Some(headers),
            payload: "x".into(),
        })
    };
    for headers in [
        r#"{"A":["a\rb"]}"#,
        r#"{"A":["a\nB: c"]}"#,
        r#"{"A":["b","a\u0000"]}"#,
        r#"{"":["b"]}"#,
    ] {
        let refused = connector.publish_message(message(headers)?).await;
        assert!(
            matches!(&refused, Err(Error::Invalid(_))),
            "{headers}: {refused:?}"
        );
        let OutboundMessage { headers, .. } = message(headers)?;
        let refused = connector
            .publish_acked_raw("a", headers, "x", &StoreOptions::default())
            .await;
        assert!(matches!(&refused, Err(Error::Invalid(_))), "{refused:?}");
    }
    let good = message(r#"{"A":["b","ü"]}"#)?;
    let headers = good.headers.clone();
    connector.publish_message(good).await?;
    let arrived = soon("a message", messages.next())
        .await?
        .context("a message")?;
    assert_eq!(arrived.headers, headers);
    assert_eq!(connector.counters().disconnects, 0);
    Ok(())
}

#[tokio::test]
async fn requests_tell_nobody_from_no_answer() -> Result<()> {
    let server = TestServer::start("").await?;
    let connector = Connector::connect(server.settings()).await?;
    assert_eq!(
        connector
            .request_raw("nobody", "")
            .await
            .expect_err("nobody"),
        Error::NoResponders
    );
    let _mute = connector.subscribe_raw("mute", None).await?;
    let impatient = connector.with_request_timeout(Duration::from_millis(50));
    assert_eq!(
        impatient
            .request_raw("mute", "")
            .await
            .expect_err("no answer"),
        Error::Timeout
    );
    Ok(())
}

#[tokio::test]
async fn a_services_error_is_an_error_of_the_typed_request() -> Result<()> {
    let server = TestServer::start("").await?;
    let connector = Connector::connect(server.settings()).await?;
    let mut requests = connector.subscribe_raw("service", None).await?;
    let service = connector.without_prefix();
    tokio::spawn(async move {
        let request = requests.next().await.context("a request")?;
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Service-Error-Code", "422");
        headers.insert("Nats-Service-Error", "too green");
        let subject = request.reply.context("a reply subject")?;
        let reply = OutboundMessage {
            subject,
            reply: None,
            headers: Some(headers),
            payload: "".into(),
        };
        service.publish_message(reply).await?;
        anyhow::Ok(())
    });
    let error = connector
        .request::<_, u8>("service", &1)
        .await
        .expect_err("a service error")
        .to_string();
    assert!(
        error.contains("422") && error.contains("too green"),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn a_message_that_is_no_value_does_not_end_the_subscription() -> Result<()> {
    let server = TestServer::start("").await?;
    let connector = Connector::connect(server.settings()).await?;
    let mut numbers = connector.subscribe::<u8>("numbers", None).await?;
    connector.publish_raw("numbers", "seven").await?;
    connector.publish("numbers", &7).await?;
    let error = numbers
        .next()
        .await
        .context("an item")?
        .expect_err("no number")
        .to_string();
    assert!(error.contains("'numbers' is not the JSON"), "{error}");
    assert_eq!(numbers.next().await.context("an item")??.value, 7);
    Ok(())
}

#[tokio::test]
async fn what_is_not_allowed_is_refused_before_it_is_sent() -> Result<()> {
    let server = TestServer::start("max_payload: 1000").await?;
    let connector = Connector::connect(server.settings()).await?;
    for subject in ["", "a b", "a..b", ".a", "a.", "a.*", ">", "a\r\nPUB b 0"] {
        let error = connector
            .publish(subject, &1)
            .await
            .expect_err("no subject");
        assert!(matches!(error, Error::Invalid(_)), "{subject:?}: {error}");
    }
    for subject in ["", "a b", "a..b", "a.>.b"] {
        let error = connector
            .subscribe_raw(subject, None)
            .await
            .expect_err("no subject");
        assert!(matches!(error, Error::Invalid(_)), "{subject:?}: {error}");
    }
    let error = connector
        .subscribe_raw("a", Some("b c"))
        .await
        .expect_err("no queue group");
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    let error = connector
        .publish_raw("a", vec![0; 1001])
        .await
        .expect_err("too large");
    assert_eq!(error, Error::TooLarge(1000));
    connector.flush_published().await?;
    assert_eq!(
        connector.counters().disconnects,
        0,
        "the server saw none of it"
    );
    Ok(())
}

#[tokio::test]
async fn messages_that_do_not_fit_a_subscription_are_counted() -> Result<()> {
    const ROOM: usize = 65_536;
    let server = TestServer::start("").await?;
    let connector = Connector::connect(server.settings()).await?;
    let mut unread = connector.subscribe_raw("flood", None).await?;
    for _ in 0..ROOM + 10 {
        connector.publish_raw("flood", "").await?;
    }
    until("dropped messages are counted", || {
        connector.counters().slow_consumers == 10
    })
    .await?;
    for _ in 0..ROOM {
        unread.next().await.context("a message that fitted")?;
    }
    connector.publish_raw("flood", "last").await?;
    assert_eq!(unread.next().await.context("it goes on")?.payload, "last");
    Ok(())
}

/// A server with users who may do little.
async fn narrow_server() -> Result<TestServer> {
    let user = |name: &str, permissions: &str| {
        format!("{{ user: {name}, password: pw, permissions: {{ {permissions} }} }}")
    };
    let users = [
        user("talker", "publish: \"open\", subscribe: \"_INBOX.>\""),
        user("listener", "publish: { deny: \">\" }, subscribe: \"open\""),
    ];
    TestServer::start(&format!(
        "authorization {{ users: [ {} ] }}",
        users.join(", ")
    ))
    .await
}

fn as_user(server: &TestServer, name: &str) -> ConnectionSettings {
    let auth = Auth::UserPassword {
        username: name.into(),
        password: Secret::new("pw"),
    };
    ConnectionSettings {
        auth,
        ..server.settings()
    }
}

#[tokio::test]
async fn what_the_server_forbids_fails_with_its_words_and_is_counted() -> Result<()> {
    let server = narrow_server().await?;
    let connector = Connector::connect(as_user(&server, "talker")).await?;
    let error = connector
        .request_raw("secret", "")
        .await
        .expect_err("forbidden");
    assert!(
        matches!(&error, Error::Failed(text) if text.contains("\"secret\"")),
        "{error}"
    );
    assert_eq!(
        connector.request_raw("open", "").await.expect_err("nobody"),
        Error::NoResponders
    );
    connector.publish_raw("secret", "").await?;
    until("it is counted", || connector.counters().server_errors == 2).await
}

#[tokio::test]
async fn a_round_trip_needs_no_permission() -> Result<()> {
    let server = narrow_server().await?;
    for user in ["talker", "listener"] {
        let connector = Connector::connect(as_user(&server, user)).await?;
        soon("a round trip", connector.flush_published())
            .await?
            .with_context(|| user.to_owned())?;
        soon("a drain", connector.drain())
            .await?
            .with_context(|| user.to_owned())?;
    }
    Ok(())
}

#[tokio::test]
async fn requests_of_one_who_may_not_hear_replies_fail_at_once() -> Result<()> {
    let server = narrow_server().await?;
    let connector = Connector::connect(as_user(&server, "listener")).await?;
    connector.flush_published().await?;
    let error = connector
        .request_raw("open", "")
        .await
        .expect_err("forbidden")
        .to_string();
    assert!(error.contains("allow '_INBOX.>'"), "{error}");
    let mut messages = connector.subscribe_raw("open", None).await?;
    connector.flush_published().await?;
    let talker = Connector::connect(as_user(&server, "talker")).await?;
    talker.publish_raw("open", "hello").await?;
    assert_eq!(
        soon("a message", messages.next())
            .await?
            .context("a message")?
            .payload,
        "hello"
    );
    Ok(())
}
