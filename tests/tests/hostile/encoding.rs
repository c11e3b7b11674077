//! Headers that are no UTF-8.

use anyhow::Result;

use crate::stage::malformed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_that_are_no_utf_8_interrupt_once_at_most() -> Result<()> {
    malformed(&[
        b"NATS/1.0\r\nN: J\xfc\r\n\r\n",
        b"NATS/1.0\r\nN\xff: x\r\n\r\n",
        // A surrogate, as no UTF-8 has it.
        b"NATS/1.0\r\nA: b\r\nN: \xed\xa0\x80\r\n\r\n",
    ])
    .await
}
