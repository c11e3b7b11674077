//! Circles of files that import each other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Who imports whom.
type Next<'a> = BTreeMap<&'a str, Vec<&'a str>>;

/// One circle of each group of files that import each other: the shortest through its first file. Each file imports the
/// next, and the last the first.
pub(crate) fn circles<'a>(
    imports: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Vec<Vec<&'a str>> {
    let mut next = Next::new();
    for (from, to) in imports {
        next.entry(from).or_default().push(to);
    }
    let mut found = Vec::new();
    let mut in_one = BTreeSet::new();
    for &file in next.keys() {
        if in_one.contains(file) {
            continue;
        }
        if let Some(ring) = ring(file, &next) {
            let reached = reach(file, &next);
            in_one.extend(
                reached
                    .into_iter()
                    .filter(|other| reach(other, &next).contains(file)),
            );
            found.push(ring);
        }
    }
    found
}

/// The shortest way from a file back to it.
fn ring<'a>(file: &'a str, next: &Next<'a>) -> Option<Vec<&'a str>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([file]);
    while let Some(from) = queue.pop_front() {
        for &to in next.get(from).into_iter().flatten() {
            if to == file {
                let mut ring = vec![from];
                let mut at = from;
                while at != file {
                    at = before[at];
                    ring.push(at);
                }
                ring.reverse();
                return Some(ring);
            }
            if !before.contains_key(to) {
                before.insert(to, from);
                queue.push_back(to);
            }
        }
    }
    None
}

/// All that a file imports, and they, and so on.
fn reach<'a>(file: &'a str, next: &Next<'a>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut queue = vec![file];
    while let Some(from) = queue.pop() {
        for &to in next.get(from).into_iter().flatten() {
            if reached.insert(to) {
                queue.push(to);
            }
        }
    }
    reached
}
