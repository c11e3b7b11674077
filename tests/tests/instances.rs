//! Instances are shared by all guests: each gets them as it needs them, and none keeps them from another.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use wharf_tests::probe::{Probe, probe};
use wharf_tests::until;

#[tokio::test]
async fn guests_load_whatever_their_maxima_add_up_to() -> Result<()> {
    let running = Probe::start(|config, _, _| {
        for number in 0..200 {
            let mut settings = probe().expect("the probe is built");
            settings.subscribe = vec![format!("of.{number}").as_str().into()];
            config.guests.insert(format!("guest-{number}"), settings);
        }
    })
    .await?;
    assert_eq!(running.describe("of.199").await?["subject"], "of.199");
    assert_eq!(running.host.guests().len(), 201);
    Ok(())
}

/// A host with so many instances, and the guest `other` beside the probe.
async fn start(instances: u32, min_of_other: u32) -> Result<Probe> {
    Probe::start(|config, settings, _| {
        config.host.instances = instances.try_into().expect("it is not 0");
        settings.limits.time = Duration::from_secs(5);
        let mut other = settings.clone();
        other.subscribe = vec!["other".into()];
        other.instances.min = min_of_other;
        config.guests.insert("other".to_owned(), other);
    })
    .await
}

#[tokio::test]
async fn idle_instances_make_room_for_a_guest_that_has_none() -> Result<()> {
    let running = start(1, 0).await?;
    for subject in ["other", "probe", "probe", "other"] {
        assert_eq!(running.describe(subject).await?["subject"], subject);
    }
    Ok(())
}

#[tokio::test]
async fn a_flood_for_one_guest_takes_no_instance_from_one_that_needs_its_first() -> Result<()> {
    for min_of_other in [0, 1] {
        let running = start(2, min_of_other).await?;
        let messages = 100;
        for _ in 0..messages {
            let nap = json!({ "do": "sleep", "ms": 50 }).to_string();
            running.client.publish("probe", nap.into()).await?;
        }
        let stats = || running.host.stats("probe").unwrap_or_default();
        until("they have arrived", || stats().received == messages).await?;
        assert_eq!(running.describe("other").await?["subject"], "other");
        let handled = stats().handled;
        ensure!(handled < messages, "it was answered while others wait");
        until("all are handled", || stats().handled == messages).await?;
        assert_eq!(stats().timed_out, 0);
    }
    Ok(())
}
