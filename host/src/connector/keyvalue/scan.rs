//! The keys of a bucket, listed and counted.
//!
//! The stream's leader says which subjects have messages, but not whether the last is a value or the mark that there is
//! none any more. There are two ways to learn that:
//!
//! - A consumer gives the last message of every subject, many in a second. But the headers travel as they were stored, and
//!   anybody may have stored some that the client cannot read: then the connection breaks.
//! - Each subject's last message is looked up. Nothing in the answers can break the connection, but each takes its time
//!   and brings its payload.
//!
//! So what is small is looked up, and what is large is read from a consumer. If the connection broke meanwhile, what is
//! not too large is looked up from then on.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::api::{Api, BucketState, TIME_ALLOWED};
use super::key;
use super::last_messages::{self, LastMessage, MAX_PAGE, ReadError, interrupted};
use crate::error::Error;
use crate::lock::locked;

/// The most keys of one listing. More would not fit into what a guest may be given.
pub(super) const MAX_KEYS: usize = 100_000;

/// The most bytes of a bucket whose messages are looked up unless they must be.
const MAX_SMALL_BYTES: u64 = 4 << 20;

/// The most bytes of a bucket whose messages are looked up after it broke the connection: about what arrives in the time that
/// a listing may take.
const MAX_LOOKED_UP_BYTES: u64 = 512 << 20;

/// The most lookups at once.
const MAX_LOOKUPS: usize = 64;

/// The times that a listing may break the connection before it is given up. After the first one, the connection may have
/// come to filter what it receives.
const MAX_LOSSES: u32 = 2;

/// The time after which it is tried again to read a bucket that broke the connection.
const LOSS_COUNTS_FOR: Duration = Duration::from_secs(3600);

/// The number of keys that have a value.
pub(super) async fn count(api: &Api, history: &ListingHistory) -> Result<u64, Error> {
    let filter = format!("$KV.{}.>", api.bucket);
    loop {
        let state = api.state(deadline()).await?;
        let prefix = prefix(api);
        if history.looks_up(&state)? {
            let subjects = api.subjects(&filter, deadline()).await?;
            if subjects.listed.len() == subjects.total {
                let mut values = 0;
                look_up(api, history, subjects.listed, |_| values += 1).await?;
                return Ok(values);
            }
        }
        let mut others = 0;
        let filters = std::slice::from_ref(&filter);
        let read = last_messages::read(api, filters, |message| {
            // What is written meanwhile is not counted, and what it replaces is.
            if message.sequence > state.last_sequence {
                return Ok(ControlFlow::Break(()));
            }
            let is_key = decode(&prefix, message.subject).is_some();
            others += u64::from(!(message.is_value && is_key));
            Ok(ControlFlow::Continue(()))
        });
        if history.note(read.await)? {
            return Ok(state.subjects.saturating_sub(others));
        }
    }
}

/// The keys that have a value and begin with this.
///
/// # Errors
/// `Invalid` where they are more than [`MAX_KEYS`].
pub(super) async fn keys(
    api: &Api,
    history: &ListingHistory,
    begin: &str,
) -> Result<Vec<String>, Error> {
    let prefix = prefix(api);
    let filters: Vec<String> = key::filters(begin)?
        .iter()
        .map(|filter| format!("{prefix}{filter}"))
        .collect();
    loop {
        let state = api.state(deadline()).await?;
        let subjects = if begin.is_empty() && state.subjects > MAX_KEYS as u64 {
            None
        } else {
            subjects(api, &filters).await?
        };
        let mut found = Keys {
            bucket: &api.bucket,
            prefix: &prefix,
            begin,
            keys: HashSet::new(),
        };
        match subjects {
            Some(subjects) if subjects.is_empty() => return Ok(Vec::new()),
            Some(subjects) if history.looks_up(&state)? => {
                let mut keys = Vec::new();
                look_up(api, history, subjects, |key| keys.extend(found.wanted(key))).await?;
                return Ok(keys);
            }
            // These count unless their last message is read. One that is written anew again and again never may be.
            Some(subjects) => subjects
                .iter()
                .try_for_each(|subject| found.note(subject, true))?,
            None => {}
        }
        let read = last_messages::read(api, &filters, |message| {
            let LastMessage {
                subject, is_value, ..
            } = message;
            found.note(subject, is_value).map(ControlFlow::Continue)
        });
        if history.note(read.await)? {
            return Ok(found.keys.into_iter().collect());
        }
    }
}

/// The subjects that match one of the filters. `None` if they are more than the server lists at once.
async fn subjects(api: &Api, filters: &[String]) -> Result<Option<Vec<String>>, Error> {
    let mut all = Vec::new();
    for filter in filters {
        let subjects = api.subjects(filter, deadline()).await?;
        if subjects.listed.len() < subjects.total {
            return Ok(None);
        }
        all.extend(subjects.listed);
    }
    Ok(Some(all))
}

/// Looks up the last message of each subject, and names the keys of those that are values.
async fn look_up(
    api: &Api,
    history: &ListingHistory,
    subjects: Vec<String>,
    mut found: impl FnMut(String),
) -> Result<(), Error> {
    let prefix = prefix(api);
    // The server writes so what is no text.
    let mut all_readable = !subjects.iter().any(|subject| subject.contains('\u{fffd}'));
    let lookups = subjects.into_iter().filter_map(|subject| {
        let key = decode(&prefix, &subject)?;
        Some(async move {
            let last = api.last(&subject, deadline()).await?;
            Ok::<_, Error>((key, last))
        })
    });
    let mut looked_up = stream::iter(lookups).buffer_unordered(MAX_LOOKUPS);
    while let Some((key, last)) = looked_up.try_next().await? {
        let Some(last) = last else { continue };
        all_readable &= last.is_readable();
        if last.is_value() {
            found(key);
        }
    }
    if all_readable {
        history.forget_losses();
    }
    Ok(())
}

/// The keys of a listing, so far.
struct Keys<'a> {
    /// The bucket's name.
    bucket: &'a str,
    /// The part of a subject before its key.
    prefix: &'a str,
    /// The text that the keys begin with.
    begin: &'a str,
    /// The keys.
    keys: HashSet<String>,
}

impl Keys<'_> {
    fn wanted(&self, key: String) -> Option<String> {
        key.starts_with(self.begin).then_some(key)
    }

    /// Notes a subject's last message. A key that is written meanwhile comes again: what comes last counts.
    fn note(&mut self, subject: &str, is_value: bool) -> Result<(), Error> {
        let key = decode(self.prefix, subject).and_then(|key| self.wanted(key));
        let Some(key) = key else { return Ok(()) };
        if is_value {
            self.keys.insert(key);
        } else {
            self.keys.remove(&key);
        }
        if self.keys.len() > MAX_KEYS {
            let longer = if self.begin.is_empty() { "" } else { "longer " };
            return Err(Error::Invalid(format!(
                "bucket `{}` has more than {MAX_KEYS} such keys: use a {longer}prefix",
                self.bucket
            )));
        }
        Ok(())
    }
}

/// The listings of one bucket that broke the connection.
#[derive(Debug, Default)]
pub(super) struct ListingHistory(Mutex<Losses>);

/// The losses of the connection during a bucket's listings, since one was read to its end.
#[derive(Debug, Default)]
struct Losses {
    /// The time of the last one.
    last: Option<Instant>,
    /// The number of them.
    count: u32,
}

impl ListingHistory {
    /// Whether each subject's last message is looked up.
    ///
    /// # Errors
    /// `Unavailable` if the bucket is too large for that, and reading it broke the connection again and again.
    fn looks_up(&self, state: &BucketState) -> Result<bool, Error> {
        let losses = self.losses();
        if state.subjects <= MAX_PAGE && state.bytes <= MAX_SMALL_BYTES {
            return Ok(true);
        }
        let may_look_up = state.subjects <= MAX_KEYS as u64 && state.bytes <= MAX_LOOKED_UP_BYTES;
        if losses == 0 || may_look_up {
            return Ok(losses > 0);
        }
        if losses >= MAX_LOSSES {
            return Err(interrupted(
                "it broke the connection, as it does where a message has headers that cannot be read",
            ));
        }
        Ok(false)
    }

    /// The number of losses that count.
    fn losses(&self) -> u32 {
        let losses = locked(&self.0);
        let counts = losses
            .last
            .is_some_and(|last| last.elapsed() < LOSS_COUNTS_FOR);
        if counts { losses.count } else { 0 }
    }

    /// Notes how a reading ended. False if the connection broke, and the listing is to be begun anew.
    fn note(&self, read: Result<(), ReadError>) -> Result<bool, Error> {
        match read {
            Ok(()) => {
                self.forget_losses();
                Ok(true)
            }
            Err(ReadError::ConnectionLost) => {
                let count = self.losses() + 1;
                let last = Some(Instant::now());
                *locked(&self.0) = Losses { last, count };
                Ok(false)
            }
            Err(ReadError::Failed(error)) => Err(error),
        }
    }

    fn forget_losses(&self) {
        *locked(&self.0) = Losses::default();
    }
}

/// The key of a subject of the bucket.
fn decode(prefix: &str, subject: &str) -> Option<String> {
    subject.strip_prefix(prefix).and_then(key::decode)
}

/// The part of a bucket's subjects before the key.
fn prefix(api: &Api) -> String {
    format!("$KV.{}.", api.bucket)
}

fn deadline() -> Instant {
    Instant::now() + TIME_ALLOWED
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(subjects: u64, bytes: u64) -> BucketState {
        BucketState {
            subjects,
            bytes,
            last_sequence: subjects,
        }
    }

    #[test]
    fn what_is_small_is_looked_up_and_what_is_large_is_read_until_that_breaks_the_connection() {
        let history = ListingHistory::default();
        let (small, heavy) = (state(MAX_PAGE, 1), state(10, MAX_SMALL_BYTES + 1));
        let (large, huge) = (state(MAX_PAGE + 1, 1), state(MAX_KEYS as u64 + 1, 1));
        let too_heavy = state(10, MAX_LOOKED_UP_BYTES + 1);
        assert_eq!(history.looks_up(&small), Ok(true));
        for state in [&heavy, &large, &huge, &too_heavy] {
            assert_eq!(history.looks_up(state), Ok(false), "{state:?}");
        }
        let lost = || Err(ReadError::ConnectionLost);
        assert_eq!(history.note(lost()), Ok(false));
        for state in [&small, &heavy, &large] {
            assert_eq!(history.looks_up(state), Ok(true), "{state:?}");
        }
        // Once more: the connection may filter what it receives now.
        assert_eq!(history.looks_up(&huge), Ok(false));
        assert_eq!(history.note(lost()), Ok(false));
        for state in [&huge, &too_heavy] {
            let refused = history.looks_up(state);
            assert!(matches!(refused, Err(Error::Unavailable(_))), "{state:?}");
        }
        assert_eq!(history.note(Ok(())), Ok(true));
        assert_eq!(history.looks_up(&huge), Ok(false));
    }
}
