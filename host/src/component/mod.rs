//! Components before they are guests: the places that they come from, their bytes, and news of what is pushed there.
//!
//! | file | what |
//! |---|---|
//! | `source.rs` | the place that a component comes from, as people write it |
//! | `digest.rs` | what tells one component from another |
//! | `fetch.rs`, `object.rs` | a source → bytes |
//! | `object_store.rs` | requests about an object store |
//! | `follow.rs` | news of what is pushed to the sources that guests use |
//! | `fetch_error.rs` | errors of fetching |

mod digest;
mod fetch;
mod fetch_error;
mod follow;
mod object;
mod object_store;
mod source;

pub(crate) use digest::Digest;
pub(crate) use fetch::{Fetched, fetch, fetch_file, read_file};
pub use fetch_error::FetchError;
pub use follow::ComponentChanges;
pub(crate) use follow::RunningObject;
pub use source::{ComponentSource, parse_object};
