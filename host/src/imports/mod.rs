//! The interfaces that guests import from the host, one file for each: a translation between WIT and `ops.rs`, which asks
//! the policy and uses the connection. A guest's mistake is an error that it gets; only a broken promise of ours is a trap.
//!
//! | file | what |
//! |---|---|
//! | `offered.rs` | the table of what is offered, and the linker's part of it |
//! | `pubsub.rs`, `jetstream.rs`, `keyvalue.rs` | the interfaces of `wit/` |
//! | `filesystem/` | `wasi:filesystem`, bounded |
//! | `http.rs` | `wasi:http`, which some languages import unasked |
//! | `ops.rs` | operations of guests, without WIT: policy, then NATS |
//! | `import_context.rs` | what the imports of an instance may use |
//! | `wit_error.rs` | errors as WIT has them |
//! | `bindings.rs` | `wit/` as Rust; generated |

mod bindings;
mod filesystem;
pub(crate) mod http;
mod import_context;
mod jetstream;
mod keyvalue;
pub(crate) mod offered;
mod ops;
mod pubsub;
mod wit_error;

pub use filesystem::GrantError;
pub(crate) use filesystem::{FileThreads, FilesystemView, GrantedDir, GuestFiles};
pub(crate) use import_context::{Ctx, CtxView, ImportContext};
