//! The functions of `wasi:filesystem`.

use std::pin::pin;
use std::sync::Arc;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable, ResourceTableError};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode,
    Filesize, HostDescriptor, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult, ReaddirIterator};
use wasmtime_wasi::runtime::poll_noop;

use super::entries::Entries;
use super::file_handle::Handle;
use super::granted_dir::GrantedDir;
use super::guest_files::{GuestFiles, NAME_BYTES};
use super::open::OpenRequest;
use super::removal::Doomed;
use super::streams::{FileInput, FileOutput, MAX_READ_BYTES, StreamFailure};

/// What is in the table of resources for a descriptor. The generated code has another type for it, which it never looks at.
type Opened = Arc<Handle>;

/// The view of an instance that the functions work on.
pub(crate) struct FilesystemView<'a> {
    /// The files of the version that the instance is of.
    pub(crate) files: &'a Arc<GuestFiles>,
    /// The instance's table of resources, where its open files are.
    pub(crate) table: &'a mut ResourceTable,
}

/// Names [`FilesystemView`] to the linker.
struct Filesystem;

impl HasData for Filesystem {
    type Data<'a> = FilesystemView<'a>;
}

/// Gives a linker the interfaces, in place of those that it has.
pub(crate) fn link<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> FilesystemView<'_>,
) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    types::add_to_linker::<T, Filesystem>(linker, view)?;
    preopens::add_to_linker::<T, Filesystem>(linker, view)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl FilesystemView<'_> {
    fn handle(&self, descriptor: &Resource<Descriptor>) -> Result<Opened, ResourceTableError> {
        let opened = Resource::<Opened>::new_borrow(descriptor.rep());
        self.table.get(&opened).cloned()
    }

    fn push(&mut self, handle: Handle) -> Result<Resource<Descriptor>, ResourceTableError> {
        let opened = self.table.push(Arc::new(handle))?;
        Ok(Resource::new_own(opened.rep()))
    }

    /// Runs a call on one of the guest's threads.
    async fn run<T: Send + 'static>(
        &mut self,
        call: impl FnOnce() -> FsResult<T> + Send + 'static,
    ) -> FsResult<T> {
        self.files.run(call).await
    }

    /// Has wasmtime do a call with one open file or directory.
    async fn delegate<T: Send + 'static>(
        &mut self,
        descriptor: &Resource<Descriptor>,
        call: impl AsyncFnOnce(&mut WasiFilesystemCtxView<'_>, Resource<Descriptor>) -> FsResult<T>
        + Send
        + 'static,
    ) -> FsResult<T> {
        let handle = self.handle(descriptor)?;
        self.run(move || on_this_thread(&handle, call)).await
    }

    /// Has wasmtime do a call that makes one name more in a directory.
    async fn delegate_making<T: Send + 'static>(
        &mut self,
        descriptor: &Resource<Descriptor>,
        call: impl AsyncFnOnce(&mut WasiFilesystemCtxView<'_>, Resource<Descriptor>) -> FsResult<T>
        + Send
        + 'static,
    ) -> FsResult<T> {
        let handle = self.handle(descriptor)?;
        self.run(move || {
            handle.files.charge_disk(NAME_BYTES)?;
            let done = on_this_thread(&handle, call);
            if done.is_err() {
                handle.files.free_disk(NAME_BYTES);
            }
            done
        })
        .await
    }
}

/// Has wasmtime do a call with one open file or directory, on this thread.
fn on_this_thread<T>(
    handle: &Handle,
    call: impl AsyncFnOnce(&mut WasiFilesystemCtxView<'_>, Resource<Descriptor>) -> FsResult<T>,
) -> FsResult<T> {
    let mut table = ResourceTable::new();
    let descriptor = table.push(handle.descriptor()?)?;
    let mut view = WasiFilesystemCtxView {
        ctx: &mut WasiFilesystemCtx::default(),
        table: &mut table,
    };
    let done = poll_noop(pin!(call(&mut view, descriptor)));
    done.ok_or_else(|| FsError::trap(wasmtime::format_err!("a call on a file has not returned")))?
}

impl preopens::Host for FilesystemView<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let files = Arc::clone(self.files);
        let granted = files.dirs().iter();
        granted
            .map(|GrantedDir { dir, guest }| {
                let handle = Handle::of_preopen(dir, &files);
                Ok((self.push(handle)?, guest.clone()))
            })
            .collect()
    }
}

impl types::Host for FilesystemView<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        let error = self.table.get(&error)?;
        Ok(error
            .downcast_ref::<StreamFailure>()
            .map(|failure| failure.0))
    }
}

/// Functions of a descriptor that wasmtime does, on one of the guest's threads.
macro_rules! delegated {
    ($how:ident: $(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(async fn $name(
            &mut self,
            fd: Resource<Descriptor>,
            $($argument: $type,)*
        ) -> FsResult<$result> {
            let call = async move |files: &mut WasiFilesystemCtxView<'_>, fd| {
                files.$name(fd, $($argument),*).await
            };
            self.$how(&fd, call).await
        })*
    };
}

impl HostDescriptor for FilesystemView<'_> {
    delegated! { delegate:
        fn advise(offset: Filesize, len: Filesize, advice: Advice) -> ();
        fn sync_data() -> ();
        fn get_flags() -> DescriptorFlags;
        fn get_type() -> DescriptorType;
        fn set_times(accessed: NewTimestamp, modified: NewTimestamp) -> ();
        fn sync() -> ();
        fn stat() -> DescriptorStat;
        fn stat_at(path_flags: PathFlags, path: String) -> DescriptorStat;
        fn set_times_at(path_flags: PathFlags, path: String, accessed: NewTimestamp, modified: NewTimestamp) -> ();
        fn readlink_at(path: String) -> String;
        fn metadata_hash() -> MetadataHashValue;
        fn metadata_hash_at(path_flags: PathFlags, path: String) -> MetadataHashValue;
    }

    delegated! { delegate_making:
        fn create_directory_at(path: String) -> ();
        fn symlink_at(target: String, path: String) -> ();
    }

    async fn set_size(&mut self, fd: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        let handle = self.handle(&fd)?;
        self.run(move || handle.set_size(size)).await
    }

    async fn read(
        &mut self,
        fd: Resource<Descriptor>,
        len: Filesize,
        offset: Filesize,
    ) -> FsResult<(Vec<u8>, bool)> {
        let handle = self.handle(&fd)?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let read = self
            .run(move || handle.read(len.min(MAX_READ_BYTES), offset))
            .await?;
        let is_at_end = read.is_empty();
        Ok((read, is_at_end))
    }

    async fn write(
        &mut self,
        fd: Resource<Descriptor>,
        bytes: Vec<u8>,
        offset: Filesize,
    ) -> FsResult<Filesize> {
        let handle = self.handle(&fd)?;
        let written = self.run(move || handle.write(&bytes, offset)).await?;
        Ok(written as Filesize)
    }

    async fn read_directory(
        &mut self,
        fd: Resource<Descriptor>,
    ) -> FsResult<Resource<ReaddirIterator>> {
        let handle = self.handle(&fd)?;
        let charge = self.files.descriptor()?;
        let entries = self
            .run(move || Entries::open(&handle.dir()?.dir, &handle.files, charge))
            .await?;
        let entries = self.table.push(entries)?;
        Ok(Resource::new_own(entries.rep()))
    }

    async fn link_at(
        &mut self,
        fd: Resource<Descriptor>,
        old_path_flags: PathFlags,
        old_path: String,
        new_descriptor: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        let to = self.handle(&new_descriptor)?;
        self.delegate_making(
            &fd,
            async move |files: &mut WasiFilesystemCtxView<'_>, fd| {
                let to = files.table.push(to.descriptor()?)?;
                files
                    .link_at(fd, old_path_flags, old_path, to, new_path)
                    .await
            },
        )
        .await
    }

    async fn open_at(
        &mut self,
        fd: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let handle = self.handle(&fd)?;
        let charge = self.files.descriptor()?;
        let request = OpenRequest {
            path_flags,
            path,
            open_flags,
            flags,
        };
        let opened = self
            .run(move || request.open(handle.dir()?, &handle.files, charge))
            .await?;
        Ok(self.push(opened)?)
    }

    fn drop(&mut self, fd: Resource<Descriptor>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Opened>::new_own(fd.rep()))?;
        Ok(())
    }

    async fn remove_directory_at(
        &mut self,
        fd: Resource<Descriptor>,
        path: String,
    ) -> FsResult<()> {
        self.delegate(
            &fd,
            async move |files: &mut WasiFilesystemCtxView<'_>, fd| {
                files.remove_directory_at(fd, path).await
            },
        )
        .await?;
        self.files.free_disk(NAME_BYTES);
        Ok(())
    }

    async fn rename_at(
        &mut self,
        fd: Resource<Descriptor>,
        old_path: String,
        new_fd: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        let (from, to) = (self.handle(&fd)?, self.handle(&new_fd)?);
        self.run(move || {
            // A file that is in the way loses its name.
            let _replaced = Doomed::find(&to, &new_path)?;
            let target = to.descriptor()?;
            on_this_thread(
                &from,
                async move |files: &mut WasiFilesystemCtxView<'_>, fd| {
                    let target = files.table.push(target)?;
                    files.rename_at(fd, old_path, target, new_path).await
                },
            )
        })
        .await
    }

    async fn unlink_file_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        let handle = self.handle(&fd)?;
        self.run(move || {
            let doomed = Doomed::find(&handle, &path)?;
            on_this_thread(
                &handle,
                async move |files: &mut WasiFilesystemCtxView<'_>, fd| {
                    files.unlink_file_at(fd, path).await
                },
            )?;
            doomed.count_down(&handle.files);
            Ok(())
        })
        .await
    }

    fn read_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynInputStream>> {
        let handle = self.handle(&fd)?;
        if handle.dir().is_ok() {
            return Err(ErrorCode::IsDirectory.into());
        }
        let stream = FileInput::new(handle, self.files.descriptor()?, offset);
        Ok(self.table.push(Box::new(stream) as DynInputStream)?)
    }

    fn write_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynOutputStream>> {
        self.output(&fd, Some(offset))
    }

    fn append_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
    ) -> FsResult<Resource<DynOutputStream>> {
        self.output(&fd, None)
    }

    async fn is_same_object(
        &mut self,
        a: Resource<Descriptor>,
        b: Resource<Descriptor>,
    ) -> wasmtime::Result<bool> {
        let b = self.handle(&b)?;
        let same = self.delegate(&a, async move |files: &mut WasiFilesystemCtxView<'_>, a| {
            let b = files.table.push(b.descriptor()?)?;
            files.is_same_object(a, b).await.map_err(FsError::trap)
        });
        Ok(same.await?)
    }
}

impl FilesystemView<'_> {
    fn output(
        &mut self,
        fd: &Resource<Descriptor>,
        position: Option<Filesize>,
    ) -> FsResult<Resource<DynOutputStream>> {
        let handle = self.handle(fd)?;
        handle.writable()?;
        let stream = FileOutput::new(handle, self.files.descriptor()?, position);
        Ok(self.table.push(Box::new(stream) as DynOutputStream)?)
    }
}

impl types::HostDirectoryEntryStream for FilesystemView<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<ReaddirIterator>,
    ) -> FsResult<Option<DirectoryEntry>> {
        let entries = Resource::<Entries>::new_borrow(stream.rep());
        self.table.get_mut(&entries)?.next().await
    }

    fn drop(&mut self, stream: Resource<ReaddirIterator>) -> wasmtime::Result<()> {
        self.table
            .delete(Resource::<Entries>::new_own(stream.rep()))?;
        Ok(())
    }
}
