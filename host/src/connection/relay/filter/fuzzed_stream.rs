//! The filter's promises, for any bytes.

use super::{Filter, Malformed, Unfollowable};

/// Passes a server's stream through the filter: whole, and in parts whose length the first byte says.
///
/// # Panics
/// What comes out depends on how the stream is split, or has something in it that the client could not read.
pub(crate) fn filter(bytes: &[u8]) {
    let Some((first, stream)) = bytes.split_first() else {
        return;
    };
    let (out, _, followed) = pass(stream, stream.len());
    let in_parts = pass(stream, usize::from(*first));
    assert_eq!(out, in_parts.0, "in parts");
    assert_eq!(followed, in_parts.2);
    // What the filter has let through, it lets through.
    let (again, reported, _) = pass(&out, out.len());
    assert_eq!(reported, 0, "{}", out.escape_ascii());
    assert_eq!(out, again);
}

/// What comes out, the number of messages that were mended or dropped, and whether the stream could be followed.
fn pass(stream: &[u8], part: usize) -> (Vec<u8>, usize, Result<(), Unfollowable>) {
    let (mut filter, mut out, mut reported) = (Filter::default(), Vec::new(), 0);
    let mut report = |_: Malformed<'_>| reported += 1;
    let mut parts = stream.chunks(part.max(1));
    let followed = parts.try_for_each(|part| filter.push(part, &mut out, &mut report));
    (out, reported, followed)
}
