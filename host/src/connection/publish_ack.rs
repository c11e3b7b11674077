//! A stream's acknowledgement of a publish, and its refusals.

use serde::Deserialize;

use crate::error::Error;

/// An acknowledgement: a stream has stored a message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct PublishAck {
    /// The stream's name.
    pub stream: String,
    /// The message's sequence number in the stream.
    #[serde(rename = "seq")]
    pub sequence: u64,
    /// The message had been stored before, under the same message id.
    #[serde(default)]
    pub duplicate: bool,
}

/// A stream's refusal of a message.
#[derive(Deserialize)]
struct ErrorResponse {
    /// The reason.
    error: ApiError,
}

/// An error as the JetStream API writes it.
#[derive(Deserialize)]
struct ApiError {
    /// The kind of error, as an HTTP status.
    code: u16,
    /// The server's own number of the error. 0 if it gives none.
    #[serde(default)]
    err_code: u32,
    /// The server's words for the error.
    #[serde(default)]
    description: String,
}

/// The server's numbers of the errors that are told apart here.
/// <https://github.com/nats-io/nats-server/blob/main/server/errors.json>
mod code {
    pub(super) const WRONG_LAST_SEQUENCE: u32 = 10071;
    pub(super) const WRONG_LAST_SEQUENCE_IN_CLUSTER: u32 = 10164;
    pub(super) const WRONG_LAST_MESSAGE_ID: u32 = 10070;
    pub(super) const TTL_NOT_VALID: u32 = 10165;
    pub(super) const TTL_NOT_ENABLED: u32 = 10166;
    /// HTTP's number: the stream has no leader, or the server no resources.
    pub(super) const SERVICE_UNAVAILABLE: u16 = 503;
}

/// Reads a stream's answer to a message that was published on this subject.
///
/// # Errors
/// `Conflict`, `Invalid`, `Unsupported` or `Unavailable` as the stream says, `Failed` for all else.
pub(super) fn acknowledged(subject: &str, answer: &[u8]) -> Result<PublishAck, Error> {
    if let Ok(ErrorResponse { error }) = serde_json::from_slice(answer) {
        return Err(refusal(error));
    }
    serde_json::from_slice(answer).map_err(|error| {
        Error::Failed(format!(
            "what answered on '{subject}' is not a stream ({error})"
        ))
    })
}

/// The error that a stream's refusal becomes.
fn refusal(error: ApiError) -> Error {
    match error.err_code {
        code::WRONG_LAST_SEQUENCE
        | code::WRONG_LAST_SEQUENCE_IN_CLUSTER
        | code::WRONG_LAST_MESSAGE_ID => Error::Conflict,
        code::TTL_NOT_VALID => Error::Invalid(error.description),
        code::TTL_NOT_ENABLED => Error::Unsupported(error.description),
        _ if error.code == code::SERVICE_UNAVAILABLE => Error::Unavailable(error.description),
        _ => Error::Failed(error.description),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_read() {
        let ack = acknowledged("s", br#"{"stream":"S","seq":7,"duplicate":true}"#).expect("an ack");
        assert_eq!(
            ack,
            PublishAck {
                stream: "S".into(),
                sequence: 7,
                duplicate: true
            }
        );
        assert!(
            !acknowledged("s", br#"{"stream":"S","seq":8}"#)
                .expect("an ack")
                .duplicate
        );
    }

    #[test]
    fn refusals_are_told_apart() {
        let refused = |code: u16, err_code: u32| {
            let answer = format!(
                r#"{{"error":{{"code":{code},"err_code":{err_code},"description":"words"}},"stream":"S","seq":0}}"#
            );
            acknowledged("s", answer.as_bytes()).expect_err("a refusal")
        };
        assert_eq!(refused(400, 10071), Error::Conflict);
        assert_eq!(refused(400, 10164), Error::Conflict);
        assert_eq!(refused(400, 10165), Error::Invalid("words".into()));
        assert_eq!(refused(400, 10166), Error::Unsupported("words".into()));
        assert_eq!(refused(503, 10077), Error::Unavailable("words".into()));
        assert_eq!(refused(400, 10060), Error::Failed("words".into()));
        assert!(
            matches!(acknowledged("s", b"hello"), Err(Error::Failed(text)) if text.contains("not a stream"))
        );
    }
}
