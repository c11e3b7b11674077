//! A guest's status and settings → the form in which they travel.

use serde_json::json;

use super::wire::{CanarySummary, FileUse, GuestDetails, GuestSummary};
use crate::config::{BucketAccess, GuestSettings, SubjectGrant};
use crate::protocol::subject::on_wire;
use crate::status::{CanaryStatus, GuestStatus};

/// A guest's status as it travels.
pub(super) fn summary(status: &GuestStatus) -> GuestSummary {
    let stats = json!(status.stats);
    let counts = stats.as_object().into_iter().flatten();
    GuestSummary {
        name: status.name.clone(),
        component: status.component.to_string(),
        version: status.version,
        queued: status.queued,
        in_flight: status.in_flight,
        stats: counts
            .filter_map(|(name, count)| Some((name.clone(), count.as_u64()?)))
            .collect(),
        canary: status.canary.as_ref().map(canary_summary),
        canary_rolled_back: status.canary_rolled_back.clone(),
    }
}

fn canary_summary(status: &CanaryStatus) -> CanarySummary {
    CanarySummary {
        component: status.component.to_string(),
        version: status.version,
        share: status.share.get(),
        max_failure: status.max_failure.get(),
        window: status.window,
        handled: status.handled,
        failed: status.failed,
        recently_failed: status.recently_failed,
        queued: status.queued,
        in_flight: status.in_flight as u64,
    }
}

/// A guest's status and rights as they travel.
pub(super) fn details(
    host: &str,
    status: &GuestStatus,
    settings: &GuestSettings,
    prefix: &str,
) -> GuestDetails {
    let travelling = |subject: &str, ignore_prefix: bool| match ignore_prefix {
        true => subject.to_owned(),
        false => on_wire(prefix, subject),
    };
    let grants = |grants: &[SubjectGrant]| {
        grants
            .iter()
            .map(|grant| travelling(&grant.subject, grant.ignore_prefix))
            .collect()
    };
    let access = |access: &BucketAccess| match access {
        BucketAccess::Read => "read".to_owned(),
        BucketAccess::ReadWrite => "read-write".to_owned(),
    };
    GuestDetails {
        host: host.to_owned(),
        guest: summary(status),
        subscribe: settings
            .subscribe
            .iter()
            .map(|one| travelling(&one.subject, one.ignore_prefix))
            .collect(),
        may_subscribe: grants(&settings.may_subscribe),
        publish: grants(&settings.publish),
        request: grants(&settings.request),
        buckets: settings
            .buckets
            .iter()
            .map(|(name, may)| (name.clone(), access(may)))
            .collect(),
        instances: settings.instances.max.get(),
        memory_bytes: settings.limits.memory_bytes,
        time_ms: u64::try_from(settings.limits.time.as_millis()).unwrap_or(u64::MAX),
        files: FileUse {
            descriptors: status.descriptors,
            max_descriptors: settings.limits.descriptors,
            calls: status.file_calls,
            max_calls: settings.limits.file_calls,
            disk_bytes: status.disk_bytes,
            max_disk_bytes: settings.limits.disk_bytes,
        },
    }
}
