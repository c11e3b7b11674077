//! Headers that take more memory than bytes: many empty ones, one long one, and the same one many times.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::stage::{HEARD, MIB, Stage};

/// A header takes some 150 bytes in memory at the client: 26 MB for a message of 1 MB. Sixty such are 1.5 GB.
const BOUND: usize = 128 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_nothing_but_headers_are_held_without_them() -> Result<()> {
    let stage = Stage::set().await?;
    let mut raw = stage.raw().await?;
    let blocks = [
        "abc:\r\n".repeat(170_000),
        format!("X: {}\r\n", "x".repeat(1_000_000)),
        "Nats-TTL: 1s\r\n".repeat(70_000),
    ];
    let blocks = blocks.map(|lines| format!("NATS/1.0\r\n{lines}\r\n"));
    stage.interrupt(&mut raw, blocks[0].as_bytes()).await?;
    stage
        .measure(BOUND, async {
            for _ in 0..4 {
                for headers in &blocks {
                    for subject in HEARD {
                        raw.publish(subject, "", headers.as_bytes(), b"").await?;
                        raw.flush().await?;
                        // A flood of bytes fills whatever there is between the server and the host. What a header costs
                        // is asked here: only one such message is on its way at once.
                        stage
                            .ok("good", json!({ "do": "config", "key": "k" }))
                            .await?;
                    }
                }
            }
            Ok(())
        })
        .await?;
    raw.subscribe("_INBOX.raw").await?;
    let step = br#"{ "do": "describe" }"#;
    for headers in &blocks {
        raw.publish("victim", "_INBOX.raw", headers.as_bytes(), step)
            .await?;
        let seen: Value = serde_json::from_slice(&raw.next().await?.payload)?;
        ensure!(seen["ok"]["headers"].to_string().len() < 1000);
    }
    let counted = stage.malformed().await?;
    ensure!(counted >= 60, "{counted} are counted");
    stage.lost_at_most(1).await
}
