//! Components that are objects of an object store on the server.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind, ObjectStoreError};
use async_nats::jetstream::object_store::{self, GetErrorKind, ObjectStore};
use async_nats::jetstream::{Context, ErrorCode};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::digest::Digest;
use super::fetch_error::FetchError;
use super::source::{ComponentSource, MAX_COMPONENT_BYTES};

/// Whoever pushes a new version takes the old one's bytes away, also from under those who are reading them: then they begin
/// again, with the new one.
const TRIES: u32 = 3;

/// The time that the server may take for the next piece.
const PIECE_WITHIN: Duration = Duration::from_secs(5);

/// An object as the server has it now.
pub(super) enum Object {
    /// The object's digest is one that was known: it was not read.
    Known(Digest),
    /// The object's bytes.
    New(Vec<u8>),
}

/// Reads an object, unless its digest is known. What arrives is what was put there: the client checks its digest.
pub(super) async fn read(
    jetstream: &Context,
    bucket: &str,
    name: &str,
    known: &[Digest],
) -> Result<Object, FetchError> {
    let component = ComponentSource::Object {
        bucket: bucket.to_owned(),
        name: name.to_owned(),
    };
    let failed = |source| FetchError::Server {
        bucket: bucket.to_owned(),
        component: component.clone(),
        source,
    };
    let mut tries = 0;
    loop {
        tries += 1;
        let store = match jetstream.get_object_store(bucket).await {
            Ok(store) => store,
            Err(error) if is_missing(&error) => {
                return Err(FetchError::NoBucket {
                    bucket: bucket.to_owned(),
                    component,
                });
            }
            Err(error) => return Err(failed(error.into())),
        };
        let object = match store.get(name).await {
            Ok(object) => object,
            Err(error) if error.kind() == GetErrorKind::NotFound => {
                return Err(FetchError::NoObject { component });
            }
            Err(error) => return Err(failed(error.into())),
        };
        let is_it = |known: &&Digest| object.info().digest == Some(known.in_object_store());
        if let Some(known) = known.iter().find(is_it) {
            return Ok(Object::Known(*known));
        }
        let found = object.info().nuid.clone();
        let bytes = object.info().size as u64;
        if bytes > MAX_COMPONENT_BYTES {
            return Err(FetchError::TooLarge {
                component,
                bytes,
                most: MAX_COMPONENT_BYTES,
            });
        }
        match read_whole(object).await {
            Ok(bytes) => return Ok(Object::New(bytes)),
            Err(error) if tries == TRIES || !has_changed(&store, name, &found).await => {
                return Err(failed(error.into()));
            }
            Err(_replaced) => {}
        }
    }
}

/// Whether there is no bucket of that name.
pub(crate) fn is_missing(error: &ObjectStoreError) -> bool {
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<GetStreamError>());
    matches!(
        cause.map(GetStreamError::kind),
        Some(GetStreamErrorKind::JetStream(error)) if error.error_code() == ErrorCode::STREAM_NOT_FOUND
    )
}

async fn has_changed(store: &ObjectStore, name: &str, found: &str) -> bool {
    store.info(name).await.is_ok_and(|info| info.nuid != found)
}

async fn read_whole(mut object: object_store::Object) -> io::Result<Vec<u8>> {
    let size = object.info().size;
    let mut bytes = Vec::with_capacity(size);
    loop {
        let read = timeout(PIECE_WITHIN, object.read_buf(&mut bytes)).await;
        let read = read.map_err(|_| io::Error::other("the server stopped sending it"))??;
        if bytes.len() > size {
            return Err(io::Error::other("it is longer than its description says"));
        }
        if read == 0 {
            break;
        }
    }
    if bytes.len() < size {
        return Err(io::Error::other("it is shorter than its description says"));
    }
    Ok(bytes)
}
