//! Lines of headers that are none.

use anyhow::Result;

use crate::stage::malformed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_without_a_colon_interrupt_once_at_most() -> Result<()> {
    malformed(&[
        b"NATS/1.0\r\nno colon\r\n\r\n",
        b"NATS/1.0\r\nA: b\r\nx\r\n\r\n",
        b"NATS/1.0\r\n\r\r\n\r\n",
    ])
    .await
}
