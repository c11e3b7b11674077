//! `[guests.NAME.canary]`: another version of a guest, on trial beside the one in service.

use std::fmt;
use std::num::NonZeroU32;

use super::value::Value;
use super::{ComponentSource, GuestSettings, Place};

/// The trial remembers what became of each of so many messages.
const MAX_WINDOW: u32 = 1_000_000;

/// Another version of a guest, on trial: it gets a share of the guest's messages, and is rolled back again when too many of
/// them fail. Its settings are the guest's, but for the component.
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
pub struct CanarySettings {
    /// Where the component comes from.
    pub component: ComponentSource,
    /// How much of the guest's messages it gets. Of any number of messages in a row it is this part, within a few messages.
    pub share: Ratio,
    /// How much of its last [`CanarySettings::window`] messages may fail: be retried, rejected, end in a trap, run past
    /// their time or get no instance. With one more it is rolled back.
    pub max_failure: Ratio,
    /// Of how many messages, its last ones, the failures are counted. More than 1,000,000 are as many.
    pub window: NonZeroU32,
}

impl CanarySettings {
    /// A canary that runs this component, gets 5 % of the messages, and of its last 100 may fail one.
    pub fn new(component: impl Into<ComponentSource>) -> Self {
        const HUNDRED: NonZeroU32 = NonZeroU32::new(100).expect("100 is not 0");
        Self {
            component: component.into(),
            share: Ratio(0.05),
            max_failure: Ratio(0.01),
            window: HUNDRED,
        }
    }

    /// Of how many messages the failures are counted.
    pub(crate) fn window_len(&self) -> u32 {
        self.window.get().min(MAX_WINDOW)
    }

    /// How many messages of the window may fail.
    pub(crate) fn max_failures(&self) -> u32 {
        // What is a whole number in decimals, 29 % of 100, must not be a little less in binary.
        const ROUNDING: f64 = 1e-6;
        let most = f64::from(self.window_len()) * self.max_failure.get() + ROUNDING;
        // Between 0 and the window.
        most as u32
    }
}

impl GuestSettings {
    /// What the guest's version in service runs with: the same without a canary.
    pub(crate) fn in_service(&self) -> Self {
        Self {
            canary: None,
            ..self.clone()
        }
    }

    /// What a canary runs with.
    pub(crate) fn of_canary(&self, canary: &CanarySettings) -> Self {
        Self {
            component: canary.component.clone(),
            ..self.in_service()
        }
    }

    /// How many instances all its versions may have together.
    pub(crate) fn max_instances_of_all_versions(&self) -> u64 {
        let versions = 1 + u64::from(self.canary.is_some());
        u64::from(self.instances.max.get()) * versions
    }

    /// The components that it names: its own, and its canary's.
    pub fn components(&self) -> impl Iterator<Item = &ComponentSource> {
        std::iter::once(&self.component).chain(self.canary.as_ref().map(|canary| &canary.component))
    }
}

/// A part of a whole, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, serde::Serialize)]
pub struct Ratio(f64);

impl Ratio {
    /// None if it is not from 0 to 1.
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

/// It is always a number.
impl Eq for Ratio {}

/// In per cent.
impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 0.07 × 100 is a little more than 7 in binary.
        const DECIMALS: f64 = 1e6;
        write!(f, "{}%", (self.0 * 100.0 * DECIMALS).round() / DECIMALS)
    }
}

/// Reads a canary, and where its component is named.
pub(super) fn canary(value: Value<'_>) -> Option<(CanarySettings, Place)> {
    let table = value.table()?;
    let component = table.required("component");
    let place = component.map(|at| at.place());
    let component = component.and_then(Value::component);
    let mut canary = CanarySettings::new(component.clone().unwrap_or_else(|| "".into()));
    if let Some(share) = table.get("share").and_then(share) {
        canary.share = share;
    }
    if let Some(most) = table
        .get("max_failure")
        .and_then(|v| v.ratio("a part such as 0.01, from 0 to 1"))
    {
        canary.max_failure = most;
    }
    let window = |value: Value<'_>| {
        value
            .number(1, i64::from(MAX_WINDOW))
            .and_then(NonZeroU32::new)
    };
    if let Some(window) = table.get("window").and_then(window) {
        canary.window = window;
    }
    table.end();
    component?;
    Some((canary, place?))
}

fn share(value: Value<'_>) -> Option<Ratio> {
    let share = value.ratio("a part such as 0.05, more than 0 and up to 1")?;
    if share.get() == 0.0 {
        return value.refuse("a share of 0 is no trial: leave the canary out instead");
    }
    Some(share)
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
