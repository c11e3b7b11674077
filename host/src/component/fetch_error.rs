//! Errors of fetching a component.

use std::path::PathBuf;

use super::source::ComponentSource;

/// Errors of fetching a component's bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The file cannot be read: correct its path or its permissions.
    #[error("cannot read component {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The bucket has no such object: push it, or correct the name.
    #[error(
        "there is no object {component}: upload the component with `wharf push FILE.wasm {component}`, or correct the name"
    )]
    NoObject {
        /// The object's bucket and name.
        component: ComponentSource,
    },
    /// The server has no object store of that name: push the component, which makes it.
    #[error(
        "there is no object store {bucket:?} for {component}: `wharf push FILE.wasm {component}` creates it"
    )]
    NoBucket {
        /// The bucket.
        bucket: String,
        /// The object's bucket and name.
        component: ComponentSource,
    },
    /// The server does not give the object now: try again later, or look at its permissions.
    #[error(
        "cannot read {component}: check that the server can be reached, has JetStream, and lets this user read the \
         stream OBJ_{bucket}"
    )]
    Server {
        /// The bucket.
        bucket: String,
        /// The component's source.
        component: ComponentSource,
        /// The client's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file or object is larger than a component may be.
    #[error("{component} has {bytes} bytes, and a component may have {most}")]
    TooLarge {
        /// The component's source.
        component: ComponentSource,
        /// The component's size.
        bytes: u64,
        /// The most bytes that are read.
        most: u64,
    },
}
