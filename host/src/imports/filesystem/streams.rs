//! Files as streams. Each has at most one call on a thread, and counts as a descriptor: it keeps its file open, and may hold
//! what it has read or is to write.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wasmtime_wasi::p2::{
    FsError, FsResult, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};

use super::descriptors::DescriptorCharge;
use super::file_handle::Handle;

/// The most bytes that one call reads.
pub(super) const MAX_READ_BYTES: usize = 64 * 1024;

/// The most bytes that a stream reads ahead, or takes to be written: they are held here until the guest comes for them, or
/// the disk has them.
const MAX_HELD_BYTES: usize = 16 * 1024;

/// A file as a stream to read from.
pub(super) struct FileInput {
    /// The file.
    file: Arc<Handle>,
    /// The part of the count of descriptors, given back with the stream.
    _charge: DescriptorCharge,
    /// The place in the file of the next byte that the guest gets.
    position: u64,
    state: InputState,
}

/// What a stream to read from is about.
enum InputState {
    /// Nothing: the next read asks the disk.
    Idle,
    /// Reading.
    Reading(BoxFuture<'static, FsResult<Vec<u8>>>),
    /// Bytes that the guest has not taken yet.
    Read(Bytes),
    /// Reading failed, which the guest has not been told.
    Failed(FsError),
    /// There is nothing more.
    Closed,
}

impl FileInput {
    pub(super) fn new(file: Arc<Handle>, charge: DescriptorCharge, position: u64) -> Self {
        Self {
            file,
            _charge: charge,
            position,
            state: InputState::Idle,
        }
    }

    /// Reads on one of the guest's threads.
    fn reading(&self, len: usize) -> BoxFuture<'static, FsResult<Vec<u8>>> {
        let (file, position) = (Arc::clone(&self.file), self.position);
        let files = Arc::clone(&file.files);
        async move { files.run(move || file.read(len, position)).await }.boxed()
    }

    fn has_read(&mut self, read: FsResult<Vec<u8>>) {
        self.state = match read {
            Ok(bytes) if bytes.is_empty() => InputState::Closed,
            Ok(bytes) => InputState::Read(bytes.into()),
            Err(error) => InputState::Failed(error),
        };
    }

    /// Gives the guest what is there.
    fn take(&mut self, most: usize) -> StreamResult<Bytes> {
        match mem::replace(&mut self.state, InputState::Closed) {
            InputState::Read(mut bytes) => {
                let taken = bytes.split_to(most.min(bytes.len()));
                self.position += taken.len() as u64;
                self.state = match bytes.is_empty() {
                    true => InputState::Idle,
                    false => InputState::Read(bytes),
                };
                Ok(taken)
            }
            InputState::Failed(error) => Err(failed(error)),
            InputState::Closed => Err(StreamError::Closed),
            waiting => {
                self.state = waiting;
                Ok(Bytes::new())
            }
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for FileInput {
    async fn ready(&mut self) {
        if let InputState::Idle = self.state {
            self.state = InputState::Reading(self.reading(MAX_HELD_BYTES));
        }
        if let InputState::Reading(reading) = &mut self.state {
            let read = reading.await;
            self.has_read(read);
        }
    }
}

#[wasmtime_wasi::async_trait]
impl InputStream for FileInput {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if matches!(self.state, InputState::Idle) && size > 0 {
            self.state = InputState::Reading(self.reading(size.min(MAX_HELD_BYTES)));
        }
        // Begins it, or finds that it is done.
        if let InputState::Reading(reading) = &mut self.state
            && let Some(read) = reading.now_or_never()
        {
            self.has_read(read);
        }
        self.take(size)
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        match &mut self.state {
            // It is given to the guest at once, and may be more than what is held.
            InputState::Idle if size > 0 => {
                let read = self.reading(size.min(MAX_READ_BYTES)).await;
                self.has_read(read);
            }
            _ => self.ready().await,
        }
        self.take(size)
    }
}

/// A file as a stream to write to.
pub(super) struct FileOutput {
    /// The file.
    file: Arc<Handle>,
    /// The part of the count of descriptors, given back with the stream.
    _charge: DescriptorCharge,
    /// The place in the file of the next byte. None for its end, whoever else writes to it.
    position: Option<u64>,
    state: OutputState,
}

/// What a stream to write to is about.
enum OutputState {
    /// Nothing: bytes may be written.
    Idle,
    /// Writing.
    Writing(BoxFuture<'static, FsResult<usize>>),
    /// Writing failed, which the guest has not been told.
    Failed(FsError),
    /// Nothing more can be written.
    Closed,
}

impl FileOutput {
    pub(super) fn new(file: Arc<Handle>, charge: DescriptorCharge, position: Option<u64>) -> Self {
        Self {
            file,
            _charge: charge,
            position,
            state: OutputState::Idle,
        }
    }

    /// Writes all of the bytes on one of the guest's threads.
    fn writing(&self, bytes: Bytes) -> BoxFuture<'static, FsResult<usize>> {
        let (file, position) = (Arc::clone(&self.file), self.position);
        let files = Arc::clone(&file.files);
        async move { files.run(move || write_all(&file, &bytes, position)).await }.boxed()
    }

    fn has_written(&mut self, written: FsResult<usize>) {
        self.state = match written {
            Ok(count) => {
                self.position = self.position.map(|at| at + count as u64);
                OutputState::Idle
            }
            Err(error) => OutputState::Failed(error),
        };
    }

    async fn finish(&mut self) {
        if let OutputState::Writing(writing) = &mut self.state {
            let written = writing.await;
            self.has_written(written);
        }
    }

    /// The room for bytes. 0 while it writes.
    fn room(&mut self) -> StreamResult<usize> {
        match mem::replace(&mut self.state, OutputState::Closed) {
            OutputState::Idle => {
                self.state = OutputState::Idle;
                Ok(MAX_HELD_BYTES)
            }
            writing @ OutputState::Writing(_) => {
                self.state = writing;
                Ok(0)
            }
            OutputState::Failed(error) => Err(failed(error)),
            OutputState::Closed => Err(StreamError::Closed),
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for FileOutput {
    async fn ready(&mut self) {
        self.finish().await;
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for FileOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > self.check_write()? {
            return Err(StreamError::trap(
                "cannot write more than `check-write` allows",
            ));
        }
        let mut writing = self.writing(bytes);
        // Begins it.
        match writing.as_mut().now_or_never() {
            Some(written) => self.has_written(written),
            None => self.state = OutputState::Writing(writing),
        }
        Ok(())
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.finish().await;
        self.room()?;
        let written = self.writing(bytes).await;
        self.has_written(written);
        self.room().map(drop)
    }

    fn flush(&mut self) -> StreamResult<()> {
        // What was written is the system's: nothing is held back here.
        self.room().map(drop)
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        if let OutputState::Writing(writing) = &mut self.state
            && let Some(written) = writing.now_or_never()
        {
            self.has_written(written);
        }
        self.room()
    }
}

fn write_all(file: &Handle, bytes: &[u8], position: Option<u64>) -> FsResult<usize> {
    let mut written = 0;
    while written < bytes.len() {
        let rest = &bytes[written..];
        let count = match position {
            Some(at) => file.write(rest, at + written as u64)?,
            None => file.append(rest)?,
        };
        if count == 0 {
            return Err(ErrorCode::Io.into());
        }
        written += count;
    }
    Ok(written)
}

/// A failure as a stream tells it: an error that `filesystem-error-code` knows, or a trap.
fn failed(error: FsError) -> StreamError {
    match error.downcast() {
        Ok(code) => StreamError::LastOperationFailed(wasmtime::Error::new(StreamFailure(code))),
        Err(trap) => StreamError::Trap(trap),
    }
}

/// The code of a stream's failure, which the guest may ask for.
#[derive(Debug, thiserror::Error)]
#[error("{0:?}")]
pub(super) struct StreamFailure(pub(super) ErrorCode);
