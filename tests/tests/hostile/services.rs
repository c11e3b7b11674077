//! Questions to the micro service that every host is: malformed ones, and more than anybody asks.

use anyhow::{Result, ensure};
use wharf_tests::raw::{LONE_CR, SPACE_IN_NAME};
use wharf_tests::soon;

use crate::stage::{LITTLE, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_questions_to_the_service_holds_up_nobody() -> Result<()> {
    let stage = Stage::set().await?;
    let mut raw = stage.raw().await?;
    stage.interrupt(&mut raw, LONE_CR).await?;
    let mut questions = Vec::new();
    for verb in ["PING", "INFO", "STATS"] {
        for subject in [format!("$SRV.{verb}"), format!("$SRV.{verb}.wharf")] {
            let question = format!("PUB {subject} _INBOX.nobody.{verb} 2\r\n{{}}\r\n");
            questions.extend_from_slice(question.repeat(20).as_bytes());
        }
    }
    stage
        .measure(LITTLE, async {
            for _ in 0..20 {
                for headers in [LONE_CR, SPACE_IN_NAME] {
                    for verb in ["PING", "INFO", "STATS"] {
                        let subject = format!("$SRV.{verb}");
                        raw.publish(subject, "_INBOX.nobody", headers, b"").await?;
                    }
                }
                raw.send(&questions).await?;
                raw.flush().await?;
            }
            Ok(())
        })
        .await?;
    let asked = stage.client.request("$SRV.PING.wharf", "".into());
    let reply = soon("the service answers", asked).await??;
    ensure!(!reply.payload.is_empty(), "{reply:?}");
    stage.lost_at_most(1).await
}
