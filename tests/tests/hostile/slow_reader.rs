//! Clients that subscribe to all that the host sends, and read none of it.

use anyhow::Result;
use serde_json::json;

use crate::stage::{MIB, Stage};

/// One large message for each of eight instances, with its copies, and what is written to the server.
const BOUND: usize = 96 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_read_nothing_hold_up_nobody() -> Result<()> {
    let stage = Stage::set().await?;
    let mut idle = Vec::new();
    for subject in [">", "_INBOX.>", "out.>"] {
        let mut raw = stage.raw().await?;
        raw.subscribe(subject).await?;
        idle.push(raw);
    }
    stage
        .measure(BOUND, async {
            for number in 0..100 {
                let subject = format!("out.{number}");
                let step = json!({ "do": "publish", "subject": subject, "bytes": 500_000 });
                stage.ok("victim", step).await?;
            }
            Ok(())
        })
        .await?;
    stage.lost_at_most(0).await
}
