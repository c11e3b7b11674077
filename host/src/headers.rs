//! Headers, as guests write them and as they travel.

use async_nats::header::{HeaderMap, HeaderName, HeaderValue};

use crate::error::Error;
use crate::protocol::reserved::is_reserved_header;
use crate::trace::{TraceHeaders, is_trace_header};

/// Headers as they travel. Those by which the server takes orders are left out, so that a guest can pass on the headers
/// of a message as they came. In a trace, where the message belongs in it is the host's to say.
pub(crate) fn to_wire(
    headers: Vec<(String, String)>,
    trace: Option<&TraceHeaders>,
) -> Result<Option<HeaderMap>, Error> {
    if headers.is_empty() && trace.is_none() {
        return Ok(None);
    }
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        if is_reserved_header(&name) || (trace.is_some() && is_trace_header(&name)) {
            continue;
        }
        let bad = |why: String| Error::Invalid(format!("header {name:?}: {why}"));
        let field: HeaderName = name
            .parse()
            .map_err(|_| bad("a name is printable ASCII without a colon".into()))?;
        let value: HeaderValue = value
            .parse()
            .map_err(|_| bad("a value has no line breaks".into()))?;
        map.append(field, value);
    }
    if let Some(trace) = trace {
        trace.add_to(&mut map);
    }
    Ok((!map.is_empty()).then_some(map))
}

/// Headers as guests read them.
pub(crate) fn from_wire(headers: Option<&HeaderMap>) -> Vec<(String, String)> {
    let Some(headers) = headers else {
        return Vec::new();
    };
    headers
        .iter()
        .flat_map(|(name, values)| {
            values
                .iter()
                .map(move |value| (name.to_string(), value.to_string()))
        })
        .collect()
}
