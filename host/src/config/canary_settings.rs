//! Settings of a canary.

use std::num::NonZeroU32;

use super::ratio::Ratio;
use crate::component::ComponentSource;

/// The largest window: the analysis remembers the outcome of each of so many messages.
pub(super) const MAX_WINDOW: u32 = 1_000_000;

/// Another version of a guest, tried beside the one in service: it gets a share (elsewhere called a weight) of the guest's
/// messages, and is rolled back when too many of them fail. Its settings are the guest's, but for the component.
///
/// ```
/// use wharf::config::{CanarySettings, GuestSettings, Ratio};
///
/// let mut quakes = GuestSettings::new("quakes.wasm");
/// let mut canary = CanarySettings::new("quakes-v2.wasm");
/// canary.share = Ratio::new(0.1).expect("it is from 0 to 1");
/// quakes.canary = Some(canary);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CanarySettings {
    /// The source of the canary's component.
    pub component: ComponentSource,
    /// The part of the guest's messages that the canary gets. Of any number of messages in a row it is this part, within a
    /// few messages.
    pub share: Ratio,
    /// The part of its last [`CanarySettings::window`] messages that may fail: be retried, rejected, end in a trap, run past
    /// their time or get no instance. With one more the canary is rolled back.
    pub max_failure: Ratio,
    /// The number of last messages among which failures count. More than 1,000,000 are as many.
    pub window: NonZeroU32,
}

impl CanarySettings {
    /// A canary that runs this component, gets 5 % of the messages, and of its last 100 may fail one.
    pub fn new(component: impl Into<ComponentSource>) -> Self {
        const HUNDRED: NonZeroU32 = NonZeroU32::new(100).expect("100 is not 0");
        Self {
            component: component.into(),
            share: Ratio::percent(5),
            max_failure: Ratio::percent(1),
            window: HUNDRED,
        }
    }

    /// The number of last messages among which failures count.
    pub(crate) fn window_len(&self) -> u32 {
        self.window.get().min(MAX_WINDOW)
    }

    /// The number of messages of the window that may fail.
    pub(crate) fn max_failures(&self) -> u32 {
        // What is a whole number in decimals, 29 % of 100, must not be a little less in binary.
        const ROUNDING: f64 = 1e-6;
        let most = f64::from(self.window_len()) * self.max_failure.get() + ROUNDING;
        // Between 0 and the window.
        most as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_of_a_window_may_fail_as_the_part_says() {
        let most = |max_failure, window| {
            let mut canary = CanarySettings::new("v2.wasm");
            canary.max_failure = Ratio::new(max_failure).expect("a part");
            canary.window = NonZeroU32::new(window).expect("more than none");
            canary.max_failures()
        };
        assert_eq!(
            (most(0.01, 100), most(0.29, 100), most(0.07, 100)),
            (1, 29, 7)
        );
        assert_eq!(
            (most(0.01, 99), most(0.5, 3), most(0.0, 100), most(1.0, 100)),
            (0, 1, 0, 100)
        );
    }
}
