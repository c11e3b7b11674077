//! Lines in the host's log, at their level, under this guest's name.
//!
//! They go to stderr, where `eprintln!` writes too, in one write each.
//!
//! ```
//! use wharf_guest::log;
//!
//! let (id, mag) = ("us1000chhc", 6.4);
//! log::info!("{id} has magnitude {mag}");
//! ```

use std::fmt;
use std::io::{self, Write as _};

#[doc(inline)]
pub use crate::{__debug as debug, __error as error, __info as info, __warn as warn};

/// Writes a line at once: stderr is not buffered, and each write is a call to the host.
#[doc(hidden)]
pub fn line(level: &str, text: fmt::Arguments<'_>) {
    let line = format!("{level}: {text}\n");
    // A host that takes no log lines is no reason to fail a message.
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// Writes a line for whoever looks for a fault.
#[doc(hidden)]
#[macro_export]
macro_rules! __debug {
    ($($text:tt)*) => { $crate::log::line("debug", ::core::format_args!($($text)*)) };
}

/// Writes a line about something that happened as it should.
#[doc(hidden)]
#[macro_export]
macro_rules! __info {
    ($($text:tt)*) => { $crate::log::line("info", ::core::format_args!($($text)*)) };
}

/// Writes a line about something that should not happen, and did no harm.
#[doc(hidden)]
#[macro_export]
macro_rules! __warn {
    ($($text:tt)*) => { $crate::log::line("warn", ::core::format_args!($($text)*)) };
}

/// Writes a line about something that should not happen.
#[doc(hidden)]
#[macro_export]
macro_rules! __error {
    ($($text:tt)*) => { $crate::log::line("error", ::core::format_args!($($text)*)) };
}
