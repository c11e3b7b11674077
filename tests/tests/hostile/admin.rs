//! Orders that are none, from one who may give orders.

use anyhow::{Result, ensure};
use wharf_tests::probe::service_error;
use wharf_tests::raw::{LONE_CR, SPACE_IN_NAME};
use wharf_tests::soon;

use crate::stage::{LITTLE, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_cannot_be_read_are_refused_and_the_next_is_carried_out() -> Result<()> {
    let stage = Stage::set().await?;
    let mut raw = stage.raw().await?;
    stage.interrupt(&mut raw, LONE_CR).await?;
    let orders: [&[u8]; 6] = [
        br#"{ "a\rb": 1 }"#,
        br#"{ "guest": "x\r\n\u0000", "settings": "\r = 1" }"#,
        b"{ \"a\rb\": 1 }",
        b"\xff\xfe",
        &b"[".repeat(100_000),
        &b"{\"guest\":".repeat(50_000),
    ];
    let orders = orders.map(<[u8]>::to_vec);
    let attack = async {
        for order in &orders {
            for verb in ["show", "load", "replace", "unload", "promote", "abort", "x"] {
                let subject = format!("wharf.admin.here.{verb}");
                let asked = stage.client.request(subject, order.clone().into());
                let reply = soon("the order is refused", asked).await??;
                let (code, _) = service_error(&reply)?;
                ensure!(["400", "404"].contains(&code.as_str()), "{code}");
            }
            for headers in [LONE_CR, SPACE_IN_NAME] {
                raw.publish("wharf.admin.here.load", "", headers, order)
                    .await?;
            }
            raw.flush().await?;
        }
        Ok(())
    };
    stage.measure(LITTLE, attack).await?;
    let asked = stage.client.request("wharf.admin.here.list", "".into());
    let reply = soon("the guests are listed", asked).await??;
    ensure!(reply.payload.starts_with(b"{"), "{reply:?}");
    stage.lost_at_most(1).await
}
