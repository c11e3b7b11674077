//! Values ↔ bytes.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::Serializer;
use crate::error::Error;

/// Writes a value.
pub(crate) fn encode<T: Serialize + ?Sized>(
    serializer: Serializer,
    value: &T,
) -> Result<Bytes, Error> {
    match serializer {
        Serializer::Json => serde_json::to_vec(value).map_err(|error| error.to_string()),
        Serializer::Msgpack => rmp_serde::to_vec_named(value).map_err(|error| error.to_string()),
    }
    .map(Bytes::from)
    .map_err(|error| {
        Error::Invalid(format!(
            "the value cannot be written as {}: {error}",
            name(serializer)
        ))
    })
}

/// Reads a value. `what` names it, should it be none.
pub(crate) fn decode<T: DeserializeOwned>(
    serializer: Serializer,
    bytes: &[u8],
    what: impl FnOnce() -> String,
) -> Result<T, Error> {
    match serializer {
        Serializer::Json => serde_json::from_slice(bytes).map_err(|error| error.to_string()),
        Serializer::Msgpack => from_msgpack(bytes),
    }
    .map_err(|error| {
        Error::Invalid(format!(
            "{} is not the {} that was expected: {error}",
            what(),
            name(serializer)
        ))
    })
}

/// JSON would pass for a number, as each of its bytes is one, were it not for what follows: that must be nothing.
fn from_msgpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
    let value = T::deserialize(&mut reader).map_err(|error| error.to_string())?;
    // Only where nothing follows is there no marker to read.
    match bool::deserialize(&mut reader) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(value),
        _ => Err("more follows the value".to_owned()),
    }
}

const fn name(serializer: Serializer) -> &'static str {
    match serializer {
        Serializer::Json => "JSON",
        Serializer::Msgpack => "MessagePack",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_both_forms() {
        for serializer in [Serializer::Json, Serializer::Msgpack] {
            let bytes = encode(serializer, &("a", 1.5)).expect("bytes");
            assert_eq!(
                decode::<(String, f64)>(serializer, &bytes, || "it".into()).expect("a value"),
                ("a".into(), 1.5)
            );
        }
    }

    #[test]
    fn a_value_that_more_follows_after_is_none() {
        for (serializer, bytes) in [
            (Serializer::Json, &b"1 2"[..]),
            (Serializer::Msgpack, b"{\"a\":1}"),
            (Serializer::Msgpack, b"\x01\xc1"),
            (Serializer::Msgpack, b"\x01\xcd"),
        ] {
            decode::<u8>(serializer, bytes, || "it".into()).expect_err("more follows");
        }
    }

    #[test]
    fn what_is_no_value_is_named() {
        let error = decode::<u8>(Serializer::Json, b"{", || "the reply on 'a'".into())
            .expect_err("no value")
            .to_string();
        assert!(
            error.starts_with("the reply on 'a' is not the JSON"),
            "{error}"
        );
    }
}
