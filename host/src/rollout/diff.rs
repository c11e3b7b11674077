//! The difference between what a guest is desired to be and what runs, as steps. Pure.

use crate::component::Digest;
use crate::config::{CanarySettings, GuestSettings};

/// A guest as it is asked to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Desired {
    /// The settings, those of the canary among them.
    pub(super) settings: GuestSettings,
    /// The digests of the components that the settings name, as they were when they were resolved.
    pub(super) digests: Digests,
}

/// The digests of a guest's components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digests {
    /// The component of the version in service.
    pub(super) main: Digest,
    /// The canary's component, if the settings name one.
    pub(super) canary: Option<Digest>,
}

/// A guest as it runs.
#[derive(Debug, Clone)]
pub(super) struct RunningGuest {
    /// The number of the newest version.
    pub(super) latest_version: u32,
    /// The guest as it was last asked to be.
    pub(super) desired: Desired,
    /// The settings of the version in service.
    pub(super) settings: GuestSettings,
    /// The component of the version in service.
    pub(super) digest: Digest,
    /// The canary, unless it has failed.
    pub(super) canary: Option<RunningCanary>,
}

/// A canary as it runs.
#[derive(Debug, Clone)]
pub(super) struct RunningCanary {
    /// The canary's own settings: its component, its share, and its bound of failures.
    pub(super) settings: CanarySettings,
    /// The digest of the component that the canary runs.
    pub(super) digest: Digest,
}

/// One step of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Start a version: for service, or as a canary.
    Start(Box<NewVersion>),
    /// Put the guest's canary into service.
    Promote { guest: String },
    /// End the guest's canary.
    EndCanary { guest: String },
    /// Record what the guest is desired to be, which it is already.
    RecordDesired {
        guest: String,
        desired: Box<Desired>,
    },
    /// Take the guest out of service.
    Unload { guest: String },
}

/// A version that is to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewVersion {
    /// The name of the guest that the version is of.
    pub(super) guest: String,
    /// The version's number, higher than those of all versions of the guest so far.
    pub(super) number: u32,
    /// The settings that the version runs with.
    pub(super) settings: GuestSettings,
    /// The component that the version runs.
    pub(super) digest: Digest,
    /// The part that the version is to play once it has started.
    pub(super) role: VersionRole,
    /// The guest as it is asked to be.
    pub(super) desired: Desired,
}

/// The part that a new version is to play.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum VersionRole {
    /// The version replaces the guest's other versions, if there are any.
    InService,
    /// The version gets a share of the guest's messages.
    Canary(CanarySettings),
}

/// The difference between a guest as desired and as it runs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Diff {
    /// The kind of the difference, for the report of the change.
    pub(super) kind: DiffKind,
    /// Steps from what runs to what is desired. Empty if the guest was desired like this before.
    pub(super) steps: Vec<Step>,
}

/// The kind of a difference, as reports name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiffKind {
    Unchanged,
    /// The guest is new.
    Loaded,
    /// Another version comes into service.
    Replaced,
    /// Only the canary comes, is another, or goes.
    CanaryOnly,
}

/// Compares a guest as desired with the one that runs, if it does.
///
/// A guest that is desired as it was before is left as it is: a canary that was promoted, aborted or rolled back since
/// stays so. One that is desired with its canary's component, and otherwise as it is, has its canary promoted.
pub(super) fn diff(guest: &str, desired: &Desired, running: Option<&RunningGuest>) -> Diff {
    let Some(running) = running else {
        return Diff {
            kind: DiffKind::Loaded,
            steps: steps_for_load(guest, 0, desired),
        };
    };
    if running.desired == *desired {
        return Diff {
            kind: DiffKind::Unchanged,
            steps: Vec::new(),
        };
    }
    let in_service = desired.settings.in_service();
    if running.settings == in_service && running.digest == desired.digests.main {
        return diff_of_canary(guest, desired, running);
    }
    let steps = if is_promotion(desired, running) {
        let mut steps = vec![Step::Promote {
            guest: guest.to_owned(),
        }];
        steps.extend(step_for_canary(guest, running.latest_version, desired));
        steps.push(record(guest, desired));
        steps
    } else {
        steps_for_load(guest, running.latest_version, desired)
    };
    Diff {
        kind: DiffKind::Replaced,
        steps,
    }
}

/// The difference where the version in service stays.
fn diff_of_canary(guest: &str, desired: &Desired, running: &RunningGuest) -> Diff {
    let is_same = |canary: &RunningCanary| {
        Some(&canary.settings) == desired.settings.canary.as_ref()
            && Some(canary.digest) == desired.digests.canary
    };
    let mut steps = Vec::new();
    match (&running.canary, &desired.settings.canary) {
        (Some(canary), Some(_)) if is_same(canary) => {}
        (Some(_), None) => steps.push(Step::EndCanary {
            guest: guest.to_owned(),
        }),
        (_, Some(_)) => {
            steps.extend(step_for_canary(guest, running.latest_version, desired));
        }
        (None, None) => {}
    }
    let kind = match steps.is_empty() {
        true => DiffKind::Unchanged,
        false => DiffKind::CanaryOnly,
    };
    steps.push(record(guest, desired));
    Diff { kind, steps }
}

/// True if what is desired in service is what runs as the canary.
fn is_promotion(desired: &Desired, running: &RunningGuest) -> bool {
    running.canary.as_ref().is_some_and(|canary| {
        running.settings.of_canary(&canary.settings) == desired.settings.in_service()
            && canary.digest == desired.digests.main
    })
}

/// Steps that bring a guest into service, with its canary. Its newest version so far has that number.
pub(super) fn steps_for_load(guest: &str, latest_version: u32, desired: &Desired) -> Vec<Step> {
    let main = NewVersion {
        guest: guest.to_owned(),
        number: latest_version + 1,
        settings: desired.settings.in_service(),
        digest: desired.digests.main,
        role: VersionRole::InService,
        desired: desired.clone(),
    };
    std::iter::once(Step::Start(Box::new(main)))
        .chain(step_for_canary(guest, latest_version + 1, desired))
        .collect()
}

/// The step that starts a canary, where one is desired.
fn step_for_canary(guest: &str, latest_version: u32, desired: &Desired) -> Option<Step> {
    let settings = desired.settings.canary.clone()?;
    Some(Step::Start(Box::new(NewVersion {
        guest: guest.to_owned(),
        number: latest_version + 1,
        settings: desired.settings.of_canary(&settings),
        digest: desired.digests.canary?,
        role: VersionRole::Canary(settings),
        desired: desired.clone(),
    })))
}

fn record(guest: &str, desired: &Desired) -> Step {
    Step::RecordDesired {
        guest: guest.to_owned(),
        desired: Box::new(desired.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired(component: &str, digest: u8, canary: Option<(&str, u8)>) -> Desired {
        let mut settings = GuestSettings::new(component);
        settings.canary = canary.map(|(component, _)| CanarySettings::new(component));
        Desired {
            settings,
            digests: Digests {
                main: Digest::fake(digest),
                canary: canary.map(|(_, digest)| Digest::fake(digest)),
            },
        }
    }

    /// A guest that runs as it is desired, with its newest version.
    fn running(desired: &Desired, latest_version: u32) -> RunningGuest {
        let canary = desired.settings.canary.clone().zip(desired.digests.canary);
        RunningGuest {
            latest_version,
            desired: desired.clone(),
            settings: desired.settings.in_service(),
            digest: desired.digests.main,
            canary: canary.map(|(settings, digest)| RunningCanary { settings, digest }),
        }
    }

    /// The steps in short: what is started with which number, promoted, ended.
    fn in_short(diff: &Diff) -> Vec<String> {
        let name = |step: &Step| match step {
            Step::Start(new) => match new.role {
                VersionRole::InService => format!("start {}", new.number),
                VersionRole::Canary(_) => format!("canary {}", new.number),
            },
            Step::Promote { .. } => "promote".to_owned(),
            Step::EndCanary { .. } => "end canary".to_owned(),
            Step::RecordDesired { .. } => "record".to_owned(),
            Step::Unload { .. } => "unload".to_owned(),
        };
        diff.steps.iter().map(name).collect()
    }

    fn kind_and_steps(
        desired: &Desired,
        running: Option<&RunningGuest>,
    ) -> (DiffKind, Vec<String>) {
        let diff = diff("g", desired, running);
        (diff.kind, in_short(&diff))
    }

    fn steps<const N: usize>(kind: DiffKind, steps: [&str; N]) -> (DiffKind, Vec<String>) {
        (kind, steps.map(str::to_owned).to_vec())
    }

    #[test]
    fn a_guest_that_is_not_there_is_loaded_with_its_canary() {
        assert_eq!(
            kind_and_steps(&desired("a", 1, None), None),
            steps(DiffKind::Loaded, ["start 1"])
        );
        assert_eq!(
            kind_and_steps(&desired("a", 1, Some(("b", 2))), None),
            steps(DiffKind::Loaded, ["start 1", "canary 2"])
        );
    }

    #[test]
    fn a_guest_that_is_desired_as_before_is_left_as_it_is_whatever_has_become_of_it() {
        let wanted = desired("a", 1, Some(("b", 2)));
        let mut promoted = running(&wanted, 2);
        promoted.settings = wanted.settings.of_canary(&CanarySettings::new("b"));
        promoted.digest = Digest::fake(2);
        promoted.canary = None;
        assert_eq!(
            kind_and_steps(&wanted, Some(&promoted)),
            steps(DiffKind::Unchanged, [])
        );
        let mut rolled_back = running(&wanted, 2);
        rolled_back.canary = None;
        assert_eq!(
            kind_and_steps(&wanted, Some(&rolled_back)),
            steps(DiffKind::Unchanged, [])
        );
    }

    #[test]
    fn other_settings_or_other_bytes_replace_the_version_in_service() {
        let before = running(&desired("a", 1, None), 3);
        assert_eq!(
            kind_and_steps(&desired("a", 9, None), Some(&before)),
            steps(DiffKind::Replaced, ["start 4"])
        );
        let mut other = desired("a", 1, None);
        other.settings.prefix = Some("p.".to_owned());
        assert_eq!(
            kind_and_steps(&other, Some(&before)),
            steps(DiffKind::Replaced, ["start 4"])
        );
    }

    #[test]
    fn where_only_the_canary_is_another_the_version_in_service_stays() {
        let (without, with) = (desired("a", 1, None), desired("a", 1, Some(("b", 2))));
        assert_eq!(
            kind_and_steps(&with, Some(&running(&without, 1))),
            steps(DiffKind::CanaryOnly, ["canary 2", "record"])
        );
        assert_eq!(
            kind_and_steps(&desired("a", 1, Some(("b", 3))), Some(&running(&with, 2))),
            steps(DiffKind::CanaryOnly, ["canary 3", "record"])
        );
        assert_eq!(
            kind_and_steps(&without, Some(&running(&with, 2))),
            steps(DiffKind::CanaryOnly, ["end canary", "record"])
        );
    }

    #[test]
    fn a_guest_that_is_desired_with_its_canarys_component_has_its_canary_promoted() {
        let before = running(&desired("a", 1, Some(("b", 2))), 2);
        assert_eq!(
            kind_and_steps(&desired("b", 2, None), Some(&before)),
            steps(DiffKind::Replaced, ["promote", "record"])
        );
        assert_eq!(
            kind_and_steps(&desired("b", 2, Some(("c", 3))), Some(&before)),
            steps(DiffKind::Replaced, ["promote", "canary 3", "record"])
        );
        assert_eq!(
            kind_and_steps(&desired("b", 9, None), Some(&before)),
            steps(DiffKind::Replaced, ["start 3"]),
            "the bytes are others by now"
        );
    }

    #[test]
    fn what_runs_already_for_another_reason_is_only_recorded() {
        // Its canary was rolled back, and the settings no longer name it.
        let mut rolled_back = running(&desired("a", 1, Some(("b", 2))), 2);
        rolled_back.canary = None;
        assert_eq!(
            kind_and_steps(&desired("a", 1, None), Some(&rolled_back)),
            steps(DiffKind::Unchanged, ["record"])
        );
    }
}
