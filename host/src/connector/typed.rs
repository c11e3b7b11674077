//! Values ↔ bytes.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::config::Serializer;

/// Writes a value.
pub(crate) fn encode<T: Serialize + ?Sized>(serializer: Serializer, value: &T) -> Result<Bytes, Error> {
    match serializer {
        Serializer::Json => serde_json::to_vec(value).map_err(|error| error.to_string()),
        Serializer::Msgpack => rmp_serde::to_vec_named(value).map_err(|error| error.to_string()),
    }
    .map(Bytes::from)
    .map_err(|error| Error::Invalid(format!("the value cannot be written as {}: {error}", name(serializer))))
}

/// Reads a value. `what` names it, should it be none.
pub(crate) fn decode<T: DeserializeOwned>(
    serializer: Serializer,
    bytes: &[u8],
    what: impl FnOnce() -> String,
) -> Result<T, Error> {
    match serializer {
        Serializer::Json => serde_json::from_slice(bytes).map_err(|error| error.to_string()),
        Serializer::Msgpack => rmp_serde::from_slice(bytes).map_err(|error| error.to_string()),
    }
    .map_err(|error| {
        Error::Invalid(format!("{} is not the {} that was expected: {error}", what(), name(serializer)))
    })
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
    fn what_is_no_value_is_named() {
        let error = decode::<u8>(Serializer::Json, b"{", || "the reply on 'a'".into())
            .expect_err("no value")
            .to_string();
        assert!(error.starts_with("the reply on 'a' is not the JSON"), "{error}");
    }
}
