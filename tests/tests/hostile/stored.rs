//! Messages that no client can read, stored in a bucket that a guest lists.

use anyhow::{Result, ensure};
use serde_json::json;
use wharf_tests::raw::{LONE_CR, SPACE_IN_NAME};

use crate::stage::{LITTLE, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_with_malformed_messages_is_read_listed_and_cleared() -> Result<()> {
    let stage = Stage::set().await?;
    let mut raw = stage.raw().await?;
    let blocks: [&[u8]; 3] = [LONE_CR, SPACE_IN_NAME, b"NATS/1.0\r\nN: J\xfc\r\n\r\n"];
    stage
        .measure(LITTLE, async {
            for _ in 0..5 {
                for (number, headers) in blocks.iter().enumerate() {
                    let subject = format!("$KV.b.k{number}");
                    raw.publish(subject, "", headers, b"v").await?;
                }
                raw.flush().await?;
                let keys = json!({ "do": "keys", "bucket": "b", "prefix": null });
                ensure!(stage.ok("victim", keys).await? == json!(["k0", "k1", "k2"]));
                let count = json!({ "do": "count", "bucket": "b" });
                ensure!(stage.ok("victim", count.clone()).await? == 3);
                for key in ["k0", "k1", "k2"] {
                    let get = json!({ "do": "get", "bucket": "b", "key": key });
                    ensure!(stage.ok("victim", get).await? == "v");
                    let delete = json!({ "do": "delete", "bucket": "b", "key": key });
                    stage.ok("victim", delete).await?;
                }
                ensure!(stage.ok("victim", count).await? == 0);
            }
            Ok(())
        })
        .await?;
    stage.lost_at_most(0).await
}
