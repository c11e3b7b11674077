//! The place that a guest's component comes from, as people write it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::protocol::bucket_rules::check_name;

const SCHEME: &str = "nats://";
const OBJECT: &str = "nats://BUCKET/NAME";

/// The most bytes of a component, wherever it comes from. Larger ones would fill the memory of every host that runs them.
pub(super) const MAX_COMPONENT_BYTES: u64 = 256 << 20;

/// The name becomes a part of a subject, which is longer by a third.
const MAX_NAME_BYTES: usize = 1024;

/// The place that a guest's component comes from.
///
/// A path becomes a file with [`From`], whatever it looks like. [`str::parse`] reads what people write: a path, or
/// `nats://BUCKET/NAME`.
///
/// ```
/// use wharf::config::ComponentSource;
///
/// let pushed: ComponentSource = "nats://plugins/quakes.wasm".parse()?;
/// assert_eq!(pushed, ComponentSource::Object { bucket: "plugins".into(), name: "quakes.wasm".into() });
/// assert_eq!("quakes.wasm".parse::<ComponentSource>()?, "quakes.wasm".into());
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ComponentSource {
    /// A file.
    File(PathBuf),
    /// An object of an object store, on the server that the host is connected to.
    Object {
        /// The object store's bucket.
        bucket: String,
        /// The object's name in it.
        name: String,
    },
}

impl fmt::Display for ComponentSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Object { bucket, name } => write!(f, "{SCHEME}{bucket}/{name}"),
        }
    }
}

/// As text.
impl serde::Serialize for ComponentSource {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for ComponentSource {
    type Err = String;

    /// Says in words what keeps the text from being one; the words continue a sentence that begins with the text.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err(format!("is neither a path nor {OBJECT}"));
        }
        if !text.starts_with(SCHEME) {
            return Ok(Self::File(text.into()));
        }
        let (bucket, name) = parse_object(text)?;
        Ok(Self::Object { bucket, name })
    }
}

/// Reads the bucket and the name from `nats://BUCKET/NAME`.
///
/// # Errors
/// Says in words what keeps the text from being that.
pub fn parse_object(text: &str) -> Result<(String, String), String> {
    let (bucket, name) = text
        .strip_prefix(SCHEME)
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(|| format!("is not {OBJECT}"))?;
    check_name(bucket).map_err(|reason| format!("is not {OBJECT}: {bucket:?} {reason}"))?;
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(|c: char| c.is_control()) {
        return Err(format!(
            "is not {OBJECT}: the name is 1 to {MAX_NAME_BYTES} bytes without control characters"
        ));
    }
    Ok((bucket.to_owned(), name.to_owned()))
}

impl From<PathBuf> for ComponentSource {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&Path> for ComponentSource {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl From<&str> for ComponentSource {
    fn from(path: &str) -> Self {
        Self::File(path.into())
    }
}

impl From<String> for ComponentSource {
    fn from(path: String) -> Self {
        Self::File(path.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_a_path_or_an_object_and_is_written_as_it_was_read() {
        for text in [
            "a.wasm",
            "/a/b.wasm",
            "nats:x",
            "nats://b/n.wasm",
            "nats://b/deep/er n.wasm",
        ] {
            let source: ComponentSource = text.parse().expect(text);
            assert_eq!(source.to_string(), text);
            assert_eq!(
                matches!(source, ComponentSource::Object { .. }),
                text.starts_with("nats://")
            );
        }
        let long = format!("nats://b/{}", "n".repeat(1025));
        for bad in [
            "",
            "nats://",
            "nats://b",
            "nats://b/",
            "nats:///n",
            "nats://b.c/n",
            "nats://b/n\n",
            &long,
        ] {
            assert!(bad.parse::<ComponentSource>().is_err(), "{bad}");
        }
    }
}
