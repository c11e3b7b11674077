//! The environment variables, as settings are read from them.

use std::ffi::OsString;

/// A lookup of an environment variable.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;
