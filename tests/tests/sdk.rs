//! What the SDK promises to a guest in Rust holds on a real host, in JSON and in MessagePack.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use wharf::config::{BucketAccess, GuestSettings, Serializer};
use wharf::{Host, StartError};
use wharf_tests::probe::{config, service_error};
use wharf_tests::{TestServer, component, round_trip, soon};

/// A host with a guest that is written with the SDK. The host subscribes it to nothing.
struct Service {
    server: TestServer,
    host: Host,
    client: async_nats::Client,
    form: Serializer,
}

const BOTH: [Serializer; 2] = [Serializer::Json, Serializer::Msgpack];

impl Service {
    async fn start(form: Serializer) -> Result<Self> {
        Self::start_as("service", form, |_| {}).await
    }

    /// The same, under another name, with other settings.
    async fn start_as(
        name: &str,
        form: Serializer,
        change: impl FnOnce(&mut GuestSettings),
    ) -> Result<Self> {
        let server = TestServer::start("").await?;
        let mut config = config(&server);
        let mut settings = GuestSettings::new(component("service")?);
        settings.serializer = form;
        settings.may_subscribe = vec!["jobs.*".into(), "shared".into()];
        settings.publish = vec!["out.*".into()];
        settings.request = vec!["ask.*".into()];
        settings.limits.time = Duration::from_secs(30);
        for bucket in ["default", "orders"] {
            settings
                .buckets
                .insert(bucket.to_owned(), BucketAccess::ReadWrite);
        }
        change(&mut settings);
        config.guests.insert(name.to_owned(), settings);
        let host = Host::builder(config).start().await?;
        let client = server.client().await?;
        Ok(Self {
            server,
            host,
            client,
            form,
        })
    }

    async fn reply(&self, payload: Vec<u8>) -> Result<async_nats::Message> {
        Ok(soon(
            "the guest replies",
            self.client.request("jobs.0", payload.into()),
        )
        .await??)
    }

    /// What the guest answers a job with.
    async fn ok(&self, job: Value) -> Result<Value> {
        let reply = self.reply(write(self.form, &job)?).await?;
        let headers = reply.headers.as_ref().context("the guest's header")?;
        ensure!(
            headers
                .get("x-subject")
                .is_some_and(|subject| subject.as_str() == "jobs.0"),
            "{reply:?}"
        );
        read(self.form, &reply.payload)
    }

    /// The error that a job is answered with: its code and words.
    async fn err(&self, job: Value) -> Result<(String, String)> {
        service_error(&self.reply(write(self.form, &job)?).await?)
    }
}

fn write(form: Serializer, value: &Value) -> Result<Vec<u8>> {
    Ok(match form {
        Serializer::Json => serde_json::to_vec(value)?,
        Serializer::Msgpack => rmp_serde::to_vec_named(value)?,
    })
}

fn read(form: Serializer, bytes: &[u8]) -> Result<Value> {
    Ok(match form {
        Serializer::Json => serde_json::from_slice(bytes)?,
        Serializer::Msgpack => rmp_serde::from_slice(bytes)?,
    })
}

fn order() -> Value {
    json!({ "item": "anchor ⚓", "price": 4.5, "tags": ["iron", ""], "note": null })
}

fn order_at(price: f64) -> Value {
    let mut order = order();
    order["price"] = price.into();
    order
}

#[tokio::test]
async fn a_typed_handler_reads_and_replies_in_the_hosts_form() -> Result<()> {
    for form in BOTH {
        let service = Service::start(form).await?;
        assert_eq!(
            service
                .ok(json!({ "do": "double", "order": order() }))
                .await?,
            order_at(9.0),
            "{form:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_payload_that_cannot_be_read_is_rejected() -> Result<()> {
    for (form, name) in BOTH.into_iter().zip(["JSON", "MessagePack"]) {
        let service = Service::start(form).await?;
        let job = json!({ "do": "double", "order": order() });
        let whole = write(form, &job)?;
        let other_form = if form == Serializer::Json {
            Serializer::Msgpack
        } else {
            Serializer::Json
        };
        let unreadable = [
            Vec::new(),
            whole[..whole.len() - 1].to_vec(),
            [&whole[..], &whole[..]].concat(),
            write(other_form, &job)?,
            write(
                form,
                &json!({ "do": "double", "order": { "item": "no price" } }),
            )?,
            write(form, &json!({ "do": "nothing known" }))?,
        ];
        for payload in &unreadable {
            let (code, words) = service_error(&service.reply(payload.clone()).await?)?;
            assert_eq!(code, "400", "{payload:?}: {words}");
            ensure!(
                words.contains(&format!("cannot read the payload as {name}")),
                "{words}"
            );
        }
        let stats = service.host.stats("service").context("the guest runs")?;
        assert_eq!(
            (stats.rejected, stats.handled),
            (unreadable.len() as u64, 0)
        );
    }
    Ok(())
}

#[tokio::test]
async fn an_error_asks_for_a_retry_unless_it_rejects() -> Result<()> {
    let service = Service::start(Serializer::Json).await?;
    assert_eq!(
        service.ok(json!({ "do": "parse", "text": "41" })).await?,
        41
    );
    let (code, words) = service
        .err(json!({ "do": "parse", "text": "many" }))
        .await?;
    assert_eq!((&*code, &*words), ("503", "invalid digit found in string"));
    let (code, words) = service.err(json!({ "do": "busy" })).await?;
    assert_eq!((&*code, &*words), ("503", "come again"));
    let (code, words) = service
        .err(json!({ "do": "refuse", "reason": "no such order" }))
        .await?;
    assert_eq!((&*code, &*words), ("400", "no such order"));
    let stats = service.host.stats("service").context("the guest runs")?;
    assert_eq!(
        (stats.handled, stats.retried, stats.rejected, stats.trapped),
        (1, 2, 1, 0)
    );
    Ok(())
}

#[tokio::test]
async fn a_handler_that_returns_none_sends_no_reply() -> Result<()> {
    let service = Service::start(Serializer::Json).await?;
    let mut replies = service.client.subscribe("replies").await?;
    let quiet = json!({ "do": "quiet" }).to_string();
    service
        .client
        .publish_with_reply("jobs.0", "replies", quiet.into())
        .await?;
    let handled = || {
        service
            .host
            .stats("service")
            .is_some_and(|stats| stats.handled == 1)
    };
    wharf_tests::until("the guest has handled it", handled).await?;
    service.host.connector().flush_published().await?;
    service
        .client
        .publish("replies", "the first".into())
        .await?;
    assert_eq!(
        soon("a message", replies.next())
            .await?
            .context("a message")?
            .payload,
        "the first"
    );
    Ok(())
}

#[tokio::test]
async fn start_subscribes_before_the_first_message_and_stop_is_called_after_the_last() -> Result<()>
{
    let service = Service::start_as("living", Serializer::Json, |settings| {
        settings.config.insert("jobs".into(), "3".into());
    })
    .await?;
    let connections = service.server.monitor("/connz?subs=detail").await?;
    let subscriptions = connections["connections"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|connection| {
            connection["subscriptions_list_detail"]
                .as_array()
                .into_iter()
                .flatten()
        });
    let made: BTreeSet<_> = subscriptions
        .filter_map(|made| Some((made["subject"].as_str()?, made["qgroup"].as_str())))
        // What is the guest's, not the host's own.
        .filter(|(subject, _)| !subject.starts_with("_INBOX.") && !subject.starts_with("$SRV."))
        .collect();
    let expected = [
        ("jobs.0", None),
        ("jobs.1", None),
        ("jobs.2", None),
        ("shared", Some("workers")),
    ];
    assert_eq!(made, expected.into());
    let mut stopped = service.client.subscribe("out.stopped").await?;
    round_trip(&service.client).await?;
    let report = service.host.shutdown().await;
    ensure!(report.is_clean(), "{report:?}");
    let said = soon("a message", stopped.next())
        .await?
        .context("a message")?;
    assert_eq!(said.payload, r#""for now""#);
    Ok(())
}

#[tokio::test]
async fn a_setting_of_another_type_is_an_error_that_names_it() -> Result<()> {
    let with = |key: &'static str, value: &'static str| {
        Service::start_as("service", Serializer::Json, move |settings| {
            settings.config.insert(key.into(), value.into());
        })
    };
    let service = with("threshold", " 4.5 ").await?;
    assert_eq!(
        service
            .ok(json!({ "do": "setting", "key": "threshold" }))
            .await?,
        4.5
    );
    assert_eq!(
        service
            .ok(json!({ "do": "setting", "key": "unset" }))
            .await?,
        Value::Null
    );
    let service = with("threshold", "high").await?;
    let (code, words) = service
        .err(json!({ "do": "setting", "key": "threshold" }))
        .await?;
    assert_eq!(
        (&*code, &*words),
        (
            "503",
            "invalid: config `threshold` is `high`: invalid float literal"
        )
    );
    let refused = with("jobs", "-1").await.err().context("it started")?;
    ensure!(
        matches!(refused.downcast_ref(), Some(StartError::Guest { name, .. }) if name == "service"),
        "{refused:?}"
    );
    ensure!(
        format!("{refused:#}").contains("config `jobs` is `-1`"),
        "{refused:#}"
    );
    Ok(())
}

#[tokio::test]
async fn typed_values_survive_every_way_into_a_bucket() -> Result<()> {
    for form in BOTH {
        let service = Service::start(form).await?;
        let kept = service
            .ok(json!({ "do": "keep", "key": "user:1/é", "order": order() }))
            .await?;
        let expected = json!({
            "replaced_nothing": true, "added_twice": false, "updated_twice": false, "unchanged": true,
            "expires": true, "value": order_at(5.5), "prices": [4.5, 5.5], "keys": ["user:1/é"], "gone": null
        });
        assert_eq!(kept, expected, "{form:?}");
        let orders = service
            .host
            .connector()
            .bucket(Some("orders"))
            .await?
            .with_serializer(form);
        assert_eq!(
            orders.get::<Value>("user:1/é").await?,
            Some(order_at(5.5)),
            "the host reads the same"
        );
    }
    Ok(())
}

#[tokio::test]
async fn no_change_of_many_at_once_is_lost() -> Result<()> {
    const MESSAGES: u64 = 50;
    let service = Service::start(Serializer::Msgpack).await?;
    let answers =
        try_join_all((0..MESSAGES).map(|_| service.ok(json!({ "do": "count", "key": "n" }))))
            .await?;
    // Each has seen another value than all others: the one that it made.
    let each = |at: usize| {
        answers
            .iter()
            .filter_map(|answer| answer[at].as_u64())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(each(0), (1..=MESSAGES).collect(), "increment");
    assert_eq!(each(1), (1..=MESSAGES).collect(), "modify");
    Ok(())
}

#[tokio::test]
async fn a_request_is_answered_with_a_value_or_with_the_services_error() -> Result<()> {
    for form in BOTH {
        let service = Service::start(form).await?;
        let mut asked = service.client.subscribe("ask.*").await?;
        round_trip(&service.client).await?;
        let client = service.client.clone();
        let answering = tokio::spawn(async move {
            while let Some(question) = asked.next().await {
                let inbox = question.reply.context("a request has a reply subject")?;
                let sent = read(form, &question.payload)?;
                ensure!(sent == order(), "{sent}");
                let asks = question
                    .headers
                    .context("headers")?
                    .get("x-asks")
                    .map(ToString::to_string);
                ensure!(asks.as_deref() == Some("service"), "{asks:?}");
                match question.subject.as_str() {
                    "ask.price" => {
                        client
                            .publish(inbox, write(form, &order_at(7.0))?.into())
                            .await?
                    }
                    "ask.other" => {
                        client
                            .publish(inbox, write(form, &json!("dear"))?.into())
                            .await?
                    }
                    _ => {
                        let mut headers = async_nats::HeaderMap::new();
                        headers.insert("Nats-Service-Error", "out of anchors");
                        headers.insert("Nats-Service-Error-Code", "404");
                        client
                            .publish_with_headers(inbox, headers, "".into())
                            .await?;
                    }
                }
            }
            Ok(())
        });
        let ask = |subject: &str| json!({ "do": "ask", "subject": subject, "order": order() });
        assert_eq!(
            service.ok(ask("ask.price")).await?,
            json!({ "Order": order_at(7.0) }),
            "{form:?}"
        );
        let no = json!({ "No": { "code": "404", "message": "out of anchors" } });
        assert_eq!(service.ok(ask("ask.stock")).await?, no, "{form:?}");
        // What the guest passes on by `?`: a reply that cannot be read is not the message's fault.
        let (code, words) = service.err(ask("ask.other")).await?;
        ensure!(
            code == "503" && words.contains("cannot read the payload as"),
            "{code} {words}"
        );
        let (code, words) = service.err(ask("denied")).await?;
        ensure!(
            code == "503" && words.starts_with("denied: ") && words.contains("`request`"),
            "{code} {words}"
        );
        answering.abort();
        if let Ok(ended) = answering.await {
            ended.context("the service that was asked has failed")?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_value_is_written_in_the_form_that_the_guest_names() -> Result<()> {
    for form in BOTH {
        let service = Service::start(form).await?;
        let mut out = service.client.subscribe("out.*").await?;
        round_trip(&service.client).await?;
        assert_eq!(
            service
                .ok(json!({ "do": "announce", "order": order() }))
                .await?,
            Value::Null
        );
        let mut announced = Vec::new();
        for _ in 0..5 {
            announced.push(soon("a message", out.next()).await?.context("a message")?);
        }
        let named = |subject: &str| {
            announced
                .iter()
                .find(|message| message.subject.as_str() == subject)
        };
        for (subject, form) in [
            ("out.default", form),
            ("out.header", form),
            ("out.json", Serializer::Json),
            ("out.msgpack", Serializer::Msgpack),
        ] {
            let payload = &named(subject)
                .with_context(|| format!("no {subject}"))?
                .payload;
            assert_eq!(read(form, payload)?, order(), "{subject}");
        }
        assert_eq!(named("out.raw").context("no out.raw")?.payload, "anchor ⚓");
        let headers = named("out.header")
            .and_then(|message| message.headers.as_ref())
            .context("headers")?;
        assert_eq!(
            headers.get("x-item").map(async_nats::HeaderValue::as_str),
            Some("anchor ⚓")
        );
    }
    Ok(())
}

/// What all hosts of this process have logged of guests, as lines of JSON.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Hosts have threads of their own, so the log is the whole process's.
fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        let filter = tracing_subscriber::EnvFilter::new("wharf::guest=debug");
        tracing_subscriber::fmt()
            .json()
            .with_env_filter(filter)
            .with_writer(|| Log)
            .init();
    });
}

/// The level and text of what this guest has said.
fn said(guest: &str) -> Result<Vec<(String, String)>> {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let lines: Vec<Value> = log
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(serde_json::from_slice)
        .collect::<Result<_, _>>()?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of_guest = lines.iter().filter(|line| line["fields"]["guest"] == guest);
    Ok(of_guest
        .map(|line| (text(&line["level"]), text(&line["fields"]["message"])))
        .collect())
}

#[tokio::test]
async fn a_guests_log_lines_have_their_level_in_the_hosts_log() -> Result<()> {
    listen();
    let service = Service::start_as("talkative", Serializer::Json, |_| {}).await?;
    service
        .reply(write(
            Serializer::Json,
            &json!({ "do": "log", "text": "a: b" }),
        )?)
        .await?;
    service.host.shutdown().await;
    let expected = [
        ("INFO", "taking 1 kinds of jobs"),
        ("DEBUG", "a: b"),
        ("INFO", "a: b"),
        ("WARN", "a: b"),
        ("ERROR", "a: b"),
        ("INFO", "stopping"),
    ];
    assert_eq!(
        said("talkative")?,
        expected.map(|(level, text)| (level.to_owned(), text.to_owned()))
    );
    Ok(())
}
