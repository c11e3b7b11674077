//! Does what a message says with the SDK, so that tests see what comes of it on a real host.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wharf_guest::prelude::*;
use wharf_guest::{Publish, Request, Subscription};

/// What is written and read in every form.
#[derive(Clone, Serialize, Deserialize)]
struct Order {
    item: String,
    price: f64,
    tags: Vec<String>,
    note: Option<String>,
}

/// What a message asks for.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Job {
    /// Answers with the order at twice the price.
    Double { order: Order },
    /// Reads and writes a key in every way.
    Keep { key: String, order: Order },
    /// Adds 1 to a value of the default bucket.
    Count { key: String },
    /// Sends the order to another service and answers with what that says.
    Ask { subject: String, order: Order },
    /// Publishes the order in each form.
    Announce { order: Order },
    /// Answers with a setting, as a number.
    Setting { key: String },
    /// Writes a line at each level.
    Log { text: String },
    /// Fails unless the text is a number.
    Parse { text: String },
    /// Fails, and says when to try again.
    Busy,
    /// Fails for ever.
    Refuse { reason: String },
    /// Answers nothing.
    Quiet,
}

struct Service;

#[wharf_guest::lifecycle]
impl Lifecycle for Service {
    fn start() -> Result<()> {
        let jobs = config::parse::<u32>("jobs")?.unwrap_or(1);
        for number in 0..jobs {
            subscribe(&format!("jobs.{number}"))?;
        }
        Subscription::to("shared").queue("workers").start()?;
        log::info!("taking {jobs} kinds of jobs");
        Ok(())
    }

    fn stop() {
        log::info!("stopping");
        if let Err(error) = publish("out.stopped", &"for now") {
            log::error!("nobody is told: {error}");
        }
    }
}

#[wharf_guest::handler]
fn handle(job: Job, message: &Message) -> Result<Option<Reply>> {
    let reply = match job {
        Job::Double { order } => Reply::new(&Order {
            price: order.price * 2.0,
            ..order
        })?,
        Job::Keep { key, order } => Reply::new(&keep(&key, &order)?)?,
        Job::Count { key } => Reply::new(&count(&key)?)?,
        Job::Ask { subject, order } => Reply::new(&ask(&subject, &order)?)?,
        Job::Announce { order } => Reply::new(&announce(&order)?)?,
        Job::Setting { key } => Reply::new(&config::parse::<f64>(&key)?)?,
        Job::Log { text } => {
            log::debug!("{text}");
            log::info!("{text}");
            log::warn!("{text}");
            log::error!("{text}");
            Reply::default()
        }
        Job::Parse { text } => Reply::new(&text.parse::<u64>()?)?,
        Job::Busy => return Err(Error::retry_after("come again", Duration::from_secs(1))),
        Job::Refuse { reason } => return Err(Error::reject(reason)),
        Job::Quiet => return Ok(None),
    };
    Ok(Some(reply.header("x-subject", &message.subject)))
}

/// What came of every way to use a key.
#[derive(Serialize)]
struct Kept {
    replaced_nothing: bool,
    added_twice: bool,
    updated_twice: bool,
    unchanged: bool,
    expires: bool,
    value: Option<Order>,
    prices: Vec<f64>,
    keys: Vec<String>,
    gone: Option<Order>,
}

fn keep(key: &str, order: &Order) -> Result<Kept, CallError> {
    let bucket = kv::create(
        "orders",
        &kv::BucketConfig {
            history: 5,
            ..kv::BucketConfig::default()
        },
    )?;
    let replaced_nothing = bucket.replace(key, order)?.is_none();
    let revision = bucket.add(key, order)?;
    let added_twice = bucket.add(key, order) != Err(CallError::Conflict);
    let dearer = Order {
        price: order.price + 1.0,
        ..order.clone()
    };
    bucket.update(key, &dearer, revision)?;
    let updated_twice = bucket.update(key, order, revision) != Err(CallError::Conflict);
    let unchanged = !bucket.modify(key, |_: Option<Order>| None::<Order>)?;
    // A bucket with a history takes no expiry.
    let brief = kv::default()?;
    brief.set_with_ttl(key, order, Duration::from_secs(60))?;
    let entry = brief.get_entry::<Order>(key)?;
    let expires = entry.is_some_and(|entry| entry.expires.is_some_and(|end| end > entry.created));
    brief.delete(key)?;
    Ok(Kept {
        replaced_nothing,
        added_twice,
        updated_twice,
        unchanged,
        expires,
        value: bucket.get(key)?,
        prices: bucket
            .history::<Order>(key)?
            .into_iter()
            .map(|entry| entry.value.price)
            .collect(),
        keys: bucket.keys()?,
        gone: brief.get(key)?,
    })
}

/// How often this has been called with the key, by a counter, and the value that `modify` made of the one before.
fn count(key: &str) -> Result<(i64, u64), CallError> {
    let bucket = kv::default()?;
    let counted = bucket.increment("calls", 1)?;
    let mut made = 0;
    bucket.modify(key, |value: Option<u64>| {
        made = value.unwrap_or(0) + 1;
        Some(made)
    })?;
    Ok((counted, made))
}

/// What another service said.
#[derive(Serialize)]
enum Said {
    Order(Order),
    No { code: String, message: String },
}

fn ask(subject: &str, order: &Order) -> Result<Said, CallError> {
    match Request::to(subject)
        .timeout(Duration::from_secs(20))
        .header("x-asks", "service")
        .send(order)
    {
        Ok(order) => Ok(Said::Order(order)),
        Err(CallError::Service { code, message }) => Ok(Said::No { code, message }),
        Err(error) => Err(error),
    }
}

fn announce(order: &Order) -> Result<(), CallError> {
    publish("out.default", order)?;
    publish("out.json", &Json(order))?;
    publish("out.msgpack", &Msgpack(order))?;
    publish_raw("out.raw", &order.item)?;
    Publish::to("out.header")
        .header("x-item", &order.item)
        .send(order)
}
