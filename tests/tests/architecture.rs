//! The walls between the host's modules: no circles, no import that ARCHITECTURE.md forbids, and a map that is true.

use anyhow::Result;
use wharf_tests::walls::{Map, Tree};
use wharf_tests::workspace;

/// Imports that make circles, and may.
const KNOWN: [(&str, &str); 1] = [
    // `bindgen!` wants to be told of the type that is behind a resource, which is made with what it generates.
    ("imports/bindings.rs", "imports/keyvalue.rs"),
];

#[test]
fn the_walls_between_the_hosts_modules_stand() -> Result<()> {
    let tree = Tree::read("wharf", &workspace().join("host/src"))?;
    let map = std::fs::read_to_string(workspace().join("ARCHITECTURE.md"))?;
    let mut problems = tree.problems(&KNOWN);
    problems.extend(Map::read(&map).problems(&tree));
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
    Ok(())
}

/// What is found in a crate of these files.
fn circles(files: &[(&str, &str)]) -> Result<Vec<String>> {
    Ok(Tree::of("made_up", files.iter().copied())?.problems(&[]))
}

/// What a document gets wrong of a crate of these files.
fn wrong(document: &str, files: &[(&str, &str)]) -> Result<Vec<String>> {
    let tree = Tree::of("made_up", files.iter().copied())?;
    Ok(Map::read(document).problems(&tree))
}

/// Who imports whom in a crate of these files.
fn imports(files: &[(&str, &str)]) -> Result<Vec<String>> {
    let tree = Tree::of("made_up", files.iter().copied())?;
    let imports = tree.imports();
    Ok(imports
        .map(|(from, to, path)| format!("{from} → {to}: {path}"))
        .collect())
}

#[test]
fn an_import_is_found_wherever_a_path_may_stand() -> Result<()> {
    for text in [
        "use crate::b::B;",
        "use crate::{a::A, b::B};",
        "use crate::{b::{B, C as D}};",
        "use super::b::B;",
        "fn f(b: &crate::b::B) {}",
        "fn f() { super::b::f::<u8>() }",
        "fn f() { tracing::warn!(\"{}\", crate::b::f()); }",
        "fn f() { use crate::b; b::f(); }",
        "use crate::b as c; fn f() -> c::B { c::B }",
        "use crate::b;",
        "mod within { pub fn f() { super::super::b::f() } }",
        "#[derive(crate::b::B)] struct S;",
        "macro_rules! m { () => { $crate::b::f() } }",
        "#[cfg(unix)] fn f() { crate::b::f() }",
        "#[cfg(not(test))] use crate::b::B;",
        "#[cfg(test)] use crate::c::C; use crate::b::B;",
        "#[cfg(test)] fn f<A, B>() { crate::c::C } fn g() { crate::b::f() }",
    ] {
        let found = imports(&[("a.rs", text), ("b.rs", ""), ("c.rs", "")])?;
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].starts_with("a.rs → b.rs: "), "{text}: {found:?}");
    }
    Ok(())
}

#[test]
fn no_import_is_found_where_there_is_none() -> Result<()> {
    for text in [
        "// crate::b::B",
        "/// See [`crate::b::B`].\nfn f() {}",
        "fn f() -> &'static str { \"crate::b::B\" }",
        "#[cfg(test)] mod tests { use crate::b::B; }",
        "#[cfg(test)] use crate::{b::B};",
        "#[cfg(all(test, unix))] #[test] fn f() { crate::b::f() }",
        "mod b; pub use crate::b::B; pub(crate) use b::C; pub(in crate::c) use b::D;",
        "use b::B; fn f() { other::b::f() }",
        "fn f(x: X) { x.b() } impl crate::a::X { fn b() { Self::b() } }",
    ] {
        let found = imports(&[("a.rs", text), ("b.rs", ""), ("c.rs", "")])?;
        assert!(found.is_empty(), "{text}: {found:?}");
    }
    let with_tests = [
        ("a.rs", "#[cfg(test)] mod tests;"),
        ("a/tests.rs", "use crate::b::B;"),
        ("b.rs", ""),
    ];
    assert!(imports(&with_tests)?.is_empty());
    Ok(())
}

#[test]
fn an_import_leads_to_the_file_that_defines_the_item() -> Result<()> {
    let files = [
        ("a.rs", "use crate::{b::Renamed, b::fetch, b::Enum::A};"),
        (
            "b/mod.rs",
            "mod deep; mod fetch; pub use self::deep::deeper::Item as Renamed; pub use fetch::fetch; enum Enum { A }",
        ),
        ("b/deep/mod.rs", "pub mod deeper;"),
        ("b/deep/deeper.rs", ""),
        ("b/fetch.rs", ""),
    ];
    let expected = [
        "a.rs → b/deep/deeper.rs: crate::b::Renamed",
        "a.rs → b/fetch.rs: crate::b::fetch",
        "a.rs → b/mod.rs: crate::b::Enum::A",
    ];
    assert_eq!(imports(&files)?, expected);

    let files = [
        ("lib.rs", "mod a; pub use a::A;"),
        ("a.rs", ""),
        ("main.rs", "mod cli; fn main() { cli::run() }"),
        ("cli/mod.rs", "mod a; pub fn run() { a::f(made_up::A) }"),
        ("cli/a.rs", "use crate::cli::run;"),
    ];
    let expected = [
        "cli/a.rs → cli/mod.rs: crate::cli::run",
        "cli/mod.rs → a.rs: made_up::A",
        "cli/mod.rs → cli/a.rs: a::f",
        "main.rs → cli/mod.rs: cli::run",
    ];
    assert_eq!(imports(&files)?, expected);

    let files = [
        ("a/mod.rs", "mod b; pub use b::B; fn f(b: B) {}"),
        ("a/b.rs", ""),
    ];
    assert_eq!(
        imports(&files)?,
        ["a/mod.rs → a/b.rs: B"],
        "a module that uses what it passes on"
    );
    Ok(())
}

#[test]
fn a_circle_is_found_with_its_whole_ring_once() -> Result<()> {
    let mut files = vec![
        ("a.rs", "use crate::b::B;"),
        ("b.rs", "fn f() { crate::c::C }"),
        ("c.rs", "mod d { use super::super::a::A; } use crate::e::E;"),
        ("e.rs", ""),
        ("f.rs", "use super::a::A;"),
    ];
    assert_eq!(circles(&files)?, ["a circle: a.rs → b.rs → c.rs → a.rs"]);
    files[0].1 = "#[cfg(test)] mod tests { use crate::b::B; }";
    assert!(circles(&files)?.is_empty());

    let two = [
        ("a.rs", "use crate::b::B;"),
        ("b.rs", "use crate::a::A;"),
        ("x/mod.rs", "mod y; use y::Y; struct X;"),
        ("x/y.rs", "use super::X;"),
    ];
    assert_eq!(
        circles(&two)?,
        [
            "a circle: a.rs → b.rs → a.rs",
            "a circle: x/mod.rs → x/y.rs → x/mod.rs"
        ]
    );
    let tree = Tree::of("made_up", two)?;
    assert_eq!(
        tree.problems(&[("a.rs", "b.rs"), ("x/y.rs", "x/mod.rs")]),
        [""; 0]
    );
    assert_eq!(
        tree.problems(&[("a.rs", "b.rs"), ("x/y.rs", "x/mod.rs"), ("a.rs", "x/y.rs")]),
        ["known, but gone: a.rs imports x/y.rs no more"]
    );
    let glob = [("a.rs", "use crate::b::*;"), ("b.rs", "")];
    assert_eq!(
        circles(&glob)?,
        ["a.rs imports all of `crate::b`: name what it uses"]
    );
    Ok(())
}

const DOCUMENT: &str = "
```
  src/config/           settings
  src/net.rs, policy.rs the rest
```
| module | must not know | why |
|---|---|---|
| `config`, `policy` | `net`, `tokio` | pure |

| crate | may be named in | why |
|---|---|---|
| `tokio` | `net.rs` | |
| `std::process` | `net` | |

A message begins in `net.rs:Net::begin()`.
";

const NET: (&str, &str) = (
    "net.rs",
    "use tokio::task; struct Net; impl Net { fn begin() { std::process::abort() } }",
);

#[test]
fn a_document_that_is_true_has_no_problems() -> Result<()> {
    let files = [
        ("config/mod.rs", "use crate::policy::P;"),
        ("policy.rs", "use std::fmt;"),
        NET,
    ];
    assert_eq!(wrong(DOCUMENT, &files)?, [""; 0]);
    Ok(())
}

#[test]
fn a_wall_that_is_broken_is_named_with_both_files() -> Result<()> {
    let files = [
        ("config/mod.rs", "mod load;"),
        ("config/load.rs", "fn f() { crate::net::f() }"),
        ("policy.rs", "fn f() { tokio::spawn(std::process::id()) }"),
        NET,
    ];
    assert_eq!(
        wrong(DOCUMENT, &files)?,
        [
            "config/load.rs must not know net.rs: `crate::net::f`",
            "policy.rs must not know `tokio`",
            "policy.rs must not name `std::process`",
            "policy.rs must not name `tokio`",
        ]
    );
    Ok(())
}

#[test]
fn a_document_that_has_aged_is_found() -> Result<()> {
    let files = [
        ("config/mod.rs", ""),
        ("net.rs", ""),
        ("new/mod.rs", "use tokio::task;"),
    ];
    assert_eq!(
        wrong(DOCUMENT, &files)?,
        [
            "src/new/ is not on the map",
            "src/policy.rs is on the map, and not in the code",
            "`policy` must not know something, and is no module",
            "new/mod.rs must not name `tokio`",
            "`net.rs` may name [\"tokio\"], and does not",
            "`net` may name [\"std::process\"], and does not",
            "net.rs has no function `begin`",
        ]
    );
    assert_eq!(
        wrong("| `config` | `nett` | |", &[("lib.rs", "")])?,
        [
            "src/lib.rs is not on the map",
            "no table has the cells [\"module\", \"must not know\"]",
            "no table has the cells [\"crate\", \"may be named in\"]",
        ]
    );
    let typo = DOCUMENT.replace("`net`, `tokio`", "`nett`, `tokio`");
    let files = [("config/mod.rs", ""), ("policy.rs", ""), NET];
    assert_eq!(
        wrong(&typo, &files)?,
        ["`nett` is no module, and no crate that a file names"]
    );
    Ok(())
}
