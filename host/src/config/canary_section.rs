//! `[guests.NAME.canary]` → settings.

use std::num::NonZeroU32;

use super::canary_settings::{CanarySettings, MAX_WINDOW};
use super::problem::Location;
use super::ratio::Ratio;
use super::value::Value;

/// Reads a canary, and the location of its component's name.
pub(super) fn canary(value: Value<'_>) -> Option<(CanarySettings, Location)> {
    let table = value.table()?;
    let component = table.required("component");
    let location = component.map(|at| at.location());
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
    Some((canary, location?))
}

fn share(value: Value<'_>) -> Option<Ratio> {
    let share = value.ratio("a part such as 0.05, more than 0 and up to 1")?;
    if share.get() == 0.0 {
        return value.refuse("a share of 0 is no trial: leave the canary out instead");
    }
    Some(share)
}
