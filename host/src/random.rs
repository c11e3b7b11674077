//! Random numbers that nobody outside can guess.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// The number of characters of a [`Token`]: 128 bits, six in each.
const TOKEN_CHARACTERS: usize = 22;

/// A number of 128 bits, from the thread's own cryptographic generator, which takes its seed from the system.
///
/// Written as text a token is one token of a subject. Tokens seen say nothing of the next one: a counter, or a NUID, which
/// adds the same amount each time, would tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Token(u128);

impl Token {
    /// The first of all tokens, in their order.
    pub(crate) const FIRST: Self = Self(0);

    /// A token that nobody can guess.
    pub(crate) fn new() -> Self {
        Self(rand::random())
    }

    #[cfg(test)]
    pub(crate) const fn from_bytes(bytes: [u8; size_of::<u128>()]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    #[cfg(test)]
    pub(crate) const fn to_bytes(self) -> [u8; size_of::<u128>()] {
        self.0.to_be_bytes()
    }

    /// Parses the text of a token, as `Display` writes it. `None` for all other text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; size_of::<u128>()];
        let written = BASE64_URL_SAFE_NO_PAD
            .decode_slice_unchecked(text.get(..TOKEN_CHARACTERS)?, &mut bytes);
        let is_whole = text.len() == TOKEN_CHARACTERS && written == Ok(bytes.len());
        is_whole.then(|| Self(u128::from_be_bytes(bytes)))
    }

    /// Appends the token to the text.
    pub(crate) fn push_to(self, text: &mut String) {
        BASE64_URL_SAFE_NO_PAD.encode_string(self.0.to_be_bytes(), text);
    }
}

impl fmt::Display for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(TOKEN_CHARACTERS);
        self.push_to(&mut text);
        formatter.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_nothing_else_is_one() {
        let token = Token::new();
        let text = token.to_string();
        assert_eq!(text.len(), TOKEN_CHARACTERS);
        assert_eq!(Token::parse(&text), Some(token));
        for bad in [
            "",
            "7",
            &text[1..],
            &format!("{text}A"),
            "äöüäöüäöüäö",
            "AAAAAAAAAAAAAAAAAAAAA+",
            // The last character holds two bits only.
            "AAAAAAAAAAAAAAAAAAAAAB",
        ] {
            assert_eq!(Token::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_token_is_one_token_of_a_subject() {
        for _ in 0..1000 {
            let text = Token::new().to_string();
            let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            assert!(text.bytes().all(is_fit), "{text}");
        }
    }

    #[test]
    fn one_token_does_not_tell_the_next() {
        let tokens: Vec<_> = (0..1000).map(|_| Token::new().0).collect();
        let mut steps = HashSet::new();
        for pair in tokens.windows(2) {
            assert!(steps.insert(pair[1].wrapping_sub(pair[0])), "a step twice");
            // True of all but one in 2^32 pairs of random numbers, of no two neighbours of a counter or NUID.
            assert!(pair[1].abs_diff(pair[0]) > u128::MAX >> 33, "{pair:?}");
        }
        let (ever, always) = tokens.iter().fold((0, u128::MAX), |(ever, always), token| {
            (ever | token, always & token)
        });
        assert_eq!((ever, always), (u128::MAX, 0), "every bit varies");
    }
}
