//! Answers to requests that were sent to somebody else, by one who guesses the subjects.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use wharf_tests::raw::{LONE_CR, SPACE_IN_NAME};
use wharf_tests::soon;

use crate::stage::{LITTLE, Stage};

/// The tokens that have the same beginning as this one, and small numbers: a counter would give the next of them.
fn beside(token: &str) -> Vec<String> {
    // 16 bytes in Base64: the last two characters are a byte.
    let begin = &token[..token.len() - 2];
    let alphabet = ('A'..='Z')
        .chain('a'..='z')
        .chain('0'..='9')
        .chain(['-', '_']);
    let ends = alphabet.flat_map(|first| ['A', 'Q', 'g', 'w'].map(|last| [first, last]));
    let near = ends.map(|end| format!("{begin}{}", String::from_iter(end)));
    near.chain((0..64).map(|number| number.to_string()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_knows_a_reply_subject_guesses_no_other() -> Result<()> {
    let stage = Stage::set().await?;
    let (mut raw, mut service) = (stage.raw().await?, stage.raw().await?);
    stage.interrupt(&mut raw, SPACE_IN_NAME).await?;
    service.subscribe("slow").await?;
    let step = json!({ "do": "request", "subject": "slow", "timeout_ms": 25_000 });
    let asking = stage.ok("victim", step);
    let answering = async {
        let request = service.next().await?;
        let reply = String::from_utf8(request.reply.context("a reply subject")?)?;
        let (prefix, token) = reply.rsplit_once('.').context("a token")?;
        stage
            .measure(LITTLE, async {
                for _ in 0..8 {
                    for guess in beside(token) {
                        let subject = format!("{prefix}.{guess}");
                        if subject != reply {
                            let forged = b"NATS/1.0\r\nA: b\r\n\r\n";
                            raw.publish(&subject, "", forged, b"forged").await?;
                            raw.publish(&subject, "", LONE_CR, b"forged").await?;
                        }
                    }
                    raw.publish(format!("{prefix}.a.b"), "", LONE_CR, b"")
                        .await?;
                }
                raw.flush().await
            })
            .await?;
        stage.client.publish(reply, "42".into()).await?;
        anyhow::Ok(())
    };
    let both = async { tokio::try_join!(asking, answering) };
    let (answer, ()) = soon("the right answer", both).await??;
    ensure!(answer["text"] == "42", "{answer}");
    stage.lost_at_most(1).await
}
