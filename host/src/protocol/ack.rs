//! The reply subject of a message that a stream's consumer delivers: where the message stands.

/// The consumer's number of a message, and how many come after it:
/// `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<deliveries>.<sequence>.<number>.<time>.<pending>[.<random>]`.
pub(crate) fn ack_position(reply: &str) -> Option<(u64, u64)> {
    let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
    let stream = if tokens.len() > 7 { 2 } else { 0 };
    Some((
        tokens.get(stream + 4)?.parse().ok()?,
        tokens.get(stream + 6)?.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_its_number_and_how_many_follow_in_both_forms() {
        assert_eq!(
            ack_position("$JS.ACK.KV_b.c.1.50.7.1700000000000000000.3"),
            Some((7, 3))
        );
        assert_eq!(
            ack_position("$JS.ACK._.hash.KV_b.c.1.50.7.1700000000000000000.3.rnd"),
            Some((7, 3))
        );
        assert_eq!(
            ack_position("$JS.ACK._.hash.KV_b.c.1.50.7.1700000000000000000.3"),
            Some((7, 3))
        );
        assert_eq!(ack_position("_INBOX.x"), None);
    }
}
