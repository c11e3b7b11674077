//! New inputs from those that there are. The same seed gives the same inputs.

/// The most bytes of an input.
pub(super) const MAX_INPUT_BYTES: usize = 1536;

/// The most mutations of one input.
const MAX_MUTATIONS: u64 = 8;

/// The most bytes that one mutation repeats.
const MAX_REPEATED_BYTES: u64 = 64;

/// Bytes at which formats tend to break.
const SPECIAL_BYTES: &[u8] = b"\0\t\n\r\x1b \"#$%&'()*+,-./:;<=>?[\\]^_`{|}~\x7f\x80\xc3\xff";

/// A generator of numbers, SplitMix64: fast, and the same from the same seed. <https://prng.di.unimi.it/splitmix64.c>
#[derive(Debug, Clone)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below this one, which is not 0.
    pub(super) fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    /// An index into something of this length, or its end.
    fn position(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64 + 1)).unwrap_or(0)
    }

    /// One of these.
    pub(super) fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.position(all.len().checked_sub(1)?))
    }
}

/// Mutates an input in place. `others` are inputs to take parts from, `words` texts that the target knows.
pub(super) fn mutate(input: &mut Vec<u8>, random: &mut Random, others: &[Vec<u8>], words: &[&str]) {
    for _ in 0..=random.below(MAX_MUTATIONS) {
        let at = random.position(input.len());
        match random.below(9) {
            0 => flip_bit(input, at, random),
            1 => {
                let byte = random.pick(SPECIAL_BYTES).copied();
                input.splice(at..at, byte);
            }
            2 => {
                let byte = u8::try_from(random.below(256)).unwrap_or(0);
                input.splice(at..at, [byte]);
            }
            3 => drop(input.drain(range(at, input.len(), random))),
            4 => {
                let part = input[range(at, input.len(), random)].to_vec();
                let times = usize::try_from(random.below(8)).unwrap_or(0);
                input.splice(at..at, part.repeat(times));
            }
            5 | 6 => {
                let word = random.pick(words).copied().unwrap_or_default();
                input.splice(at..at, word.bytes());
            }
            7 => splice_other(input, at, random, others),
            _ => {
                // A character of more than one byte.
                let code = u32::try_from(random.below(0x11_0000)).unwrap_or(0);
                let text = char::from_u32(code).map(String::from).unwrap_or_default();
                input.splice(at..at, text.into_bytes());
            }
        }
        input.truncate(MAX_INPUT_BYTES);
    }
}

fn flip_bit(input: &mut [u8], at: usize, random: &mut Random) {
    if let Some(byte) = input.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

/// A short range from here on.
fn range(at: usize, end: usize, random: &mut Random) -> std::ops::Range<usize> {
    let bytes = usize::try_from(random.below(MAX_REPEATED_BYTES) + 1).unwrap_or(1);
    at..end.min(at + bytes)
}

/// Replaces the rest of the input by the rest of another one.
fn splice_other(input: &mut Vec<u8>, at: usize, random: &mut Random, others: &[Vec<u8>]) {
    let Some(other) = random.pick(others) else {
        return;
    };
    let from = random.position(other.len());
    input.truncate(at);
    input.extend_from_slice(&other[from..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs_and_none_is_too_long() {
        let inputs = |seed| {
            let (mut random, mut input) = (Random(seed), b"a.b".to_vec());
            let mut all = Vec::new();
            for _ in 0..2000 {
                mutate(&mut input, &mut random, &all, &["word"]);
                assert!(input.len() <= MAX_INPUT_BYTES);
                all.push(input.clone());
            }
            all
        };
        assert_eq!(inputs(7), inputs(7));
        assert_ne!(inputs(7), inputs(8));
        let all = inputs(7);
        let with = |part: &[u8]| {
            all.iter()
                .any(|input| input.windows(4).any(|it| it == part))
        };
        assert!(with(b"word"));
    }
}
