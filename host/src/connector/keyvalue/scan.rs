//! The keys of a bucket, page by page.
//!
//! The stream's leader says which subjects have messages, but not whether the last is a value or a deletion. So a
//! consumer gives the last message of every subject, without its payload. That alone would not do: it would miss a
//! key that is written anew again and again while it reads.
//!
//! The consumer is asked for no more than a page, so that a slow reader does not lose messages, and their consecutive
//! numbers prove that none was lost.

use std::collections::HashSet;
use std::time::Instant;

use async_nats::{Message, StatusCode};
use futures_util::{Stream, StreamExt};
use serde_json::json;
use tokio::time::timeout;

use super::api::{Api, TIME_ALLOWED};
use super::backoff::{FIRST_PAUSE, backoff};
use super::{key, stored};
use crate::error::Error;
use crate::protocol::ack::ack_position;
use crate::random::Token;

/// Well below what a subscription holds before it drops messages.
const PAGE: u64 = 4096;

/// The keys that have a value, of the subjects that match one of the filters.
pub(super) async fn keys(api: &Api, filters: &[String]) -> Result<HashSet<String>, Error> {
    let filters: Vec<String> = filters
        .iter()
        .map(|filter| format!("$KV.{}.{filter}", api.bucket))
        .collect();
    let mut listing = Listing::of(&api.bucket);
    for filter in &filters {
        listing.read_subjects(api, filter).await?;
    }
    if listing.keys.is_empty() {
        return Ok(listing.keys);
    }
    let consumer = api
        .create_consumer(&filters, Instant::now() + TIME_ALLOWED)
        .await?;
    let read = listing.read_messages(api, &consumer).await;
    // Where this fails the server forgets the consumer by itself: the keys are no worse for it.
    if let Err(error) = api
        .delete_consumer(&consumer, Instant::now() + TIME_ALLOWED)
        .await
    {
        tracing::debug!(bucket = api.bucket, %error, "a listing's consumer was left to the server");
    }
    read.map(|()| listing.keys)
}

/// Keys of a bucket, as they are listed.
struct Listing {
    /// The part of a subject before its key: `$KV.`, the bucket's name and a dot.
    prefix: String,
    /// Keys found so far. Those whose last message is no value are taken out again.
    keys: HashSet<String>,
    /// The consumer's number of the last message.
    number: u64,
    /// The number of messages that are still to come, as far as is known.
    pending: u64,
}

impl Listing {
    fn of(bucket: &str) -> Self {
        Self {
            prefix: format!("$KV.{bucket}."),
            keys: HashSet::new(),
            number: 0,
            pending: PAGE,
        }
    }

    async fn read_subjects(&mut self, api: &Api, filter: &str) -> Result<(), Error> {
        let mut read = 0;
        loop {
            let (subjects, total) = api
                .subjects(filter, read, Instant::now() + TIME_ALLOWED)
                .await?;
            let before = read;
            for subject in subjects {
                read += 1;
                self.keys.extend(self.key(&subject));
            }
            if read >= total || read == before {
                return Ok(());
            }
        }
    }

    async fn read_messages(&mut self, api: &Api, consumer: &str) -> Result<(), Error> {
        let inbox = format!("_INBOX.{}", Token::new());
        let deadline = Instant::now() + TIME_ALLOWED;
        api.ready(deadline).await?;
        let mut messages = api
            .connection
            .subscribe(inbox.as_str().into(), None)
            .await?;
        let mut pause = FIRST_PAUSE;
        while self.pending > 0 {
            let page = self.pending.min(PAGE);
            let request = json!({ "batch": page, "no_wait": true }).to_string();
            let subject = api.subject("CONSUMER.MSG.NEXT", consumer);
            api.connection
                .publish(
                    subject.into(),
                    Some(inbox.as_str().into()),
                    None,
                    request.into(),
                )
                .await?;
            // In a cluster it takes a moment until the consumer is known to all servers.
            if !self.read_page(page, &mut messages).await? && !backoff(&mut pause, deadline).await {
                return Err(interrupted("its consumer does not answer"));
            }
        }
        Ok(())
    }

    /// False where the request did not reach the consumer.
    async fn read_page(
        &mut self,
        page: u64,
        messages: &mut (impl Stream<Item = Message> + Unpin),
    ) -> Result<bool, Error> {
        let mut read = 0;
        while read < page && self.pending > 0 {
            let message = timeout(TIME_ALLOWED, messages.next())
                .await
                .map_err(|_| Error::Timeout)?;
            let message = message.ok_or_else(|| interrupted("the connection was closed"))?;
            match message.status {
                None | Some(StatusCode::OK) => self.take(&message)?,
                // That was all there is. What was still to come may have been written anew, and comes later.
                Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) if read > 0 => return Ok(true),
                Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => self.pending = 0,
                Some(StatusCode::NO_RESPONDERS) => return Ok(false),
                Some(status) => {
                    let words = message.description.unwrap_or_else(|| status.to_string());
                    return Err(interrupted(&words));
                }
            }
            read += 1;
        }
        Ok(true)
    }

    fn take(&mut self, message: &Message) -> Result<(), Error> {
        let (number, pending) =
            message
                .reply
                .as_deref()
                .and_then(ack_position)
                .ok_or_else(|| {
                    Error::Failed("a message of a listing does not say where it stands".to_owned())
                })?;
        if number != self.number + 1 {
            return Err(interrupted("messages were lost on their way"));
        }
        (self.number, self.pending) = (number, pending);
        if let Some(key) = self.key(&message.subject) {
            // A key that is written meanwhile comes again: the last message counts.
            if stored::is_value(message.headers.as_ref()) {
                self.keys.insert(key);
            } else {
                self.keys.remove(&key);
            }
        }
        Ok(())
    }

    fn key(&self, subject: &str) -> Option<String> {
        subject.strip_prefix(&self.prefix).and_then(key::decode)
    }
}

fn interrupted(words: &str) -> Error {
    Error::Unavailable(format!(
        "the listing of keys was interrupted, try again: {words}"
    ))
}
