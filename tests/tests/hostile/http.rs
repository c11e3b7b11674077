//! Connections over HTTP that do not ask, ask slowly, or do not read.

use anyhow::Result;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::stage::{LITTLE, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_holds_connections_keeps_nobody_from_livez() -> Result<()> {
    let stage = Stage::set().await?;
    stage
        .measure(LITTLE, async {
            let mut held = Vec::new();
            let long = format!("GET /livez HTTP/1.1\r\nx: {}", "x".repeat(10_000));
            for begin in [
                "",
                "GET /liv",
                "GET /metrics HTTP/1.1\r\nhost: x\r\n",
                &long,
            ] {
                for _ in 0..80 {
                    let mut stream = TcpStream::connect(stage.http).await?;
                    stream.write_all(begin.as_bytes()).await?;
                    held.push(stream);
                }
                for _ in 0..10 {
                    stage.get("/livez").await?;
                    stage.get("/readyz").await?;
                }
            }
            // Those that ask for figures and leave them.
            for _ in 0..80 {
                let mut stream = TcpStream::connect(stage.http).await?;
                stream
                    .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
                    .await?;
                held.push(stream);
                stage.get("/livez").await?;
            }
            Ok(())
        })
        .await?;
    stage.lost_at_most(0).await
}
