//! Large messages in a row, to a guest that is slow, and to those that want none.

use anyhow::{Result, ensure};

use crate::stage::{MIB, Stage};

/// The queue has 16 MiB; eight instances handle one each, for which some copies are made, and so do the buffers of the
/// connection. The guest alone is sent 320 MB.
const BOUND: usize = 192 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_beyond_a_guests_queue_are_dropped() -> Result<()> {
    let stage = Stage::set().await?;
    let mut raw = stage.raw().await?;
    let mut payload = br#"{ "do": "sleep", "ms": 500 }"#.to_vec();
    payload.resize(1_000_000, b' ');
    stage
        .measure(BOUND, async {
            for _ in 0..160 {
                for subject in ["victim", "victim.a"] {
                    raw.publish(subject, "", b"NATS/1.0\r\n\r\n", &payload)
                        .await?;
                }
                raw.flush().await?;
            }
            for _ in 0..20 {
                for subject in ["$SRV.INFO", "wharf.admin.here.load"] {
                    raw.publish(subject, "", b"NATS/1.0\r\n\r\n", &payload)
                        .await?;
                }
                raw.flush().await?;
            }
            Ok(())
        })
        .await?;
    let dropped = stage.dropped().await?;
    ensure!(dropped > 0, "the queue was never full");
    stage.lost_at_most(0).await
}
