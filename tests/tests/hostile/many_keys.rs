//! A bucket with many keys, which strangers have filled.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wharf_tests::soon;

use crate::stage::{MIB, Stage};

/// Some pages of keys: in the guest and its reply, and as answers of the server.
const BOUND: usize = 96 * MIB;

/// More than are ever listed at once.
const KEYS: usize = 101_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listing_a_bucket_of_many_keys_holds_up_nobody() -> Result<()> {
    let stage = Stage::set().await?;
    let mut raw = stage.raw().await?;
    for page in 0..KEYS / 1000 {
        let key = |number| format!("PUB $KV.b.k.{page}.{number} 1\r\nx\r\n");
        let page: String = (0..1000).map(key).collect();
        raw.send(page.as_bytes()).await?;
        raw.flush().await?;
    }
    // All that was published before is stored when this is.
    let set = json!({ "do": "set", "bucket": "b", "key": "last", "value": "x" });
    stage.ok("victim", set).await?;
    stage
        .measure(BOUND, async {
            let count = json!({ "do": "count", "bucket": "b" });
            ensure!(stage.ok("victim", count).await? == KEYS + 1);
            let keys = json!({ "do": "keys", "bucket": "b", "prefix": null });
            let asked = stage.client.request("victim", keys.to_string().into());
            let reply = soon("the guest is told", asked).await??;
            let answer: Value = serde_json::from_slice(&reply.payload)?;
            let text = answer["error"]["text"].as_str().context("an error")?;
            ensure!(text.contains("prefix"), "{text}");
            let keys = json!({ "do": "keys", "bucket": "b", "prefix": "k.7." });
            let keys = stage.ok("victim", keys).await?;
            ensure!(keys.as_array().is_some_and(|keys| keys.len() == 1000));
            Ok(())
        })
        .await?;
    stage.lost_at_most(0).await
}
