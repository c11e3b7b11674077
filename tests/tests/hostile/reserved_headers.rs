//! Headers that mean something to servers and clients, set by strangers.

use anyhow::{Result, ensure};
use serde_json::json;
use wharf_tests::soon;

use crate::stage::{HEARD, LITTLE, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_that_mean_something_elsewhere_mean_nothing_to_the_host() -> Result<()> {
    let stage = Stage::set().await?;
    let mut raw = stage.raw().await?;
    let lines = [
        "Nats-Service-Error: x\r\nNats-Service-Error-Code: 500\r\n".repeat(100),
        "Nats-TTL: 1s\r\nKV-Operation: PURGE\r\n".repeat(100),
        "Nats-Rollup: all\r\nNats-Expected-Last-Sequence: 1\r\nNats-Msg-Id: 1\r\n".repeat(10),
    ];
    stage
        .measure(LITTLE, async {
            for _ in 0..20 {
                for lines in &lines {
                    for first in ["NATS/1.0", "NATS/1.0 503", "NATS/1.0 100 Idle Heartbeat"] {
                        let headers = format!("{first}\r\n{lines}\r\n");
                        for subject in HEARD {
                            raw.publish(subject, "", headers.as_bytes(), b"{}").await?;
                        }
                    }
                }
                raw.flush().await?;
            }
            Ok(())
        })
        .await?;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Service-Error", "x");
    let step = json!({ "do": "describe" }).to_string();
    let asked = stage
        .client
        .request_with_headers("victim", headers, step.into());
    let reply = soon("the guest answers", asked).await??;
    ensure!(reply.headers.is_none(), "{reply:?}");
    stage.lost_at_most(0).await
}
