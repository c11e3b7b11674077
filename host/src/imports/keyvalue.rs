//! `wharf:nats/keyvalue`: buckets.

use std::time::Duration;

use wasmtime::component::Resource;

use super::bindings::keyvalue::{BucketConfig, Entry, Host, HostBucket, Storage};
use super::bindings::types;
use super::import_context::CtxView;
use super::ops;
use super::wit_error::Answer;
use crate::config::{self, BucketAccess, BucketSettings};
use crate::connector::{self, Bucket};

/// An open bucket, and what the guest may do with it.
#[derive(Clone)]
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct OpenBucket {
    /// The bucket, which other instances and guests may have open, too.
    bucket: Bucket,
    /// The access that the guest had when the bucket was opened.
    access: BucketAccess,
}

type Handle = Resource<OpenBucket>;

impl CtxView<'_> {
    fn handle(&self, handle: &Handle) -> wasmtime::Result<&OpenBucket> {
        Ok(self.table.get(handle)?)
    }

    /// The bucket, for reading: whoever has it open may do that.
    fn bucket(&self, handle: &Handle) -> wasmtime::Result<Bucket> {
        Ok(self.handle(handle)?.bucket.clone())
    }

    /// The bucket, if the guest may write to it.
    fn writable(&self, handle: &Handle) -> Answer<Bucket> {
        let handle = self.handle(handle)?;
        let writable = ops::writable(self.ctx, &handle.bucket, handle.access);
        Ok(writable.map_err(Into::into))
    }

    fn opened(&mut self, bucket: Bucket, access: BucketAccess) -> wasmtime::Result<Handle> {
        Ok(self.table.push(OpenBucket { bucket, access })?)
    }
}

/// Runs an operation on a bucket that the guest may write to.
macro_rules! write {
    ($view:ident, $handle:ident, |$bucket:ident| $operation:expr) => {{
        match $view.writable(&$handle)? {
            Ok($bucket) => Ok($operation.await.map_err(types::Error::from)),
            Err(denied) => Ok(Err(denied)),
        }
    }};
}

impl Host for CtxView<'_> {}

impl HostBucket for CtxView<'_> {
    async fn open(&mut self, name: Option<String>) -> Answer<Handle> {
        match ops::open_bucket(self.ctx, name).await {
            Ok((bucket, access)) => Ok(Ok(self.opened(bucket, access)?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn create(&mut self, name: String, config: BucketConfig) -> Answer<Handle> {
        match ops::create_bucket(self.ctx, &name, settings(config)).await {
            Ok(bucket) => Ok(Ok(self.opened(bucket, BucketAccess::ReadWrite)?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn name(&mut self, this: Handle) -> wasmtime::Result<String> {
        Ok(self.handle(&this)?.bucket.name().to_owned())
    }

    async fn get(&mut self, this: Handle, key: String) -> Answer<Option<Vec<u8>>> {
        let value = self.bucket(&this)?.get_raw(&key).await;
        Ok(value.map(|value| value.map(Vec::from)).map_err(Into::into))
    }

    async fn get_entry(&mut self, this: Handle, key: String) -> Answer<Option<Entry>> {
        let found = self.bucket(&this)?.get_entry(&key).await;
        Ok(found.map(|found| found.map(entry)).map_err(Into::into))
    }

    async fn set(
        &mut self,
        this: Handle,
        key: String,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> Answer<u64> {
        write!(self, this, |bucket| bucket.set_raw(
            &key,
            value,
            ttl_ms.map(Duration::from_millis)
        ))
    }

    async fn add(
        &mut self,
        this: Handle,
        key: String,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> Answer<u64> {
        write!(self, this, |bucket| bucket.add_raw(
            &key,
            value,
            ttl_ms.map(Duration::from_millis)
        ))
    }

    async fn replace(&mut self, this: Handle, key: String, value: Vec<u8>) -> Answer<Option<u64>> {
        write!(self, this, |bucket| bucket.replace_raw(&key, value))
    }

    async fn update(
        &mut self,
        this: Handle,
        key: String,
        value: Vec<u8>,
        revision: u64,
    ) -> Answer<u64> {
        write!(self, this, |bucket| bucket
            .update_raw(&key, value, revision))
    }

    async fn expire(&mut self, this: Handle, key: String, ttl_ms: Option<u64>) -> Answer<bool> {
        write!(self, this, |bucket| bucket
            .expire(&key, ttl_ms.map(Duration::from_millis)))
    }

    async fn increment(&mut self, this: Handle, key: String, by: i64) -> Answer<i64> {
        write!(self, this, |bucket| bucket.increment(&key, by))
    }

    async fn delete(&mut self, this: Handle, key: String) -> Answer<()> {
        write!(self, this, |bucket| bucket.delete(&key))
    }

    async fn keys(&mut self, this: Handle, prefix: Option<String>) -> Answer<Vec<String>> {
        Ok(self
            .bucket(&this)?
            .keys(prefix.as_deref())
            .await
            .map_err(Into::into))
    }

    async fn count(&mut self, this: Handle) -> Answer<u64> {
        Ok(self.bucket(&this)?.count().await.map_err(Into::into))
    }

    async fn history(&mut self, this: Handle, key: String) -> Answer<Vec<Entry>> {
        let history = self.bucket(&this)?.history(&key).await;
        Ok(history
            .map(|kept| kept.into_iter().map(entry).collect())
            .map_err(Into::into))
    }

    async fn flush(&mut self, this: Handle) -> Answer<()> {
        write!(self, this, |bucket| bucket.flush())
    }

    async fn drop(&mut self, this: Handle) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

fn entry(entry: connector::Entry) -> Entry {
    Entry {
        value: entry.value.into(),
        revision: entry.revision,
        created: entry.created,
        expires: entry.expires,
    }
}

fn settings(config: BucketConfig) -> BucketSettings {
    BucketSettings {
        description: config.description,
        history: config.history,
        ttl: config.ttl_ms.map(Duration::from_millis),
        replicas: config.replicas,
        storage: match config.storage {
            Storage::File => config::Storage::File,
            Storage::Memory => config::Storage::Memory,
        },
        max_bytes: config.max_bytes,
        max_value_size: config.max_value_size,
    }
}
