//! A bucket's settings as the configuration of its stream, and back.
//!
//! Configurations stay JSON, so that an update of a bucket keeps what this host knows nothing of. New ones are like
//! those that other clients make, so that their tools work on them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::config::{BucketSettings, Storage};
use crate::error::Error;
use crate::protocol::bucket_rules::{
    self, MAX_BUCKET_BYTES, MAX_HISTORY, MAX_REPLICAS, MAX_VALUE_BYTES, MIN_TTL,
};
use crate::protocol::subject::quoted;
use crate::protocol::ttl::nanos;

/// The time for which servers remember message ids by default. It may not exceed the maximal age.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// Header fields count towards the size of a message, and most operations need some: the stream's limit is that of
/// the values and this, and the limit of the values is kept beside it.
const HEADER_BYTES: u32 = 256;
const MAX_VALUE_SIZE: &str = "wharf-max-value-size";
/// The most bytes of a stream's description that servers take (`JSMaxDescriptionLen`).
pub(super) const MAX_DESCRIPTION_BYTES: usize = 4096;

pub(super) fn stream_name(bucket: &str) -> String {
    format!("KV_{bucket}")
}

pub(super) fn subjects(bucket: &str) -> String {
    format!("$KV.{bucket}.>")
}

/// # Errors
/// `Invalid` where no bucket may have this name.
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    bucket_rules::check_name(name).map_err(|why| Error::Invalid(format!("{} {why}", quoted(name))))
}

/// # Errors
/// `Invalid` where a setting is outside of what servers take.
pub(super) fn check(bucket: &str, settings: &BucketSettings) -> Result<(), Error> {
    check_name(bucket)?;
    let problem = if settings.description.len() > MAX_DESCRIPTION_BYTES {
        format!(
            "description has {} bytes: use up to {MAX_DESCRIPTION_BYTES}",
            settings.description.len()
        )
    } else if !(1..=MAX_HISTORY).contains(&settings.history) {
        format!("history is {}: use 1 to {MAX_HISTORY}", settings.history)
    } else if !(1..=MAX_REPLICAS).contains(&settings.replicas) {
        format!("replicas is {}: use 1 to {MAX_REPLICAS}", settings.replicas)
    } else if settings
        .ttl
        .is_some_and(|ttl| ttl < MIN_TTL || i64::try_from(ttl.as_nanos()).is_err())
    {
        "ttl is out of range: use 100 ms to 292 years, or leave it out".to_owned()
    } else if settings
        .max_bytes
        .is_some_and(|bytes| !(1..=MAX_BUCKET_BYTES).contains(&bytes))
    {
        "max-bytes is out of range: use 1 or more, or leave it out".to_owned()
    } else if settings
        .max_value_size
        .is_some_and(|bytes| !(1..=MAX_VALUE_BYTES).contains(&bytes))
    {
        format!("max-value-size is out of range: use 1 to {MAX_VALUE_BYTES}, or leave it out")
    } else {
        return Ok(());
    };
    Err(Error::Invalid(format!("bucket `{bucket}`: {problem}")))
}

/// The configuration of a new bucket's stream.
pub(super) fn new_stream(bucket: &str, settings: &BucketSettings) -> Value {
    let mut config = json!({
        "name": stream_name(bucket),
        "subjects": [subjects(bucket)],
        "retention": "limits",
        "discard": "new",
        "max_consumers": -1,
        "max_msgs": -1,
        "duplicate_window": nanos(DUPLICATE_WINDOW),
        "allow_rollup_hdrs": true,
        "deny_delete": true,
        "allow_direct": true,
    });
    apply(&mut config, settings);
    config
}

/// Changes a stream's configuration to these settings, and leaves the rest of it as it is.
pub(super) fn apply(config: &mut Value, settings: &BucketSettings) {
    let max_age = settings.ttl.map_or(0, nanos);
    let window = config["duplicate_window"].as_u64().unwrap_or(0);
    if max_age > 0 && window > max_age {
        config["duplicate_window"] = max_age.into();
    }
    config["description"] = settings.description.as_str().into();
    config["max_msgs_per_subject"] = settings.history.into();
    config["max_age"] = max_age.into();
    config["num_replicas"] = settings.replicas.into();
    config["storage"] = match settings.storage {
        Storage::File => "file".into(),
        Storage::Memory => "memory".into(),
    };
    config["max_bytes"] = settings.max_bytes.map_or(json!(-1), Value::from);
    apply_max_value_size(config, settings.max_value_size);
    if settings.history == 1 {
        // A server does not turn this off again, so an update to a longer history leaves it as it is.
        config["allow_msg_ttl"] = true.into();
    }
}

fn apply_max_value_size(config: &mut Value, bytes: Option<u32>) {
    match bytes {
        Some(bytes) => {
            config["max_msg_size"] = bytes
                .saturating_add(HEADER_BYTES)
                .min(MAX_VALUE_BYTES)
                .into();
            config["metadata"][MAX_VALUE_SIZE] = bytes.to_string().into();
        }
        None => {
            config["max_msg_size"] = json!(-1);
            if let Some(metadata) = config.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.remove(MAX_VALUE_SIZE);
            }
        }
    }
}

/// The part of a stream's configuration that the host needs to use the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BucketInfo {
    /// Revisions kept of each key.
    pub(super) history: i64,
    /// The life of every value.
    pub(super) ttl: Option<Duration>,
    /// Whether a value may have a TTL of its own.
    pub(super) allows_ttl: bool,
    /// Bytes that one value may take.
    pub(super) max_value_bytes: Option<usize>,
    /// Bytes that one message may take, header fields included.
    pub(super) max_message_bytes: Option<usize>,
}

impl BucketInfo {
    /// # Errors
    /// `Invalid` where the stream is no bucket that values can be written to.
    pub(super) fn of(bucket: &str, config: &Value) -> Result<Self, Error> {
        let own = subjects(bucket);
        let listens = config["subjects"]
            .as_array()
            .is_some_and(|all| all.iter().any(|subject| *subject == own));
        let history = config["max_msgs_per_subject"].as_i64().unwrap_or(-1);
        if !listens || history < 1 {
            return Err(Error::Invalid(format!(
                "stream `{}` is no bucket of its own: it does not listen on `{own}`, or keeps no history. \
                 Open the bucket that it mirrors, or use another name",
                stream_name(bucket)
            )));
        }
        Ok(Self {
            history,
            ttl: config["max_age"]
                .as_u64()
                .filter(|age| *age > 0)
                .map(Duration::from_nanos),
            allows_ttl: config["allow_msg_ttl"] == true,
            max_value_bytes: config["metadata"][MAX_VALUE_SIZE]
                .as_str()
                .and_then(|bytes| bytes.parse().ok()),
            max_message_bytes: config["max_msg_size"]
                .as_u64()
                .and_then(|bytes| usize::try_from(bytes).ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_invalid_and_say_which() {
        let good = BucketSettings::default();
        assert_eq!(check("b", &good), Ok(()));
        type Spoil = fn(&mut BucketSettings);
        let spoilt: [(Spoil, &str); 9] = [
            (
                |bad| bad.description = "x".repeat(MAX_DESCRIPTION_BYTES + 1),
                "description",
            ),
            (|bad| bad.history = 0, "history"),
            (|bad| bad.history = 65, "history"),
            (|bad| bad.replicas = 0, "replicas"),
            (|bad| bad.replicas = 6, "replicas"),
            (|bad| bad.ttl = Some(Duration::from_millis(99)), "ttl"),
            (|bad| bad.ttl = Some(Duration::MAX), "ttl"),
            (|bad| bad.max_bytes = Some(0), "max-bytes"),
            (|bad| bad.max_value_size = Some(u32::MAX), "max-value-size"),
        ];
        for (spoil, word) in spoilt {
            let mut settings = good.clone();
            spoil(&mut settings);
            let Err(Error::Invalid(words)) = check("b", &settings) else {
                panic!("{word} was taken")
            };
            assert!(words.contains("`b`") && words.contains(word), "{words}");
        }
    }

    #[test]
    fn an_update_keeps_what_the_settings_do_not_name() {
        let mut config = new_stream("b", &BucketSettings::default());
        config["placement"] = json!({ "cluster": "eu" });
        let ttl = Some(Duration::from_secs(60));
        apply(
            &mut config,
            &BucketSettings {
                history: 5,
                ttl,
                ..BucketSettings::default()
            },
        );
        assert_eq!(config["placement"]["cluster"], "eu");
        assert_eq!(config["duplicate_window"], nanos(Duration::from_secs(60)));
        let info = BucketInfo {
            history: 5,
            ttl,
            allows_ttl: true,
            max_value_bytes: None,
            max_message_bytes: None,
        };
        assert_eq!(BucketInfo::of("b", &config), Ok(info));
    }

    #[test]
    fn a_stream_that_is_no_bucket_is_refused() {
        let config = json!({ "subjects": ["orders.>"], "max_msgs_per_subject": -1 });
        assert!(matches!(
            BucketInfo::of("b", &config),
            Err(Error::Invalid(_))
        ));
    }
}
