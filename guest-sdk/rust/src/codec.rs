//! Values as payloads, and payloads as values.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt::Display;

use serde::{Deserialize, Serialize};

use crate::error::{CallError, CodecError};

/// Formats of values where neither the call nor the type names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serializer {
    /// JSON.
    Json,
    /// MessagePack, with the names of fields.
    Msgpack,
}

/// The setting in which the host names the format for guests that do not choose one.
const HOST_SETTING: &str = "wharf.serializer";

thread_local! {
    /// The host is asked once in an instance's life: its settings do not change under a guest.
    static CHOSEN: OnceCell<Serializer> = const { OnceCell::new() };
}

/// The format that this guest writes and reads by default: MessagePack if it is built with the feature `msgpack`,
/// otherwise the one that its host is set to, otherwise JSON.
///
/// # Errors
/// If the host cannot say what it is set to, or names a format that this SDK does not know.
pub fn serializer() -> Result<Serializer, CallError> {
    if let Some(chosen) = CHOSEN.with(|cell| cell.get().copied()) {
        return Ok(chosen);
    }
    let chosen = choose()?;
    Ok(CHOSEN.with(|cell| *cell.get_or_init(|| chosen)))
}

fn choose() -> Result<Serializer, CallError> {
    // A guest's own tests run where there is no host.
    if cfg!(feature = "msgpack") {
        return Ok(Serializer::Msgpack);
    }
    if cfg!(not(target_arch = "wasm32")) {
        return Ok(Serializer::Json);
    }
    match crate::config::get(HOST_SETTING)?.as_deref() {
        None | Some("json") => Ok(Serializer::Json),
        Some("msgpack") => Ok(Serializer::Msgpack),
        Some(other) => Err(CallError::Unsupported(format!(
            "serializer `{other}`: this guest knows json and msgpack"
        ))),
    }
}

/// Types that can be written as a payload: every type that serde can serialize, and [`Json`], [`Msgpack`] and [`Raw`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be written as a payload",
    note = "derive `serde::Serialize` for it, or wrap bytes in `Raw`"
)]
pub trait Encode {
    /// Writes the value.
    ///
    /// # Errors
    /// If the format cannot hold it, such as a JSON object with keys that are no strings.
    fn encode(&self) -> Result<Cow<'_, [u8]>, CallError>;
}

/// Types that a payload can be read as: every type that serde can deserialize, and [`Json`], [`Msgpack`] and [`Raw`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from a payload",
    note = "derive `serde::Deserialize` for it, or take the bytes as `Raw`"
)]
pub trait Decode<'a>: Sized {
    /// Reads a value.
    ///
    /// # Errors
    /// If the payload is not such a value.
    fn decode(payload: &'a [u8]) -> Result<Self, CallError>;
}

/// JSON, whatever the default is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// MessagePack, whatever the default is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msgpack<T>(pub T);

/// Bytes as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<T = Vec<u8>>(pub T);

impl<T: Serialize + ?Sized> Encode for T {
    fn encode(&self) -> Result<Cow<'_, [u8]>, CallError> {
        match serializer()? {
            Serializer::Json => to_json(self),
            Serializer::Msgpack => to_msgpack(self),
        }
    }
}

impl<T: Serialize> Encode for Json<T> {
    fn encode(&self) -> Result<Cow<'_, [u8]>, CallError> {
        to_json(&self.0)
    }
}

impl<T: Serialize> Encode for Msgpack<T> {
    fn encode(&self) -> Result<Cow<'_, [u8]>, CallError> {
        to_msgpack(&self.0)
    }
}

impl<T: AsRef<[u8]>> Encode for Raw<T> {
    fn encode(&self) -> Result<Cow<'_, [u8]>, CallError> {
        Ok(Cow::Borrowed(self.0.as_ref()))
    }
}

impl<'a, T: Deserialize<'a>> Decode<'a> for T {
    fn decode(payload: &'a [u8]) -> Result<Self, CallError> {
        match serializer()? {
            Serializer::Json => from_json(payload),
            Serializer::Msgpack => from_msgpack(payload),
        }
    }
}

impl<'a, T: Deserialize<'a>> Decode<'a> for Json<T> {
    fn decode(payload: &'a [u8]) -> Result<Self, CallError> {
        from_json(payload).map(Self)
    }
}

impl<'a, T: Deserialize<'a>> Decode<'a> for Msgpack<T> {
    fn decode(payload: &'a [u8]) -> Result<Self, CallError> {
        from_msgpack(payload).map(Self)
    }
}

impl<'a, T: From<&'a [u8]>> Decode<'a> for Raw<T> {
    fn decode(payload: &'a [u8]) -> Result<Self, CallError> {
        Ok(Self(T::from(payload)))
    }
}

fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<Cow<'_, [u8]>, CallError> {
    match serde_json::to_vec(value) {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) => Err(CodecError::new("write it as", "JSON", error).into()),
    }
}

fn to_msgpack<T: Serialize + ?Sized>(value: &T) -> Result<Cow<'_, [u8]>, CallError> {
    match rmp_serde::to_vec_named(value) {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) => Err(CodecError::new("write it as", "MessagePack", error).into()),
    }
}

fn from_json<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, CallError> {
    serde_json::from_slice(payload)
        .map_err(|error| CodecError::new("read the payload as", "JSON", error).into())
}

fn from_msgpack<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, CallError> {
    let wrong = |cause: &dyn Display| CodecError::new("read the payload as", "MessagePack", cause);
    let mut reader = rmp_serde::Deserializer::from_read_ref(payload);
    let value = T::deserialize(&mut reader).map_err(|error| wrong(&error))?;
    // Without a look at what follows, JSON would pass for a number: each of its bytes is one. Only where nothing
    // follows is there no marker to read.
    match bool::deserialize(&mut reader) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(value),
        _ => Err(wrong(&"more follows the value").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Order<'a> {
        id: &'a str,
        count: u32,
    }

    const ORDER: Order<'static> = Order { id: "a7", count: 3 };

    #[test]
    #[cfg(not(feature = "msgpack"))]
    fn the_default_is_json() {
        let payload = ORDER.encode().expect("encodes");
        assert_eq!(*payload, *br#"{"id":"a7","count":3}"#);
        assert_eq!(Order::decode(&payload), Ok(ORDER));
    }

    #[test]
    #[cfg(feature = "msgpack")]
    fn the_feature_makes_messagepack_the_default() {
        assert_eq!(ORDER.encode(), Msgpack(ORDER).encode());
    }

    #[test]
    fn messagepack_keeps_the_names_of_fields() {
        let message = Msgpack(ORDER);
        let payload = message.encode().expect("encodes");
        assert_eq!(*payload, *b"\x82\xa2id\xa2a7\xa5count\x03");
        assert_eq!(Msgpack::<Order<'_>>::decode(&payload), Ok(Msgpack(ORDER)));
    }

    #[test]
    fn messagepack_is_one_value_and_nothing_more() {
        for payload in [&b"{}"[..], b"41", b"\x07\x92", b"\x07\xc1"] {
            let error = Msgpack::<u8>::decode(payload).expect_err("more than one byte");
            assert_eq!(
                error.to_string(),
                "cannot read the payload as MessagePack: more follows the value"
            );
        }
        assert_eq!(Msgpack::<u8>::decode(b"\x07"), Ok(Msgpack(7)));
        assert_eq!(Msgpack::<Option<u8>>::decode(b"\xc0"), Ok(Msgpack(None)));
    }

    #[test]
    fn raw_bytes_are_left_alone() {
        assert!(matches!(
            Raw(b"\xff\0").encode(),
            Ok(Cow::Borrowed(b"\xff\0"))
        ));
        assert_eq!(Raw::decode(b"\xff\0"), Ok(Raw(vec![0xff, 0])));
    }

    #[test]
    fn a_payload_of_another_type_says_what_is_wrong() {
        let error = Json::<Order<'_>>::decode(br#"{"id":"a7"}"#).expect_err("has no count");
        assert_eq!(
            error.to_string(),
            "cannot read the payload as JSON: missing field `count` at line 1 column 11"
        );
    }
}
