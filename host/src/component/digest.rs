//! What tells one component from another.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE;
use sha2::Digest as _;

/// The SHA-256 of a component's bytes: the same one is the same component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The digest as object stores write it.
    pub(crate) fn in_object_store(self) -> String {
        format!("SHA-256={}", BASE64_URL_SAFE.encode(self.0))
    }
}

#[cfg(test)]
impl Digest {
    /// A digest for tests that only tell digests apart.
    pub(crate) const fn fake(number: u8) -> Self {
        Self([number; 32])
    }
}
