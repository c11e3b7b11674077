//! `wharf push`: a component into an object store, from which hosts load it.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context as Poller, Poll};
use std::time::Duration;

use anyhow::{Context, anyhow};
use async_nats::jetstream;
use async_nats::jetstream::object_store::{self, ObjectInfo, ObjectMetadata, ObjectStore};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::io::{AsyncRead, ReadBuf};
use wharf::Connector;

use super::args::PushArgs;
use super::exit::{Exit, Failure};
use super::{errand, output};

/// Bytes of an object's chunks, unless the server takes only smaller messages.
const CHUNK_BYTES: usize = 128 * 1024;

/// Checks a component and uploads it.
pub(super) fn push(args: &PushArgs) -> Result<Exit, Failure> {
    check(&args.component)?;
    let bytes = std::fs::read(&args.component)
        .with_context(|| format!("cannot read {}", args.component.display()))?;
    let settings = errand::settings(&args.sources, Duration::MAX)?;
    let pushed = errand::run(settings, async |connector| {
        let pushed = upload(connector, args, &bytes).await;
        Ok(pushed.with_context(|| format!("cannot push to {}", target(args)))?)
    })?;
    Ok(report(args, &pushed)?)
}

/// Refuses a component that is no guest: every host that follows the object would refuse it, too.
fn check(component: &Path) -> Result<(), Failure> {
    let inspection =
        wharf::inspect(component, None).map_err(|error| Failure::Usage(error.into()))?;
    if inspection.problems.is_empty() {
        return Ok(());
    }
    let problems = inspection.problems.join("; ");
    Err(Failure::usage(format!(
        "not pushed: {} is no guest: {problems}",
        component.display()
    )))
}

fn target(args: &PushArgs) -> String {
    let (bucket, name) = &args.object;
    format!("nats://{bucket}/{name}")
}

async fn upload(
    connector: &Connector,
    args: &PushArgs,
    bytes: &[u8],
) -> anyhow::Result<ObjectInfo> {
    let (bucket, name) = &args.object;
    let store = open(&connector.jetstream(), bucket).await?;
    let max = connector.client().server_info().max_payload;
    let object = ObjectMetadata {
        name: name.clone(),
        chunk_size: Some(if max == 0 {
            CHUNK_BYTES
        } else {
            CHUNK_BYTES.min(max)
        }),
        ..ObjectMetadata::default()
    };
    let mut reader = ProgressReader {
        left: bytes,
        bar: bar(bytes.len())?,
    };
    let pushed = store.put(object, &mut reader).await;
    reader.bar.finish_and_clear();
    pushed.map_err(|error| anyhow!("{error}; the object is as it was before"))
}

/// Opens the object store, and creates it if there is none.
async fn open(jetstream: &jetstream::Context, bucket: &str) -> anyhow::Result<ObjectStore> {
    if let Ok(store) = jetstream.get_object_store(bucket).await {
        return Ok(store);
    }
    // If it cannot be opened for another reason than that it is not there, creating it fails, too.
    let config = object_store::Config {
        bucket: bucket.to_owned(),
        ..object_store::Config::default()
    };
    let created = jetstream.create_object_store(config).await;
    let created = created.map_err(|error| {
        let hint = "the server needs JetStream, and this user must be allowed to use the stream";
        anyhow!("cannot open or create the object store {bucket:?}: {error}; {hint} OBJ_{bucket}")
    })?;
    output::status(&format!("created the object store {bucket:?}"));
    Ok(created)
}

/// A progress bar, which is drawn only where stderr is a terminal.
fn bar(bytes: usize) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template(
        "{wide_bar} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}",
    )?;
    Ok(ProgressBar::new(bytes as u64).with_style(style))
}

/// A reader that moves a progress bar as its bytes are read.
struct ProgressReader<'a> {
    /// The bytes that were not read yet.
    left: &'a [u8],
    /// The bar, in bytes.
    bar: ProgressBar,
}

impl AsyncRead for ProgressReader<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = self.left.len();
        let read = Pin::new(&mut self.left).poll_read(cx, buf);
        self.bar.inc((before - self.left.len()) as u64);
        read
    }
}

fn report(args: &PushArgs, pushed: &ObjectInfo) -> anyhow::Result<Exit> {
    let digest = pushed.digest.as_deref().unwrap_or_default();
    if args.json {
        let (object, bytes) = (target(args), pushed.size);
        output::json(&serde_json::json!({ "object": object, "bytes": bytes, "digest": digest }))?;
    } else {
        let size = bytesize::ByteSize(pushed.size as u64).display().iec();
        output::success(
            "pushed",
            &format!("{} ({size}) to {}", args.component.display(), target(args)),
        );
        output::text(&format!("{digest}\n"))?;
    }
    Ok(Exit::Done)
}
