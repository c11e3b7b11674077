//! The CPU time that a process has used.

use std::time::Duration;

use anyhow::{Context, Result};

/// User and system time of all threads of a process. `None` where the system has no `/proc`.
pub(crate) fn used(pid: u32) -> Result<Option<Duration>> {
    /// The kernel's unit in `/proc`: fixed for programs, whatever the kernel's own clock does.
    const TICK: Duration = Duration::from_millis(10);
    if !cfg!(target_os = "linux") {
        return Ok(None);
    }
    let file = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    ticks(&text)
        .map(|ticks| Some(TICK * ticks))
        .with_context(|| format!("cannot understand {file}"))
}

/// Fields 14 and 15. The second is the program's name in parentheses, which may have anything in it.
fn ticks(stat: &str) -> Option<u32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u32>().ok()? + fields.next()?.parse::<u32>().ok()?)
}
