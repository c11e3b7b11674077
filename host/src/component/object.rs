//! Components that are objects of an object store on the server.

use std::time::Duration;

use async_nats::jetstream::Context;
use futures_util::future::try_join_all;
use tokio::time::timeout;

use super::digest::Digest;
use super::fetch_error::FetchError;
use super::object_store::{Cause, ObjectLink, ObjectMeta, ObjectStore, StoreError};
use super::source::{ComponentSource, MAX_COMPONENT_BYTES};

/// Whoever pushes a new version takes the old one's bytes away, also from under those who are reading them: then they begin
/// again, with the new one.
const TRIES: u32 = 3;

/// The time that the server may take for the next pieces.
const PIECES_WITHIN: Duration = Duration::from_secs(5);

/// The most pieces that are asked for at once, so that a server that is far away need not be asked for each by itself.
const MAX_PIECES: u64 = 8;

/// The most bytes of all pieces that are asked for at once, by their average size.
const MAX_PIECES_BYTES: u64 = 4 << 20;

/// The most links that are followed from one to the next.
const MAX_LINKS: u32 = 8;

/// An object as the server has it now.
pub(super) enum Object {
    /// The object's digest is one that was known: it was not read.
    Known(Digest),
    /// The object's bytes.
    New(Vec<u8>),
}

/// Reads an object, unless its digest is known. What arrives is what was put there: its digest is checked.
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
    let failed = |error| match error {
        StoreError::Missing => FetchError::NoBucket {
            bucket: bucket.to_owned(),
            component: component.clone(),
        },
        StoreError::Failed(source) => FetchError::Server {
            bucket: bucket.to_owned(),
            component: component.clone(),
            source,
        },
    };
    let mut tries = 0;
    loop {
        tries += 1;
        let found = find(jetstream, bucket, name).await.map_err(failed)?;
        let Some((holder, meta)) = found else {
            return Err(FetchError::NoObject { component });
        };
        let is_it = |known: &&Digest| meta.digest.as_ref() == Some(&known.in_object_store());
        if let Some(known) = known.iter().find(is_it) {
            return Ok(Object::Known(*known));
        }
        if meta.size > MAX_COMPONENT_BYTES {
            return Err(FetchError::TooLarge {
                component,
                bytes: meta.size,
                most: MAX_COMPONENT_BYTES,
            });
        }
        let store = ObjectStore::new(jetstream, &holder).map_err(failed)?;
        match read_whole(store, &meta).await {
            Ok(bytes) => return Ok(Object::New(bytes)),
            Err(error) => {
                let now = find(jetstream, bucket, name).await;
                let is_replaced = matches!(now, Ok(Some((_, now))) if now.nuid != meta.nuid);
                if tries == TRIES || !is_replaced {
                    return Err(failed(error));
                }
            }
        }
    }
}

/// Finds an object, or the one that a link leads to: its description, and the object store that has it.
async fn find(
    jetstream: &Context,
    bucket: &str,
    name: &str,
) -> Result<Option<(String, ObjectMeta)>, StoreError> {
    let (mut bucket, mut name) = (bucket.to_owned(), name.to_owned());
    for _ in 0..=MAX_LINKS {
        let found = ObjectStore::new(jetstream, &bucket)?.meta(&name).await?;
        let Some(meta) = found else { return Ok(None) };
        match meta.link().cloned() {
            None => return Ok(Some((bucket, meta))),
            Some(ObjectLink {
                bucket: to,
                name: Some(linked),
            }) => (bucket, name) = (to, linked),
            Some(_) => return Err(Cause::from("it is a link to a whole object store").into()),
        }
    }
    Err(Cause::from(format!("it is behind more than {MAX_LINKS} links")).into())
}

/// Reads all pieces of an object.
async fn read_whole(store: ObjectStore<'_>, meta: &ObjectMeta) -> Result<Vec<u8>, StoreError> {
    let failed = |words: &'static str| StoreError::Failed(words.into());
    let size = usize::try_from(meta.size).map_err(Cause::from)?;
    let mut bytes = Vec::with_capacity(size);
    let average = (meta.size / meta.chunks.max(1)).max(1);
    let most = (MAX_PIECES_BYTES / average).clamp(1, MAX_PIECES);
    let (mut from, mut read) = (1, 0);
    while bytes.len() < size {
        // Pieces mostly follow one another. Where they do not, some answers are the same.
        let at_once = meta.chunks.saturating_sub(read).clamp(1, most);
        let asked = (from..from + at_once).map(|sequence| store.piece(&meta.nuid, sequence));
        let pieces = timeout(PIECES_WITHIN, try_join_all(asked)).await;
        let pieces = pieces.map_err(|_| failed("the server stopped sending it"))??;
        let before = read;
        for piece in pieces.into_iter().flatten() {
            if piece.sequence >= from && bytes.len() < size {
                from = piece.sequence + 1;
                read += 1;
                bytes.extend_from_slice(&piece.bytes);
            }
        }
        if read == before {
            return Err(failed("it is shorter than its description says"));
        }
    }
    if bytes.len() > size {
        return Err(failed("it is longer than its description says"));
    }
    let is_it = |digest: &String| *digest == Digest::of(&bytes).in_object_store();
    if meta.digest.as_ref().is_some_and(|digest| !is_it(digest)) {
        return Err(failed(
            "its bytes do not have the digest of its description",
        ));
    }
    Ok(bytes)
}
