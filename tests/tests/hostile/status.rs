//! A status that is no number.

use anyhow::Result;

use crate::stage::malformed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statuses_that_are_no_number_interrupt_once_at_most() -> Result<()> {
    malformed(&[
        b"NATS/1.0 abc\r\n\r\n",
        b"NATS/1.0 -503\r\n\r\n",
        b"NATS/1.0 99999999999999999999\r\n\r\n",
    ])
    .await
}
