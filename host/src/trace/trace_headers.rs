//! `traceparent` and `tracestate`, as messages carry them. <https://www.w3.org/TR/trace-context/>

use std::str::FromStr;

use async_nats::HeaderMap;
use async_nats::header::{HeaderName, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";

/// The most bytes of a `tracestate` that is passed on, as it goes with everything that a guest sends. The standard asks for
/// 512 at least. <https://www.w3.org/TR/trace-context/#tracestate-limits>
const MAX_STATE_BYTES: usize = 512;

/// The headers that put what a guest sends into the trace of the message in flight.
#[derive(Clone)]
pub(crate) struct TraceHeaders {
    /// The value of `traceparent`: the trace, and the span in it that the guest's messages come from.
    parent: HeaderValue,
    /// The value of `tracestate`, passed on from the message in hand. None if that had none.
    state: Option<HeaderValue>,
}

impl TraceHeaders {
    pub(super) fn new(context: &SpanContext) -> Self {
        let (trace, span) = (context.trace_id(), context.span_id());
        let parent = format!("00-{trace}-{span}-{:02x}", context.trace_flags());
        let state = context.trace_state().header();
        Self {
            // Digits and dashes are a value.
            parent: parent.parse().unwrap_or_default(),
            state: state.parse().ok().filter(|_| !state.is_empty()),
        }
    }

    /// The header fields that go with a message, which must have none of these names.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let parent = (HeaderName::from_static(PARENT), self.parent.clone());
        let state = self.state.clone();
        let state = state.map(|state| (HeaderName::from_static(STATE), state));
        std::iter::once(parent).chain(state)
    }
}

/// Whether a header says which trace a message belongs to. Some clients write these names with capitals.
pub(crate) fn is_trace_header(name: &str) -> bool {
    name.eq_ignore_ascii_case(PARENT) || name.eq_ignore_ascii_case(STATE)
}

/// The sender's span. `None` if the headers name none, or not as the standard says.
pub(super) fn remote_parent(headers: &HeaderMap) -> Option<SpanContext> {
    let (trace, span, flags) = parse(&only(headers, PARENT)?)?;
    let state = only(headers, STATE).filter(|state| state.len() <= MAX_STATE_BYTES);
    let state = state
        .and_then(|state| TraceState::from_str(&state).ok())
        .unwrap_or_default();
    Some(SpanContext::new(trace, span, flags, true, state)).filter(SpanContext::is_valid)
}

/// The values of a header, as one.
fn only(headers: &HeaderMap, wanted: &str) -> Option<String> {
    let named = headers
        .iter()
        .filter(|(name, _)| name.to_string().eq_ignore_ascii_case(wanted));
    let values: Vec<&str> = named
        .flat_map(|(_, values)| values)
        .map(HeaderValue::as_str)
        .collect();
    (!values.is_empty()).then(|| values.join(","))
}

fn parse(parent: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let mut parts = parent.trim().split('-');
    let mut part = |digits| hex(parts.next()?, digits);
    let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    // A later version may say more than this one; it may not be the one that stands for none.
    if version == 0xff || (version == 0 && parts.next().is_some()) {
        return None;
    }
    let is_sampled = flags & 1 == 1;
    let flags = if is_sampled {
        TraceFlags::SAMPLED
    } else {
        TraceFlags::NOT_SAMPLED
    };
    Some((
        TraceId::from(trace),
        SpanId::from(u64::try_from(span).ok()?),
        flags,
    ))
}

/// So many digits, all small letters.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = text
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if text.len() == digits && is_hex {
        u128::from_str_radix(text, 16).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers;

    const PARENT_TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(headers: &[(&str, &str)]) -> Option<SpanContext> {
        let owned = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let map = headers::to_wire(owned.collect(), None).expect("headers");
        remote_parent(&map?)
    }

    fn written(context: &SpanContext) -> HeaderMap {
        let headers = headers::to_wire(Vec::new(), Some(&TraceHeaders::new(context)));
        headers.expect("headers").expect("some")
    }

    #[test]
    fn a_parent_is_read_and_written_the_same() {
        let context = of(&[
            ("Traceparent", PARENT_TEXT),
            ("TraceState", "a=1"),
            ("tracestate", "b=2"),
        ]);
        let map = written(&context.expect("valid"));
        assert_eq!(map.get(PARENT).map(HeaderValue::as_str), Some(PARENT_TEXT));
        let mut state: Vec<&str> = map
            .get(STATE)
            .map(HeaderValue::as_str)
            .unwrap_or("")
            .split(',')
            .collect();
        state.sort_unstable();
        assert_eq!(state, ["a=1", "b=2"]);
    }

    #[test]
    fn a_later_version_and_other_flags_are_read_as_far_as_they_are_known() {
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-more";
        let context = of(&[(PARENT, later), (STATE, "not a state")]).expect("valid");
        let map = written(&context);
        assert_eq!(map.get(PARENT).map(HeaderValue::as_str), Some(PARENT_TEXT));
        assert_eq!(map.get(STATE), None);
    }

    #[test]
    fn what_is_no_parent_is_none() {
        for bad in [
            "",
            "00",
            "00-1-1-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ] {
            assert!(of(&[(PARENT, bad)]).is_none(), "{bad}");
        }
        assert!(
            of(&[(PARENT, PARENT_TEXT), ("TraceParent", PARENT_TEXT)]).is_none(),
            "two are none"
        );
        assert!(of(&[(STATE, "a=1")]).is_none());
    }
}
