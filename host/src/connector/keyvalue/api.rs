//! The JetStream API, as far as buckets need it: one method per request, about one bucket's stream.
//!
//! Everything is asked of the stream's leader, so that a caller reads what it has written. (Direct gets, which any
//! replica and any mirror may answer, do not promise that.)

use std::collections::HashMap;
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::RawMessage;
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::settings::{stream_name, subjects};
use super::stored::Stored;
use crate::connection::{Connection, ConnectionState};
use crate::error::Error;
use crate::protocol::ttl::nanos;

/// The time that one operation may take. A listing has it for each of its pages.
pub(super) const TIME_ALLOWED: Duration = Duration::from_secs(5);

/// A listing's consumer that is not asked for anything for so long is forgotten: nobody listens any more.
const SCAN_IDLE: Duration = Duration::from_secs(30);

/// The time after which a request that only reads is sent again: it is lost together with the server that leads the stream.
const ASK_AGAIN: Duration = Duration::from_millis(2400);
const READS: [&str; 2] = ["STREAM.INFO", "STREAM.MSG.GET"];

/// Requests about one bucket.
#[derive(Debug)]
pub(super) struct Api {
    /// The connection that the requests go over.
    pub(super) connection: Connection,
    /// The bucket's name, without the `KV_` that its stream's name begins with.
    pub(super) bucket: String,
}

/// An answer of the API, of which only the error is read.
#[derive(Deserialize)]
struct ApiAnswer {
    /// The server's refusal. None if the request was carried out.
    error: Option<jetstream::Error>,
}

/// An answer with a message.
#[derive(Deserialize)]
struct WithMessage {
    /// The stored message that was asked for, with its sequence and its time.
    message: RawMessage,
}

/// An answer with a stream's configuration.
#[derive(Deserialize)]
struct WithConfig {
    /// The stream's whole configuration, with settings that this host does not know.
    config: Value,
}

/// An answer with a stream's configuration and state.
#[derive(Deserialize)]
struct WithState {
    /// The stream's whole configuration.
    config: Value,
    /// The stream's state, of which some figures are read.
    state: StreamState,
    /// The number of subjects that match a filter, if there was one in the request.
    #[serde(default)]
    total: usize,
}

/// A stream's state, as far as listings need it.
#[derive(Deserialize)]
struct StreamState {
    /// Bytes of all messages.
    #[serde(default)]
    bytes: u64,
    /// The number of the last message.
    #[serde(default)]
    last_seq: u64,
    /// The number of subjects that have a message.
    #[serde(default)]
    num_subjects: u64,
    /// The subjects that match the filter, up to 100,000. The server's counts of their messages are not read.
    #[serde(default)]
    subjects: HashMap<String, IgnoredAny>,
}

/// The state of a bucket's stream at one moment.
#[derive(Debug)]
pub(super) struct BucketState {
    /// The number of the bucket's subjects that have a message: keys with a value, and those whose last message says that
    /// there is none any more.
    pub(super) subjects: u64,
    /// Bytes of all messages.
    pub(super) bytes: u64,
    /// The number of the last message.
    pub(super) last_sequence: u64,
}

/// Subjects of a bucket that have a message.
#[derive(Debug)]
pub(super) struct Subjects {
    /// The subjects, in no order. The server gives no more than 100,000.
    pub(super) listed: Vec<String>,
    /// The number of all subjects that match the filter.
    pub(super) total: usize,
}

/// An answer with a consumer's name.
#[derive(Deserialize)]
struct WithName {
    /// The name that the server has chosen for the consumer.
    name: String,
}

/// Result of a request to create a stream.
pub(super) enum Created {
    /// The stream is there, with this configuration.
    Stream(Value),
    /// Another was first, with other settings.
    NameInUse,
}

impl Api {
    /// The configuration of the bucket's stream.
    ///
    /// # Errors
    /// `NotFound` where there is no stream.
    pub(super) async fn info(&self, deadline: Instant) -> Result<Value, Error> {
        let info: WithConfig = self.ask("STREAM.INFO", "", &json!({}), deadline).await?;
        Ok(info.config)
    }

    pub(super) async fn create(&self, config: &Value, deadline: Instant) -> Result<Created, Error> {
        match self
            .try_ask::<WithConfig>("STREAM.CREATE", "", config, deadline)
            .await?
        {
            Ok(stream) => Ok(Created::Stream(stream.config)),
            Err(refusal) if refusal.error_code() == ErrorCode::STREAM_NAME_EXIST => {
                Ok(Created::NameInUse)
            }
            Err(refusal) => Err(self.refused(&refusal)),
        }
    }

    pub(super) async fn update(&self, config: &Value, deadline: Instant) -> Result<Value, Error> {
        let stream: WithConfig = self.ask("STREAM.UPDATE", "", config, deadline).await?;
        Ok(stream.config)
    }

    pub(super) async fn purge(&self, deadline: Instant) -> Result<(), Error> {
        let _done: ApiAnswer = self.ask("STREAM.PURGE", "", &json!({}), deadline).await?;
        Ok(())
    }

    /// The last message on a subject.
    pub(super) async fn last(
        &self,
        subject: &str,
        deadline: Instant,
    ) -> Result<Option<Stored>, Error> {
        self.message(&json!({ "last_by_subj": subject }), deadline)
            .await
    }

    /// The first message on a subject that has this sequence or a later one.
    pub(super) async fn next(
        &self,
        subject: &str,
        from: u64,
        deadline: Instant,
    ) -> Result<Option<Stored>, Error> {
        self.message(&json!({ "next_by_subj": subject, "seq": from }), deadline)
            .await
    }

    async fn message(&self, which: &Value, deadline: Instant) -> Result<Option<Stored>, Error> {
        match self
            .try_ask::<WithMessage>("STREAM.MSG.GET", "", which, deadline)
            .await?
        {
            Ok(found) => found.message.try_into().map(Some),
            Err(refusal) if refusal.error_code() == ErrorCode::NO_MESSAGE_FOUND => Ok(None),
            Err(refusal) => Err(self.refused(&refusal)),
        }
    }

    /// The state of the bucket's stream.
    pub(super) async fn state(&self, deadline: Instant) -> Result<BucketState, Error> {
        let WithState { config, state, .. } =
            self.ask("STREAM.INFO", "", &json!({}), deadline).await?;
        let is_alone = config["subjects"] == json!([subjects(&self.bucket)])
            && config["sources"].is_null()
            && config["subject_transform"].is_null();
        // To count those that match a filter takes the server longer.
        let subjects = if is_alone {
            state.num_subjects
        } else {
            let own = self.subjects(&subjects(&self.bucket), deadline).await?;
            own.total as u64
        };
        Ok(BucketState {
            subjects,
            bytes: state.bytes,
            last_sequence: state.last_seq,
        })
    }

    /// The subjects that have a message and match the filter. The server sorts all of them if they are more than 100,000.
    pub(super) async fn subjects(
        &self,
        filter: &str,
        deadline: Instant,
    ) -> Result<Subjects, Error> {
        let request = json!({ "subjects_filter": filter });
        let WithState { state, total, .. } =
            self.ask("STREAM.INFO", "", &request, deadline).await?;
        Ok(Subjects {
            listed: state.subjects.into_keys().collect(),
            total,
        })
    }

    /// Makes a consumer of the last message of every subject that matches one of the filters; gives its name.
    pub(super) async fn create_consumer(
        &self,
        filters: &[String],
        deadline: Instant,
    ) -> Result<String, Error> {
        let request = json!({
            "stream_name": stream_name(&self.bucket),
            "config": {
                "deliver_policy": "last_per_subject",
                "filter_subjects": filters,
                "ack_policy": "none",
                "replay_policy": "instant",
                "headers_only": true,
                "mem_storage": true,
                "num_replicas": 1,
                "inactive_threshold": nanos(SCAN_IDLE),
            },
        });
        let consumer: WithName = self.ask("CONSUMER.CREATE", "", &request, deadline).await?;
        Ok(consumer.name)
    }

    pub(super) async fn delete_consumer(&self, name: &str, deadline: Instant) -> Result<(), Error> {
        let _done: ApiAnswer = self
            .ask("CONSUMER.DELETE", name, &json!({}), deadline)
            .await?;
        Ok(())
    }

    /// Waits until there is a server, and gives the time left for a request to it. What is sent while there is none
    /// would be carried out at some later time, and nobody could say whether it was.
    ///
    /// # Errors
    /// `Unavailable` where there is none in time, `Timeout` where no time is left.
    pub(super) async fn ready(&self, deadline: Instant) -> Result<Duration, Error> {
        let mut state = self.connection.state();
        let settled =
            state.wait_for(|state| *state == ConnectionState::Connected || state.is_final());
        let left = deadline.saturating_duration_since(Instant::now());
        match timeout(left, settled).await {
            Ok(Ok(state)) if *state == ConnectionState::Connected => {}
            _ => {
                return Err(Error::Unavailable(
                    "there is no connection to NATS".to_owned(),
                ));
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(Error::Timeout)
        } else {
            Ok(left)
        }
    }

    /// The subject of an API request about the bucket's stream, or about a consumer of it.
    pub(super) fn subject(&self, verb: &str, consumer: &str) -> String {
        let dot = if consumer.is_empty() { "" } else { "." };
        format!(
            "$JS.API.{verb}.{}{dot}{consumer}",
            stream_name(&self.bucket)
        )
    }

    async fn ask<T>(
        &self,
        verb: &str,
        consumer: &str,
        body: &Value,
        deadline: Instant,
    ) -> Result<T, Error>
    where
        T: DeserializeOwned,
    {
        self.try_ask(verb, consumer, body, deadline)
            .await?
            .map_err(|refusal| self.refused(&refusal))
    }

    /// The outer error says that there was no answer, the inner one is the answer.
    async fn try_ask<T>(
        &self,
        verb: &str,
        consumer: &str,
        body: &Value,
        deadline: Instant,
    ) -> Result<Result<T, jetstream::Error>, Error>
    where
        T: DeserializeOwned,
    {
        let subject = self.subject(verb, consumer);
        let body = Bytes::from(body.to_string());
        let answer = loop {
            let left = self.ready(deadline).await?;
            let within = if READS.contains(&verb) {
                left.min(ASK_AGAIN)
            } else {
                left
            };
            match self
                .connection
                .request(subject.as_str().into(), None, body.clone(), within)
                .await
            {
                Err(Error::Timeout) if within < left => {}
                Err(Error::NoResponders) => {
                    return Err(Error::Unsupported(no_jetstream("no server answers for it")));
                }
                answer => break answer?,
            }
        };
        let unreadable =
            |error| Error::Failed(format!("an answer to {verb} that cannot be read: {error}"));
        if let ApiAnswer {
            error: Some(refusal),
        } = serde_json::from_slice(&answer.payload).map_err(unreadable)?
        {
            return Ok(Err(refusal));
        }
        serde_json::from_slice(&answer.payload)
            .map(Ok)
            .map_err(unreadable)
    }

    fn refused(&self, refusal: &jetstream::Error) -> Error {
        match refusal.error_code() {
            ErrorCode::STREAM_NOT_FOUND => self.not_found(),
            ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
                Error::Unsupported(no_jetstream(&refusal.to_string()))
            }
            ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED => Error::Unsupported(format!(
                "bucket `{}`: more than one replica takes a cluster of servers ({refusal})",
                self.bucket
            )),
            _ if refusal.code() == 503 => {
                Error::Unavailable(format!("bucket `{}`: {refusal}", self.bucket))
            }
            _ => Error::Failed(format!("bucket `{}`: {refusal}", self.bucket)),
        }
    }

    pub(super) fn not_found(&self) -> Error {
        let (bucket, listens) = (&self.bucket, subjects(&self.bucket));
        Error::NotFound(format!(
            "bucket `{bucket}` does not exist: no stream listens on `{listens}`"
        ))
    }
}

fn no_jetstream(words: &str) -> String {
    format!("key/value takes a server with JetStream, enabled for this account: {words}")
}
