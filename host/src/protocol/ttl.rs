//! Times to live of messages and values: as they are asked for, and as a stored message says.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::duration::parse_go_duration;
use crate::error::Error;

/// Servers count in nanoseconds in 64 bits; a hundred years stay well within.
const MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// A value's TTL as servers take it: whole seconds, at least one. Rounded up, so that no value leaves early.
///
/// # Errors
/// `Invalid` where it is longer than a hundred years.
pub(crate) fn value_ttl_seconds(ttl: Duration) -> Result<u64, Error> {
    if ttl > MAX {
        return Err(Error::Invalid(
            "a TTL of more than a hundred years: leave it out, and the value does not expire by itself"
                .to_owned(),
        ));
    }
    Ok(ttl_seconds(ttl))
}

/// A message's TTL as servers take it: whole seconds, at least one. Rounded up, so that no message leaves early.
pub(crate) fn ttl_seconds(ttl: Duration) -> u64 {
    ttl.as_secs()
        .saturating_add(u64::from(ttl.subsec_nanos() > 0))
        .max(1)
}

/// Checks a TTL that a guest asks for: the server counts in whole seconds and refuses less than one.
///
/// # Errors
/// `Invalid` where it is shorter than a second.
pub(crate) fn check_message_ttl(ttl: Duration) -> Result<(), Error> {
    if ttl < Duration::from_secs(1) {
        let millis = ttl.as_millis();
        return Err(Error::Invalid(format!(
            "a time to live is at least 1000 ms, not {millis}"
        )));
    }
    Ok(())
}

/// Reads a `Nats-TTL` header. Other clients write it the way Go prints a duration (`1h0m0s`), and servers leave out
/// what is less than a second. None is for ever.
pub(crate) fn parse(header: &str) -> Option<Duration> {
    if let Ok(seconds) = header.parse() {
        return Some(Duration::from_secs(seconds));
    }
    parse_go_duration(header)
        .map(|ttl| Duration::from_secs(ttl.as_secs()))
        .filter(|ttl| !ttl.is_zero())
}

/// A duration in nanoseconds, the unit of servers' timestamps.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Now by this host's clock, in nanoseconds since the Unix epoch.
pub(crate) fn now_nanos() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_is_rounded_up_to_value_ttl_seconds() {
        let seconds =
            [0, 1, 999, 1000, 1001, 2500].map(|ms| ttl_seconds(Duration::from_millis(ms)));
        assert_eq!(seconds, [1, 1, 1, 1, 2, 3]);
    }

    #[test]
    fn a_ttl_is_rounded_up_to_value_ttl_seconds() {
        for (millis, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (60_000, 60)] {
            assert_eq!(
                value_ttl_seconds(Duration::from_millis(millis)),
                Ok(seconds),
                "{millis} ms"
            );
        }
        assert!(matches!(
            value_ttl_seconds(Duration::MAX),
            Err(Error::Invalid(_))
        ));
    }

    #[test]
    fn a_header_is_read_as_servers_read_it() {
        for (header, seconds) in [
            ("5", 5),
            ("5s", 5),
            ("1m0s", 60),
            ("1h30m1.5s", 5401),
            ("1500ms", 1),
        ] {
            assert_eq!(
                parse(header),
                Some(Duration::from_secs(seconds)),
                "{header}"
            );
        }
        for header in ["never", "", "soon", "5x", "1ns"] {
            assert_eq!(parse(header), None, "{header}");
        }
    }
}
