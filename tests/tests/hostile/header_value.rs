//! A lone carriage return in a header's value, at which the client library panics.

use anyhow::Result;

use crate::stage::malformed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_with_carriage_returns_interrupt_once_at_most() -> Result<()> {
    malformed(&[
        b"NATS/1.0\r\nX: a\rb\r\n\r\n",
        b"NATS/1.0\r\nX: a\r\rb\r\n\r\n",
        b"NATS/1.0\r\nA: b\r\nX: a\rNats-Service-Error: c\r\n\r\n",
    ])
    .await
}
