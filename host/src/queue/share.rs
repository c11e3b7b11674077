//! A share of all items, chosen one by one.

/// Chooses a share of all items, one by one.
///
/// The golden ratio spreads multiples of itself over the unit interval as evenly as can be: of any number of items in a row
/// the share is right within a few, and traffic that repeats itself does not fall into step with the choice.
/// Knuth, The Art of Computer Programming, volume 3, section 6.4, theorem S.
pub(super) struct Share {
    /// The part, from 0 to 1.
    part: f64,
    /// The part, of 2⁶⁴.
    below: u64,
    /// A multiple of the golden ratio, of 2⁶⁴: the next item is of the share if it is below the part.
    turn: u64,
}

/// The fraction of the golden ratio, of 2⁶⁴.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

impl Share {
    /// A share of this part, from 0 to 1.
    pub(super) fn new(part: f64) -> Self {
        // Saturates: 1 is all of them.
        let below = (part * 2_f64.powi(64)) as u64;
        Self {
            part,
            below,
            turn: 0,
        }
    }

    /// Whether the next item is of the share.
    pub(super) fn takes_next(&mut self) -> bool {
        self.turn = self.turn.wrapping_add(GOLDEN);
        self.turn < self.below || self.below == u64::MAX
    }

    /// The same share of a bound.
    pub(super) fn of(&self, bound: usize) -> usize {
        // A bound is far below 2⁵³, or means that there is none.
        (bound as f64 * self.part) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(part: f64, items: u32) -> Vec<bool> {
        let mut share = Share::new(part);
        (0..items).map(|_| share.takes_next()).collect()
    }

    fn count(chosen: &[bool]) -> f64 {
        chosen.iter().filter(|is_chosen| **is_chosen).count() as f64
    }

    #[test]
    fn of_any_items_in_a_row_the_share_is_right_within_a_few() {
        for part in [0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.9, 1.0] {
            let chosen = chosen(part, 20_000);
            for window in [100, 1000, 10_000, 20_000] {
                for items in chosen.windows(window).step_by(37) {
                    let expected = part * window as f64;
                    assert!(
                        (count(items) - expected).abs() < 4.0,
                        "{part} of {window}: {}",
                        count(items)
                    );
                }
            }
        }
    }

    #[test]
    fn items_that_repeat_do_not_fall_into_step_with_the_choice() {
        // Each tenth item is of one kind: a tenth of that kind is chosen, too.
        let kind: Vec<bool> = chosen(0.1, 100_000).into_iter().step_by(10).collect();
        assert!((900.0..1100.0).contains(&count(&kind)), "{}", count(&kind));
    }
}
