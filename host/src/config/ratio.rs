//! A part of a whole.

use std::fmt;

/// A part of a whole, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, serde::Serialize)]
pub struct Ratio(f64);

impl Ratio {
    /// So many per cent; more than 100 are 100.
    pub(super) const fn percent(percent: u8) -> Self {
        let part = percent as f64 / 100.0;
        Self(if part > 1.0 { 1.0 } else { part })
    }

    /// A part of a whole. `None` if it is not from 0 to 1.
    #[must_use]
    pub fn new(part: f64) -> Option<Self> {
        (0.0..=1.0).contains(&part).then_some(Self(part))
    }

    /// The part, from 0 to 1.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

/// A ratio is always a number.
impl Eq for Ratio {}

/// Written in per cent: `5%`.
impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 0.07 × 100 is a little more than 7 in binary.
        const DECIMALS: f64 = 1e6;
        write!(f, "{}%", (self.0 * 100.0 * DECIMALS).round() / DECIMALS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_from_0_to_1_and_is_written_in_per_cent() {
        for bad in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Ratio::new(bad), None, "{bad}");
        }
        let words = |part| Ratio::new(part).expect("a part").to_string();
        assert_eq!(
            ["7%", "0.5%", "100%", "0%"],
            [words(0.07), words(0.005), words(1.0), words(0.0)]
        );
    }
}
