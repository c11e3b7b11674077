//! The reply subject of a message that a stream's consumer delivers: where the message stands.

/// A message's place, as its consumer says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AckPosition {
    /// The message's number in the stream.
    pub(crate) sequence: u64,
    /// The consumer's number of the message, counted from 1.
    pub(crate) number: u64,
}

/// Reads a message's place out of its reply subject:
/// `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<deliveries>.<sequence>.<number>.<time>.<pending>[.<random>]`.
pub(crate) fn ack_position(reply: &str) -> Option<AckPosition> {
    let tokens = reply.strip_prefix("$JS.ACK.")?;
    let stream = if tokens.split('.').count() > 7 { 2 } else { 0 };
    let mut tokens = tokens.split('.').skip(stream + 3);
    Some(AckPosition {
        sequence: tokens.next()?.parse().ok()?,
        number: tokens.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_where_it_stands_in_both_forms() {
        let position = Some(AckPosition {
            sequence: 50,
            number: 7,
        });
        for reply in [
            "$JS.ACK.KV_b.c.1.50.7.1700000000000000000.3",
            "$JS.ACK._.hash.KV_b.c.1.50.7.1700000000000000000.3.rnd",
            "$JS.ACK._.hash.KV_b.c.1.50.7.1700000000000000000.3",
        ] {
            assert_eq!(ack_position(reply), position, "{reply}");
        }
        assert_eq!(ack_position("_INBOX.x"), None);
        assert_eq!(ack_position("$JS.ACK.a.b"), None);
    }
}
