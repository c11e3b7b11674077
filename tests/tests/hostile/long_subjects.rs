//! Subjects of many bytes and of many tokens, of messages and of their replies.

use anyhow::Result;
use serde_json::json;

use crate::stage::{LITTLE, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subjects_beyond_all_measure_cost_nobody_anything() -> Result<()> {
    let stage = Stage::set().await?;
    let mut raw = stage.raw().await?;
    // The server takes lines of 4 KiB.
    let long = [
        "x".repeat(3900),
        "a.".repeat(1900) + "a",
        "\u{1f980}".repeat(900),
    ];
    let none = b"NATS/1.0\r\n\r\n";
    let step = br#"{ "do": "describe" }"#;
    stage
        .measure(LITTLE, async {
            for _ in 0..20 {
                for name in &long {
                    raw.publish(format!("victim.{name}"), "", none, step)
                        .await?;
                    let reply = format!("_INBOX.{name}");
                    raw.publish("victim", &reply, none, step).await?;
                    raw.publish("victim", &reply, none, b"").await?;
                    raw.publish("$SRV.PING", &reply, none, b"").await?;
                    raw.publish("wharf.admin.here.list", &reply, none, b"")
                        .await?;
                }
                raw.flush().await?;
            }
            Ok(())
        })
        .await?;
    stage
        .ok("victim", json!({ "do": "config", "key": "k" }))
        .await?;
    stage.lost_at_most(0).await
}
