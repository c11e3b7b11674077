//! What fuzzers call: functions that take bytes from strangers, which may be any, and panic where they break a promise.

use std::sync::LazyLock;

use crate::guest::{Engine, inspect_bytes};

/// The engine of all inspections. It keeps nothing: a cache would be full of what nobody runs.
static ENGINE: LazyLock<Engine> =
    LazyLock::new(|| Engine::without_cache().expect("this machine can run guests"));

/// Inspects a component.
///
/// # Panics
/// The inspection contradicts itself, or repeats characters that a terminal would obey.
pub fn inspect(bytes: &[u8]) {
    let Ok(found) = inspect_bytes(&ENGINE, bytes) else {
        return;
    };
    assert_eq!(found.size_bytes, bytes.len() as u64);
    assert_eq!(
        found.world.is_some(),
        found.problems.is_empty(),
        "{found:?}"
    );
    let names = found.imports.iter().map(|import| &import.name);
    for text in names.chain(&found.exports).chain(&found.problems) {
        assert!(
            !text.contains(|letter: char| letter.is_control() && letter != '\n'),
            "{text:?}"
        );
    }
}

/// Passes a server's stream through the filter for malformed messages.
///
/// # Panics
/// What comes out depends on how the stream is split, or has something in it that the client could not read.
pub fn filter(bytes: &[u8]) {
    crate::connection::fuzz_filter(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Components of which each part of the format is in one.
    const SEEDS: [&str; 6] = [
        r#"(component
            (import "wharf:nats/pubsub@0.2.0" (instance $pubsub
                (type $e (variant (case "denied" string) (case "conflict") (case "too-large" u64)))
                (export "error" (type $error (eq $e)))
                (export "publish" (func (param "subject" string) (param "payload" (list u8))
                    (result (result (error $error)))))))
            (alias export $pubsub "publish" (func $publish))
            (core module $memory (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0)))
            (core instance $memory (instantiate $memory))
            (core func $lowered (canon lower (func $publish)
                (memory (core memory $memory "memory")) (realloc (core func $memory "realloc"))))
            (core module $m
                (import "" "publish" (func $publish (param i32 i32 i32 i32 i32)))
                (func (export "run") (call $publish
                    (i32.const 0) (i32.const 1) (i32.const 2) (i32.const 3) (i32.const 4))))
            (core instance $i (instantiate $m (with "" (instance (export "publish" (func $lowered))))))
            (func (export "run") (canon lift (core func $i "run"))))"#,
        r#"(component
            (import "wasi:http/types@0.2.6" (instance $types
                (export "fields" (type $fields (sub resource)))
                (export "[constructor]fields" (func (result (own $fields))))
                (export "[method]fields.len" (func (param "self" (borrow $fields)) (result u32)))))
            (import "wasi:io/poll@0.2.0" (instance (export "pollable" (type (sub resource)))))
            (alias export $types "fields" (type $fields))
            (core func $drop (canon resource.drop $fields)))"#,
        r#"(component
            (component $c (import "f" (func)))
            (instance $i)
            (export "wharf:nats/handler@0.2.0" (instance $i))
            (export "wharf:nats/lifecycle@0.2.0" (instance $i)))"#,
        r#"(component
            (type $r (resource (rep i32)))
            (core func $new (canon resource.new $r))
            (core func $rep (canon resource.rep $r))
            (core module $m (func (export "f") (param f64 i64) (result i32) (i32.const 7))
                (table (export "t") 2 10 funcref) (global (export "g") (mut i32) (i32.const 1)))
            (core instance $i (instantiate $m))
            (type $flags (flags "a" "b")) (export $flags2 "flags" (type $flags))
            (type $record (record (field "a" f64) (field "b" s64)))
            (export $record2 "record" (type $record))
            (func (export "f") (param "r" $record2) (result $flags2)
                (canon lift (core func $i "f"))))"#,
        r#"(component
            (core module $m
                (memory 1 100) (data (i32.const 0) "text") (table 5 funcref) (elem (i32.const 0) $f $f)
                (func $f (param i32) (result i32) (local i64 f32 v128)
                    (block (loop (br_if 0 (i32.load8_u (local.get 0))) (br_table 0 1 (local.get 0))))
                    (memory.fill (i32.const 0) (i32.const 1) (i32.const 2))
                    (call_indirect (param i32) (result i32) (local.get 0) (i32.const 1)))
                (start $s) (func $s) (export "f" (func $f)))
            (core instance (instantiate $m)))"#,
        r#"(component
            (type $interface (instance (type $t (option (tuple string char bool)))
                (export "f" (func (param "x" $t) (result (list $t))))))
            (import "acme:gpu/tensors@1.0.0" (instance $i (type $interface)))
            (component $inner (import "i" (instance (type $interface)))
                (component $innermost (type $u u32) (export "x" (type $u))))
            (instance (instantiate $inner (with "i" (instance $i)))))"#,
    ];

    /// Executions in a test run. More by hand: `WHARF_FUZZ_EXECUTIONS=100000`.
    const EXECUTIONS: u64 = 3000;

    /// Numbers that look random, and are the same each time: xorshift.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % bound.max(1) as u64).unwrap_or_default()
        }
    }

    /// Changes some bytes, or moves some: those that stand for lengths and kinds are among them.
    fn mutate(bytes: &mut Vec<u8>, other: &[u8], numbers: &mut Numbers) {
        const TELLING: [u8; 12] = [
            0, 1, 2, 0x0d, 0x40, 0x60, 0x6f, 0x70, 0x7f, 0x80, 0xfe, 0xff,
        ];
        // Without the first eight it is no component.
        let at = 8 + numbers.below(bytes.len().saturating_sub(8));
        let length = 1 + numbers.below(16);
        let end = (at + length).min(bytes.len());
        match numbers.below(7) {
            0 => bytes[at.min(end - 1)] ^= 1 << numbers.below(8),
            1 => bytes[at.min(end - 1)] = TELLING[numbers.below(TELLING.len())],
            2 => drop(bytes.drain(at.min(end)..end)),
            3 => {
                let copied = bytes[at.min(end)..end].to_vec();
                let to = 8 + numbers.below(bytes.len() - 8);
                bytes.splice(to..to, copied);
            }
            4 => bytes.insert(at.min(bytes.len()), TELLING[numbers.below(TELLING.len())]),
            5 => {
                let from = numbers.below(other.len());
                let until = (from + length).min(other.len());
                bytes.splice(at.min(end)..end, other[from..until].iter().copied());
            }
            _ => bytes.truncate(at.max(9)),
        }
    }

    #[test]
    fn no_component_that_was_changed_by_chance_breaks_an_inspection() -> Result<(), wat::Error> {
        let seeds: Vec<Vec<u8>> = SEEDS.iter().map(wat::parse_str).collect::<Result<_, _>>()?;
        for (seed, text) in seeds.iter().zip(SEEDS) {
            let inspected = inspect_bytes(&ENGINE, seed);
            assert!(inspected.is_ok(), "{:?}: {text}", inspected.err());
            inspect(seed);
        }
        let executions = std::env::var("WHARF_FUZZ_EXECUTIONS")
            .ok()
            .and_then(|count| count.parse().ok())
            .unwrap_or(EXECUTIONS);
        let mut compiled = 0;
        for execution in 0..executions {
            // Each by itself: one that fails can be run again alone.
            let mut numbers = Numbers((execution + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut bytes = seeds[numbers.below(seeds.len())].clone();
            let other = &seeds[numbers.below(seeds.len())];
            for _ in 0..=numbers.below(4) {
                if bytes.len() > 9 {
                    mutate(&mut bytes, other, &mut numbers);
                }
            }
            compiled += usize::from(inspect_bytes(&ENGINE, &bytes).is_ok());
            inspect(&bytes);
        }
        assert!(compiled > 0, "all were refused at once");
        Ok(())
    }
}
