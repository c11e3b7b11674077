//! The memory that guests may come to hold by their limits, beside what the machine has.

use std::collections::BTreeMap;
use std::fs;

use crate::config::GuestSettings;

/// Logs how much memory instances may hold at once, and how much there is. Limits add up to more than a machine has as a
/// rule: it says by how much.
pub(super) fn log_bounds(guests: &BTreeMap<String, GuestSettings>, instances: u32) {
    let by_limits = memory_by_limits(guests, instances) >> 20;
    match machine_memory() {
        Some(there_is) => tracing::info!(
            instances,
            "instances may hold {by_limits} MiB at once by their limits; this machine, or its cgroup, has {} MiB",
            there_is >> 20
        ),
        None => {
            tracing::info!(
                instances,
                "instances may hold {by_limits} MiB at once by their limits"
            );
        }
    }
}

/// The most bytes that so many instances of these guests may hold: those with the highest limits, up to each guest's most.
fn memory_by_limits(guests: &BTreeMap<String, GuestSettings>, instances: u32) -> u64 {
    let mut limits: Vec<(u64, u64)> = guests
        .values()
        .map(|guest| {
            (
                guest.limits.memory_bytes,
                guest.max_instances_of_all_versions(),
            )
        })
        .collect();
    limits.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    let mut left = u64::from(instances);
    let mut sum = 0_u64;
    for (bytes, most) in limits {
        let taken = most.min(left);
        left -= taken;
        sum = sum.saturating_add(bytes.saturating_mul(taken));
    }
    sum
}

/// The bytes of memory that this machine has, or this process's cgroup, whichever is less. `None` where the system does not
/// say.
fn machine_memory() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total_of(&text));
    let cgroup = fs::read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|text| {
            // Version 2 has one line: `0::/path`. <https://docs.kernel.org/admin-guide/cgroup-v2.html>
            let path = text
                .lines()
                .find_map(|line| line.strip_prefix("0::"))?
                .to_owned();
            let most = fs::read_to_string(format!("/sys/fs/cgroup{path}/memory.max")).ok()?;
            most.trim().parse().ok()
        });
    machine.into_iter().chain(cgroup).min()
}

/// The `MemTotal` of a `/proc/meminfo`, which is in KiB.
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guests_with_the_highest_limits_count_until_all_instances_are_theirs() {
        let guest = |mib: u64, max: u32| {
            let mut settings = GuestSettings::new("a.wasm");
            settings.limits.memory_bytes = mib << 20;
            settings.instances.max = max.try_into().expect("it is not 0");
            settings
        };
        let guests = [("a", guest(1, 8)), ("b", guest(10, 2)), ("c", guest(2, 8))];
        let guests = guests
            .map(|(name, settings)| (name.to_owned(), settings))
            .into();
        assert_eq!(memory_by_limits(&guests, 1000) >> 20, 8 + 20 + 16);
        assert_eq!(memory_by_limits(&guests, 5) >> 20, 20 + 6);
        assert_eq!(memory_by_limits(&guests, 1) >> 20, 10);
    }

    #[test]
    fn the_total_of_a_machine_is_read_in_bytes() {
        let text = "MemTotal:       24690892 kB\nMemFree:        10 kB\n";
        assert_eq!(total_of(text), Some(24_690_892 << 10));
        assert_eq!(total_of("MemFree: 10 kB\n"), None);
    }
}
