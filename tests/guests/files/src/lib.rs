//! Uses files as the message says: a `Deed` as JSON. The reply is what came of it, as text.

// A component's exports have names that native linkers refuse.
#![cfg(target_family = "wasm")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};

use serde::Deserialize;
use wharf_guest::prelude::*;

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum Deed {
    /// Opens the file so many times and keeps it open, as long as the instance lives.
    Open { path: String, count: usize },
    /// Begins to list the directory so many times, and keeps on.
    List { path: String, count: usize },
    /// Counts the directory's entries.
    Count { path: String },
    /// Reads the whole file.
    Read { path: String },
    /// Writes so many bytes, all at once, to a file that is emptied.
    Write { path: String, bytes: usize },
    /// Adds so many bytes to the file.
    Append { path: String, bytes: usize },
    /// Writes one byte at this place.
    WriteAt { path: String, place: u64 },
    /// Makes the file so long.
    Resize { path: String, bytes: u64 },
    /// Makes so many empty files.
    Make { path: String, count: usize },
    /// Makes a link to the file, and removes its name.
    Link { path: String, to: String },
    /// Writes the file anew, and puts it in the place of another.
    Replace {
        path: String,
        with: String,
        bytes: usize,
    },
    /// Opens the file, and keeps it open, as one that can be written to.
    Keep { path: String },
    /// Removes the file.
    Remove { path: String },
    /// Ends, by a trap.
    Trap,
}

#[wharf_guest::handler]
fn on_deed(deed: Deed) -> Result<String> {
    Ok(run(deed).unwrap_or_else(|error| error.to_string()))
}

fn run(deed: Deed) -> io::Result<String> {
    match deed {
        Deed::Open { path, count } => Ok(kept(count, || File::open(&path))),
        Deed::List { path, count } => Ok(kept(count, || {
            let mut entries = fs::read_dir(&path)?;
            entries.next().transpose()?;
            Ok(entries)
        })),
        Deed::Count { path } => {
            let names: io::Result<std::collections::BTreeSet<_>> = fs::read_dir(path)?
                .map(|entry| Ok(entry?.file_name()))
                .collect();
            Ok(names?.len().to_string())
        }
        Deed::Read { path } => {
            let mut text = String::new();
            File::open(path)?.read_to_string(&mut text)?;
            Ok(text)
        }
        Deed::Write { path, bytes } => written(fs::write(path, vec![b'x'; bytes])),
        Deed::Append { path, bytes } => {
            let mut file = OpenOptions::new().append(true).create(true).open(path)?;
            written(file.write_all(&vec![b'y'; bytes]))
        }
        Deed::WriteAt { path, place } => {
            let mut file = OpenOptions::new().write(true).open(path)?;
            file.seek(SeekFrom::Start(place))?;
            written(file.write_all(b"z"))
        }
        Deed::Resize { path, bytes } => {
            written(OpenOptions::new().write(true).open(path)?.set_len(bytes))
        }
        Deed::Make { path, count } => {
            for made in 0..count {
                if let Err(error) = File::create(format!("{path}{made}")) {
                    return Ok(format!("{made}, then {error}"));
                }
            }
            Ok(count.to_string())
        }
        Deed::Link { path, to } => {
            fs::hard_link(&path, to)?;
            written(fs::remove_file(path))
        }
        Deed::Replace { path, with, bytes } => {
            fs::write(&with, vec![b'x'; bytes])?;
            written(fs::rename(with, path))
        }
        Deed::Keep { path } => {
            std::mem::forget(OpenOptions::new().write(true).open(path)?);
            written(Ok(()))
        }
        Deed::Remove { path } => written(fs::remove_file(path)),
        Deed::Trap => std::process::abort(),
    }
}

fn written(done: io::Result<()>) -> io::Result<String> {
    done.map(|()| "done".to_owned())
}

/// Does it so many times, and keeps what comes of it. Returns how often that went well, and what came then.
fn kept<T>(count: usize, mut open: impl FnMut() -> io::Result<T>) -> String {
    for opened in 0..count {
        match open() {
            Ok(open) => std::mem::forget(open),
            Err(error) => return format!("{opened}, then {error}"),
        }
    }
    count.to_string()
}
