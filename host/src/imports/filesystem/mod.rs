//! `wasi:filesystem`: a guest's directories, which were opened when it was loaded, and bounds on all that it opens there.
//!
//! What the system is asked, and which errors that gives, is wasmtime's affair; here it is decided who waits for it where, and
//! what it costs. Each call runs on one of the guest's own threads.
//!
//! | file | what |
//! |---|---|
//! | `view.rs` | the interfaces' functions |
//! | `open.rs` | opening a path, so that nothing waits for anybody but a disk |
//! | `granted_dir.rs` | directories that a guest is granted, opened once |
//! | `guest_files.rs` | one version's directories and bounds |
//! | `descriptors.rs` | descriptors, of a guest and of all guests |
//! | `file_handle.rs` | a file or directory that is open, and how a file grows |
//! | `entries.rs` | a directory's entries, some at a time |
//! | `streams.rs` | files as streams |
//! | `removal.rs` | names that go, and what that frees |
//! | `inodes.rs` | files that are open somewhere, for the count of bytes on disk |
//! | `file_threads.rs` | the threads of one guest that wait for disks |

mod descriptors;
mod entries;
mod file_handle;
mod file_threads;
mod granted_dir;
mod guest_files;
mod inodes;
mod open;
mod removal;
mod streams;
mod view;

pub(crate) use file_threads::FileThreads;
pub use granted_dir::GrantError;
pub(crate) use granted_dir::GrantedDir;
pub(crate) use guest_files::GuestFiles;
pub(crate) use view::{FilesystemView, link};

/// All that waits for a disk is called on a thread that is there for it.
const ON_THIS_THREAD: bool = true;
