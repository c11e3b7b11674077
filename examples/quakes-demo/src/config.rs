//! The configuration file of a host that runs the guest.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Makes an empty folder and writes a `wharf.toml` into it: one guest that hears `quakes.*`, on a server of the host's own
/// whose data are in the same folder. Returns the file.
///
/// # Errors
/// If the folder cannot be emptied, or written to.
pub(crate) fn write(folder: &Path, component: &Path) -> Result<PathBuf> {
    let failed = || format!("cannot make {}", folder.display());
    if folder.exists() {
        std::fs::remove_dir_all(folder)
            .with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(folder).with_context(failed)?;
    let component = std::path::absolute(component).with_context(failed)?;
    // A JSON string is a TOML string, too.
    let component = serde_json::to_string(&component.to_string_lossy()).with_context(failed)?;
    let file = folder.join("wharf.toml");
    std::fs::write(&file, text(&component))
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

fn text(component: &str) -> String {
    format!(
        r#"# No server is named: the host starts one of its own, and keeps all that is stored here.
[host]
data = "data"
cache = "cache"

[guests.quakes]
component = {component}
subscribe = ["quakes.*"]
publish = ["alerts.>"]
buckets = {{ quakes = "read-write" }}
config = {{ threshold = "4.5" }}
"#
    )
}
