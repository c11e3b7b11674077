//! Building guests. A guest is found by its folder: nothing here names one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::workspace::{Workspace, entries, folders};
use crate::{Result, process, python, toolchain};

/// The compiler for Python guests. Each guest's `requirements.txt` has its version.
const COMPONENTIZE_PY: &str = "componentize-py";

/// Builds every guest that is written in Rust: `examples/*-rust` and `tests/guests/*`. Returns their folder.
pub(crate) fn build_rust(workspace: &Workspace) -> Result<PathBuf> {
    toolchain::ensure_target()?;
    let mut guests = folders(&workspace.root.join("tests/guests"))?;
    guests.extend(examples(workspace, "-rust")?);
    let mut cargo = process::cargo();
    cargo.current_dir(&workspace.root).args([
        "build",
        "--target",
        toolchain::TARGET,
        "--profile",
        "guest",
    ]);
    for manifest in guests
        .iter()
        .map(|folder| folder.join("Cargo.toml"))
        .filter(|manifest| manifest.is_file())
    {
        cargo.arg("--package").arg(package_name(&manifest)?);
    }
    process::run(&mut cargo)?;
    Ok(workspace.target.join(toolchain::TARGET).join("guest"))
}

/// Builds every guest that is written in Python: `examples/*-python`. Returns the components.
pub(crate) fn build_python(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    examples(workspace, "-python")?
        .iter()
        .map(|folder| componentize(workspace, folder))
        .collect()
}

fn examples(workspace: &Workspace, suffix: &str) -> Result<Vec<PathBuf>> {
    let mut examples = folders(&workspace.root.join("examples"))?;
    examples.retain(|folder| {
        folder
            .file_name()
            .is_some_and(|name| name.to_string_lossy().ends_with(suffix))
    });
    Ok(examples)
}

/// The first `name = "…"` of a manifest: its package's.
fn package_name(manifest: &Path) -> Result<String> {
    let text = fs::read_to_string(manifest)
        .map_err(|error| format!("cannot read {}: {error}", manifest.display()))?;
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    name.map(str::to_owned)
        .ok_or_else(|| format!("{} has no line `name = \"…\"`", manifest.display()))
}

/// Compiles `app.py` of a folder `WORLD-python`, which has its world in `wit`, to `target/guests/<folder>.wasm`, unless
/// that is newer than all that it is made of.
fn componentize(workspace: &Workspace, folder: &Path) -> Result<PathBuf> {
    let version = required_version(&folder.join("requirements.txt"))?;
    let tool = python::package(workspace, COMPONENTIZE_PY, &version)
        .map_err(|why| format!("the compiler for Python guests is missing, and {why}"))?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let component = workspace.target.join("guests").join(format!("{name}.wasm"));
    let made_of = newest(&tool)?.max(newest(folder)?);
    if fs::metadata(&component)
        .and_then(|data| data.modified())
        .is_ok_and(|made| made >= made_of)
    {
        return Ok(component);
    }
    let output = component.parent().unwrap_or(&component);
    fs::create_dir_all(output)
        .map_err(|error| format!("cannot make {}: {error}", output.display()))?;
    // Made under another name and moved: an interrupted run leaves no half component behind.
    let unfinished = component.with_extension(format!("{}.part", std::process::id()));
    let mut compiler = python::python()?;
    compiler
        .env("PYTHONPATH", &tool)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(tool.join("bin/componentize-py"));
    compiler
        .arg("-d")
        .arg(folder.join("wit"))
        .args(["-w", name.trim_end_matches("-python")]);
    compiler
        .args(["componentize", "app", "-p"])
        .arg(folder)
        .arg("-o")
        .arg(&unfinished);
    process::run(&mut compiler)?;
    fs::rename(&unfinished, &component)
        .map_err(|error| format!("cannot make {}: {error}", component.display()))?;
    Ok(component)
}

/// The version in the line `componentize-py==0.25.1`.
fn required_version(requirements: &Path) -> Result<String> {
    let text = read(requirements)?;
    let mut lines = text.lines().map(str::trim);
    let version = lines.find_map(|line| line.strip_prefix(COMPONENTIZE_PY)?.strip_prefix("=="));
    version.map(str::to_owned).ok_or_else(|| {
        format!(
            "{} has no line `{COMPONENTIZE_PY}==VERSION`",
            requirements.display()
        )
    })
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

/// When the newest file in a folder was changed. What is hidden, such as a virtual environment, is no part of it.
fn newest(folder: &Path) -> Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for path in entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || name == "__pycache__" {
            continue;
        }
        newest = newest.max(if path.is_dir() {
            self::newest(&path)?
        } else {
            modified(&path)?
        });
    }
    Ok(newest)
}

fn modified(path: &Path) -> Result<SystemTime> {
    let data = fs::metadata(path).and_then(|data| data.modified());
    data.map_err(|error| format!("cannot tell when {} was changed: {error}", path.display()))
}
