//! Names of headers with what no name has.

use anyhow::Result;

use crate::stage::malformed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_are_none_interrupt_once_at_most() -> Result<()> {
    malformed(&[
        b"NATS/1.0\r\nA B: x\r\n\r\n",
        b"NATS/1.0\r\nA\x01: x\r\n\r\n",
        b"NATS/1.0\r\nA: b\r\nB C D: x\r\n\r\n",
    ])
    .await
}
