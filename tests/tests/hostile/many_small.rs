//! Small messages, more than a queue has room for.

use anyhow::{Result, ensure};

use crate::stage::{LITTLE, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_messages_beyond_a_guests_queue_are_dropped() -> Result<()> {
    let stage = Stage::set().await?;
    let mut raw = stage.raw().await?;
    let busy = r#"{ "do": "sleep", "ms": 1000 }"#;
    let sleep = format!("PUB victim {}\r\n{busy}\r\n", busy.len()).repeat(8);
    let small = "PUB victim 2\r\n{}\r\nPUB victim.a.b _INBOX.nobody 0\r\n\r\n\
        HPUB victim.a 12 12\r\nNATS/1.0\r\n\r\n\r\n";
    let many = small.repeat(200);
    stage
        .measure(LITTLE, async {
            raw.send(sleep.as_bytes()).await?;
            for _ in 0..30 {
                raw.send(many.as_bytes()).await?;
                raw.flush().await?;
            }
            Ok(())
        })
        .await?;
    let dropped = stage.dropped().await?;
    ensure!(dropped > 0, "the queue was never full");
    stage.lost_at_most(0).await
}
