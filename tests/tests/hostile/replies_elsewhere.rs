//! Reply subjects that the sender may not publish on, but the host may.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::stage::{LITTLE, Stage};

const ELSEWHERE: [&str; 6] = [
    "elsewhere",
    "good",
    "$JS.API.STREAM.DELETE.KV_n",
    "$KV.n.k",
    "$SYS.REQ.SERVER.PING",
    "wharf.admin.here.drain",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_has_the_host_publish_where_it_may_not() -> Result<()> {
    let stage = Stage::set().await?;
    let (mut raw, mut listener) = (stage.raw().await?, stage.raw().await?);
    listener.subscribe("elsewhere").await?;
    let step = json!({ "do": "reply", "text": "x".repeat(1000) }).to_string();
    stage
        .measure(LITTLE, async {
            for _ in 0..20 {
                for reply in ELSEWHERE {
                    for payload in [step.as_bytes(), b"", br#"{ "do": "trap" }"#] {
                        raw.publish("victim", reply, b"NATS/1.0\r\n\r\n", payload)
                            .await?;
                    }
                }
                raw.flush().await?;
            }
            Ok(())
        })
        .await?;
    stage.emptied().await?;
    stage
        .ok("victim", json!({ "do": "config", "key": "k" }))
        .await?;
    raw.publish("elsewhere", "", b"NATS/1.0\r\n\r\n", b"last")
        .await?;
    raw.flush().await?;
    let heard = listener.next().await?;
    ensure!(heard.payload == b"last", "{heard:?}");
    stage.lost_at_most(0).await
}
