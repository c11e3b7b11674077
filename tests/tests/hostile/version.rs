//! Headers of another protocol.

use anyhow::Result;

use crate::stage::malformed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_of_another_version_interrupt_once_at_most() -> Result<()> {
    malformed(&[
        b"HTTP/1.1\r\n\r\n",
        b"NATS/2.0\r\nA: b\r\n\r\n",
        b"\r\n\r\n",
    ])
    .await
}
