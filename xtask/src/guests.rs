//! Building guests. A guest is found by its folder: nothing here names one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::workspace::{Workspace, entries, folders};
use crate::{Result, process, python, toolchain};

/// The compiler for Python guests, and its version.
const COMPONENTIZE_PY: (&str, &str) = ("componentize-py", "0.25.1");

/// Builds every guest that is written in Rust: `examples/*-rust` and `tests/guests/*`. Returns their folder.
pub(crate) fn build_rust(workspace: &Workspace) -> Result<PathBuf> {
    toolchain::ensure_target()?;
    let mut guests = folders(&workspace.root.join("tests/guests"))?;
    guests.extend(examples(workspace, "-rust")?);
    let mut cargo = process::cargo();
    cargo.current_dir(&workspace.root).args(["build", "--target", toolchain::TARGET, "--profile", "guest"]);
    for manifest in
        guests.iter().map(|folder| folder.join("Cargo.toml")).filter(|manifest| manifest.is_file())
    {
        cargo.arg("--package").arg(package_name(&manifest)?);
    }
    process::run(&mut cargo)?;
    Ok(workspace.target.join(toolchain::TARGET).join("guest"))
}

/// Builds every guest that is written in Python: `examples/*-python`. Returns the components.
pub(crate) fn build_python(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    examples(workspace, "-python")?.iter().map(|folder| componentize(workspace, folder)).collect()
}

fn examples(workspace: &Workspace, suffix: &str) -> Result<Vec<PathBuf>> {
    let mut examples = folders(&workspace.root.join("examples"))?;
    examples.retain(|folder| folder.file_name().is_some_and(|name| name.to_string_lossy().ends_with(suffix)));
    Ok(examples)
}

/// The first `name = "…"` of a manifest: its package's.
fn package_name(manifest: &Path) -> Result<String> {
    let text = fs::read_to_string(manifest)
        .map_err(|error| format!("cannot read {}: {error}", manifest.display()))?;
    let name = text.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    name.map(str::to_owned).ok_or_else(|| format!("{} has no line `name = \"…\"`", manifest.display()))
}

/// Compiles `app.py` of a folder to `target/guests/<folder>.wasm`, unless that is newer than all that it is made of.
fn componentize(workspace: &Workspace, folder: &Path) -> Result<PathBuf> {
    let (name, version) = COMPONENTIZE_PY;
    let tool = python::package(workspace, name, version)
        .map_err(|why| format!("the compiler for Python guests is missing, and {why}"))?;
    let wit = workspace.root.join("wit");
    let stem = folder.file_name().unwrap_or_default().to_string_lossy();
    let component = workspace.target.join("guests").join(format!("{stem}.wasm"));
    let made_of = newest(&tool)?.max(newest(&wit)?).max(newest(folder)?);
    if fs::metadata(&component).and_then(|data| data.modified()).is_ok_and(|made| made >= made_of) {
        return Ok(component);
    }
    let output = component.parent().unwrap_or(&component);
    fs::create_dir_all(output).map_err(|error| format!("cannot make {}: {error}", output.display()))?;
    // Made under another name and moved: an interrupted run leaves no half component behind.
    let unfinished = component.with_extension(format!("{}.part", std::process::id()));
    let mut componentize = python::python()?;
    componentize
        .env("PYTHONPATH", &tool)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(tool.join("bin/componentize-py"));
    componentize.arg("-d").arg(&wit).args(["-w", "guest", "componentize", "app", "-p"]).arg(folder);
    process::run(componentize.arg("-o").arg(&unfinished))?;
    fs::rename(&unfinished, &component)
        .map_err(|error| format!("cannot make {}: {error}", component.display()))?;
    Ok(component)
}

/// When the newest file in a folder was changed.
fn newest(folder: &Path) -> Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for path in entries(folder)?.iter().filter(|path| !path.ends_with("__pycache__")) {
        let changed = if path.is_dir() { self::newest(path)? } else { modified(path)? };
        newest = newest.max(changed);
    }
    Ok(newest)
}

fn modified(path: &Path) -> Result<SystemTime> {
    let data = fs::metadata(path).and_then(|data| data.modified());
    data.map_err(|error| format!("cannot tell when {} was changed: {error}", path.display()))
}
