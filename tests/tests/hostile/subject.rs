//! Subjects that are no UTF-8: of a message, and of its reply.

use anyhow::Result;
use serde_json::json;
use wharf_tests::raw::SPACE_IN_NAME;

use crate::stage::{LITTLE, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subjects_and_reply_subjects_that_are_no_text_interrupt_once_at_most() -> Result<()> {
    let stage = Stage::set().await?;
    let mut raw = stage.raw().await?;
    stage.interrupt(&mut raw, SPACE_IN_NAME).await?;
    let none = b"NATS/1.0\r\n\r\n";
    stage
        .measure(LITTLE, async {
            for _ in 0..20 {
                raw.publish(b"victim.\xff", "", none, b"{}").await?;
                raw.publish(b"victim.J\xfc.a", b"r.\xff", none, b"{}")
                    .await?;
                raw.publish("victim.a", b"_INBOX.\xff", none, b"{}").await?;
                raw.send(b"PUB victim.\xff 2\r\n{}\r\n").await?;
                raw.send(b"PUB $SRV.PING r.\xc0\x80 2\r\n{}\r\n").await?;
                raw.flush().await?;
            }
            Ok(())
        })
        .await?;
    stage
        .ok("victim", json!({ "do": "config", "key": "k" }))
        .await?;
    stage.lost_at_most(1).await
}
