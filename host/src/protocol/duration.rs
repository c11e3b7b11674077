//! Durations as Go programs write them: the Go connector's settings, and the TTL headers of other clients.

use std::time::Duration;

/// Reads what Go's `time.ParseDuration` takes, without signs: `1h30m`, `1.5s`. `None` if it is none.
/// <https://pkg.go.dev/time#ParseDuration>
pub(crate) fn parse_go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split(after, |c| !c.is_ascii_digit() && c != '.');
        seconds += number.parse::<f64>().ok()? * go_unit(unit)?;
        rest = after;
    }
    if text.is_empty() {
        None
    } else {
        Duration::try_from_secs_f64(seconds).ok()
    }
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

fn go_unit(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1e-9,
        "us" | "µs" | "μs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_as_go_reads_it() {
        for (text, millis) in [
            ("500ms", 500),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("1h0m0.25s", 3_600_250),
            ("0s", 0),
        ] {
            assert_eq!(
                parse_go_duration(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in ["", "5", "s", "1x", "1d", "-1s", "1..5s", "1e400h"] {
            assert_eq!(parse_go_duration(text), None, "{text}");
        }
    }
}
