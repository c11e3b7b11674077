//! Requests about an object store, answered as JSON: whatever headers somebody has stored there, none of them travels in a
//! form that could break the connection.

use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::RawMessage;
use async_nats::jetstream::{Context, Error as ApiError, ErrorCode};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::protocol::bucket_rules;

/// The client's error, or what is wrong with an answer.
pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The reason why an object store did not answer as was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// There is no object store of that name.
    #[error("there is no such object store")]
    Missing,
    /// Any other.
    #[error(transparent)]
    Failed(#[from] Cause),
}

/// An object store on the server.
#[derive(Clone, Copy)]
pub(super) struct ObjectStore<'a> {
    /// The client's way to ask.
    jetstream: &'a Context,
    /// The store's name.
    bucket: &'a str,
}

/// An object as its store describes it, as far as reading it takes.
#[derive(Debug, Deserialize)]
pub(super) struct ObjectMeta {
    /// The name of this version's pieces.
    #[serde(default)]
    pub(super) nuid: String,
    /// The object's size in bytes.
    #[serde(default)]
    pub(super) size: u64,
    /// The number of pieces.
    #[serde(default)]
    pub(super) chunks: u64,
    /// The digest of the bytes. A link has none.
    #[serde(default)]
    pub(super) digest: Option<String>,
    /// The object was deleted.
    #[serde(default)]
    pub(super) deleted: bool,
    /// Options, a link among them.
    #[serde(default)]
    options: Option<ObjectOptions>,
}

/// Options of an object.
#[derive(Debug, Deserialize)]
struct ObjectOptions {
    /// The object that is meant instead.
    #[serde(default)]
    link: Option<ObjectLink>,
}

/// A link to another object.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ObjectLink {
    /// The other object's store.
    pub(super) bucket: String,
    /// The other object's name. A link without one is to a whole store.
    #[serde(default)]
    pub(super) name: Option<String>,
}

/// A piece of an object.
pub(super) struct Piece {
    /// The number of the piece's message in the store's stream.
    pub(super) sequence: u64,
    /// The bytes.
    pub(super) bytes: Vec<u8>,
}

/// An object store's stand: if it is the same, nothing was stored there since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoreMark {
    /// The time at which the stream was made, as the server writes it.
    created: String,
    /// The number of the stream's last message.
    last_sequence: u64,
}

/// An answer with a message.
#[derive(Deserialize)]
struct WithMessage {
    /// The message.
    message: RawMessage,
}

/// An answer with a stream's state.
#[derive(Deserialize)]
struct WithState {
    /// The time at which the stream was made.
    created: String,
    /// The state, of which one figure is read.
    state: StreamState,
}

/// A stream's state, as far as it is read.
#[derive(Deserialize)]
struct StreamState {
    /// The number of the last message.
    last_seq: u64,
}

impl ObjectMeta {
    /// The object that is meant instead of this one.
    pub(super) fn link(&self) -> Option<&ObjectLink> {
        self.options.as_ref()?.link.as_ref()
    }
}

impl<'a> ObjectStore<'a> {
    /// # Errors
    /// `Failed` for a name that no object store has.
    pub(super) fn new(jetstream: &'a Context, bucket: &'a str) -> Result<Self, StoreError> {
        bucket_rules::check_name(bucket)
            .map_err(|why| StoreError::Failed(format!("{bucket:?} {why}").into()))?;
        Ok(Self { jetstream, bucket })
    }

    /// The store's stand.
    pub(super) async fn mark(&self) -> Result<StoreMark, StoreError> {
        let WithState { created, state } = match self.ask("STREAM.INFO", &json!({})).await? {
            Ok(info) => info,
            Err(refusal) => return Err(refused(refusal)),
        };
        Ok(StoreMark {
            created,
            last_sequence: state.last_seq,
        })
    }

    /// An object's description. `None` if there is no such object, or it was deleted.
    pub(super) async fn meta(&self, name: &str) -> Result<Option<ObjectMeta>, StoreError> {
        let name = BASE64_URL_SAFE.encode(name);
        let subject = format!("$O.{}.M.{name}", self.bucket);
        let Some(message) = self.message(&json!({ "last_by_subj": subject })).await? else {
            return Ok(None);
        };
        let meta: ObjectMeta = serde_json::from_slice(&message.bytes)
            .map_err(|error| format!("the object's description cannot be read: {error}"))
            .map_err(Cause::from)?;
        Ok((!meta.deleted).then_some(meta))
    }

    /// The first piece of a version whose message has this number or a later one.
    pub(super) async fn piece(&self, nuid: &str, from: u64) -> Result<Option<Piece>, StoreError> {
        if nuid.is_empty() || !nuid.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Cause::from("the object's description names no pieces").into());
        }
        let subject = format!("$O.{}.C.{nuid}", self.bucket);
        self.message(&json!({ "next_by_subj": subject, "seq": from }))
            .await
    }

    async fn message(&self, which: &Value) -> Result<Option<Piece>, StoreError> {
        let message = match self.ask::<WithMessage>("STREAM.MSG.GET", which).await? {
            Ok(found) => found.message,
            Err(refusal) if refusal.error_code() == ErrorCode::NO_MESSAGE_FOUND => return Ok(None),
            Err(refusal) => return Err(refused(refusal)),
        };
        let bytes = BASE64_STANDARD
            .decode(message.payload)
            .map_err(Cause::from)?;
        Ok(Some(Piece {
            sequence: message.sequence,
            bytes,
        }))
    }

    /// The outer error says that there was no answer, the inner one is the answer.
    async fn ask<T: DeserializeOwned>(
        &self,
        verb: &str,
        body: &Value,
    ) -> Result<Result<T, ApiError>, StoreError> {
        let subject = format!("{verb}.OBJ_{}", self.bucket);
        let answer = self.jetstream.request(subject, body).await;
        Ok(match answer.map_err(Cause::from)? {
            Response::Ok(answer) => Ok(answer),
            Response::Err { error } => Err(error),
        })
    }
}

fn refused(refusal: ApiError) -> StoreError {
    match refusal.error_code() {
        ErrorCode::STREAM_NOT_FOUND => StoreError::Missing,
        _ => StoreError::Failed(refusal.into()),
    }
}
