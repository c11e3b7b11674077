//! Requests whose senders are gone before they are answered.

use anyhow::Result;
use serde_json::json;

use crate::stage::{LITTLE, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_who_leave_at_once_cost_nobody_anything() -> Result<()> {
    let stage = Stage::set().await?;
    let step = json!({ "do": "reply", "text": "x".repeat(10_000) }).to_string();
    stage
        .measure(LITTLE, async {
            for number in 0..60 {
                let mut raw = stage.raw().await?;
                let inbox = format!("_INBOX.gone.{number}");
                // Who waits there, who never did, and who asks services and for orders.
                if number % 2 == 0 {
                    raw.subscribe(&inbox).await?;
                }
                for subject in ["victim", "victim.a", "$SRV.STATS", "wharf.admin.here.list"] {
                    let headers = b"NATS/1.0\r\n\r\n";
                    raw.publish(subject, &inbox, headers, step.as_bytes())
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
