//! A source → a component's bytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use async_nats::jetstream::Context;

use super::digest::Digest;
use super::fetch_error::FetchError;
use super::object::{self, Object};
use super::source::{ComponentSource, MAX_COMPONENT_BYTES};

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
/// The file cannot be read, is larger than a component may be, or is something else than a file: a pipe could keep the
/// thread for ever.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, FetchError> {
    let failed = |source| FetchError::Read {
        path: path.to_owned(),
        source,
    };
    let is_file = std::fs::metadata(path).map_err(failed)?.is_file();
    if !is_file {
        let words = "it is no regular file";
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, words)));
    }
    let file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    let too_large = |bytes| FetchError::TooLarge {
        component: path.into(),
        bytes,
        most: MAX_COMPONENT_BYTES,
    };
    if bytes > MAX_COMPONENT_BYTES {
        return Err(too_large(bytes));
    }
    let mut read = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default());
    // It may grow while it is read.
    let mut file = file.take(MAX_COMPONENT_BYTES + 1);
    let bytes = file.read_to_end(&mut read).map_err(failed)? as u64;
    if bytes > MAX_COMPONENT_BYTES {
        return Err(too_large(bytes));
    }
    Ok(read)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_or_too_large_is_refused_unread() -> io::Result<()> {
        let directory = std::env::temp_dir().join(format!("wharf-fetch-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let large = directory.join("large.wasm");
        // Nothing of it is on the disk.
        File::create(&large)?.set_len(MAX_COMPONENT_BYTES + 1)?;
        let refused = read_file(&large).expect_err("too large");
        assert!(matches!(refused, FetchError::TooLarge { .. }), "{refused}");
        let none = directory.join("none");
        for other in [directory.as_path(), Path::new("/dev/zero"), &none] {
            let refused = read_file(other).expect_err("no file");
            assert!(matches!(refused, FetchError::Read { .. }), "{refused}");
        }
        let small = directory.join("small.wasm");
        std::fs::write(&small, "abc")?;
        assert_eq!(read_file(&small).expect("a file"), b"abc");
        std::fs::remove_dir_all(directory)
    }
}
