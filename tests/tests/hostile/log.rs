//! Messages about which the host has something to say, in great numbers and with what tells a terminal what to do.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use wharf_tests::raw::{LONE_CR, SPACE_IN_NAME};

use crate::stage::{LITTLE, Stage};

/// The lines of a host that starts, reconnects and stops.
const OTHER_LINES: u64 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_malformed_messages_neither_fills_the_log_nor_writes_into_it() -> Result<()> {
    let begun = Instant::now();
    let stage = Stage::set().await?;
    let mut raw = stage.raw().await?;
    stage.interrupt(&mut raw, LONE_CR).await?;
    let subjects: [&[u8]; 3] = [
        b"victim.\x1b[31m\x07.\xe2\x80\xae",
        b"victim.\xff\x1b[2J",
        &[b"victim.".as_slice(), &b"x".repeat(1000)].concat(),
    ];
    let subjects = subjects.map(<[u8]>::to_vec);
    stage
        .measure(LITTLE, async {
            for subject in &subjects {
                // Such messages are spoken of once a second: each of the subjects comes to be the one that is shown.
                let until = Instant::now() + Duration::from_millis(1500);
                while Instant::now() < until {
                    for headers in [LONE_CR, SPACE_IN_NAME].repeat(20) {
                        let step = br#"{ "do": "silence" }"#;
                        raw.publish(subject, "", headers, step).await?;
                    }
                    raw.flush().await?;
                    // No more of them are on their way at once: it is the log that is asked for here, not the line.
                    stage
                        .ok("good", json!({ "do": "config", "key": "k" }))
                        .await?;
                }
            }
            Ok(())
        })
        .await?;
    stage.lost_at_most(1).await?;
    let log = stage.log().await?;
    let unfit = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    ensure!(!log.contains(unfit), "{}", log.escape_debug());
    let shown = log.matches("a malformed message was ").count();
    ensure!(shown >= subjects.len(), "{shown} are shown:\n{log}");
    let lines = log.lines().count() as u64;
    // One a second for each thing that there is to say.
    let most = OTHER_LINES + 4 * begun.elapsed().as_secs();
    ensure!(lines <= most, "{lines} lines:\n{log}");
    let longest = log.lines().map(str::len).max().unwrap_or_default();
    ensure!(longest < 600, "{longest} bytes in a line:\n{log}");
    Ok(())
}
