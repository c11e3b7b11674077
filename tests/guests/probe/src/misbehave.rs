//! What a guest should not do.

use serde_json::{Value, json};

use crate::bindings::wharf::nats::keyvalue::Bucket;
use crate::step::Step;

pub(crate) fn run(step: Step) -> Result<Value, Value> {
    match step {
        Step::Trap => panic!("told to trap"),
        Step::Spin => loop {
            std::hint::black_box(());
        },
        Step::Allocate { bytes } => {
            let mut memory = vec![1_u8; bytes];
            std::hint::black_box(&mut memory);
            Ok(json!(memory.len()))
        }
        Step::Exit { code } => std::process::exit(code),
        Step::OpenMany { bucket, count } => {
            let open = |_| Bucket::open(Some(&bucket)).map_err(crate::calls::error);
            let buckets: Vec<Bucket> = (0..count).map(open).collect::<Result<_, _>>()?;
            Ok(json!(buckets.len()))
        }
        other => Err(json!({ "kind": "probe", "text": format!("{other:?} is no misbehaviour") })),
    }
}
