//! A source → a component's bytes.

use std::path::Path;

use async_nats::jetstream::Context;

use super::digest::Digest;
use super::error::FetchError;
use super::object::{self, Object};
use super::source::ComponentSource;

/// A component as its source has it now.
pub(crate) enum Fetched {
    /// The component is one that was known.
    Known(Digest),
    /// The component is another: its digest and its bytes.
    New(Digest, Vec<u8>),
}

/// Fetches a component, unless it is one of those that are known.
///
/// # Errors
/// [`FetchError`] says what is missing, or why it cannot be read.
pub(crate) async fn fetch(
    jetstream: &Context,
    source: &ComponentSource,
    known: &[Digest],
) -> Result<Fetched, FetchError> {
    match source {
        ComponentSource::File(path) => fetch_file(path, known).await,
        ComponentSource::Object { bucket, name } => {
            match object::read(jetstream, bucket, name, known).await? {
                Object::Known(digest) => Ok(Fetched::Known(digest)),
                Object::New(bytes) => Ok(Fetched::of(bytes, known)),
            }
        }
    }
}

/// Fetches a component from a file.
///
/// # Errors
/// The file cannot be read.
pub(crate) async fn fetch_file(path: &Path, known: &[Digest]) -> Result<Fetched, FetchError> {
    let (file, known) = (path.to_owned(), known.to_owned());
    let reading = tokio::task::spawn_blocking(move || Ok(Fetched::of(read_file(&file)?, &known)));
    reading.await.unwrap_or_else(|panicked| {
        Err(FetchError::Read {
            path: path.to_owned(),
            source: std::io::Error::other(panicked),
        })
    })
}

/// Reads a file, on a thread that may wait for it.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, FetchError> {
    std::fs::read(path).map_err(|source| FetchError::Read {
        path: path.to_owned(),
        source,
    })
}

impl Fetched {
    fn of(bytes: Vec<u8>, known: &[Digest]) -> Self {
        let digest = Digest::of(&bytes);
        if known.contains(&digest) {
            Self::Known(digest)
        } else {
            Self::New(digest, bytes)
        }
    }
}
