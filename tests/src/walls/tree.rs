//! The files of a crate, and which of them import each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path as FilePath;

use anyhow::{Context, Result};

use super::circles::circles;
use super::source::{Path, Source, Use};

/// How many re-exports are followed from one path: enough for any that compiles.
const MAX_STEPS: usize = 32;

/// The files of a crate: its library, and a command beside it in `main.rs` and `cli/`.
#[derive(Debug)]
pub struct Tree {
    /// What is in each file, by its path in the crate's `src`. Files that are there only in tests are left out.
    files: BTreeMap<String, Source>,
    /// The name by which the command calls the library.
    name: String,
    /// Who imports whom, and the path that says so, as it is written.
    imports: BTreeMap<(String, String), String>,
}

/// Where a path leads.
enum Target {
    /// To an item that this file defines.
    Item(String),
    /// To a module: this file.
    Module(String),
}

impl Tree {
    /// Reads all of a crate's `src`.
    ///
    /// # Errors
    /// When a file cannot be read, or is no Rust.
    pub fn read(name: &str, src: &FilePath) -> Result<Self> {
        let mut files = Vec::new();
        let mut folders = vec![src.to_owned()];
        while let Some(folder) = folders.pop() {
            let entries =
                std::fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))?;
            for entry in entries {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let name = path.strip_prefix(src)?.to_string_lossy().into_owned();
                    files.push((name, std::fs::read_to_string(&path)?));
                }
            }
        }
        Self::of(name, files)
    }

    /// Takes files as if they were a crate's `src`.
    ///
    /// # Errors
    /// When one of them is no Rust.
    pub fn of(
        name: &str,
        files: impl IntoIterator<Item = (impl Into<String>, impl AsRef<str>)>,
    ) -> Result<Self> {
        let mut sources = BTreeMap::new();
        for (file, text) in files {
            let file = file.into();
            let source = Source::read(text.as_ref()).with_context(|| file.clone())?;
            sources.insert(file, source);
        }
        let mut tree = Self {
            files: sources,
            name: name.to_owned(),
            imports: BTreeMap::new(),
        };
        tree.leave_out_tests();
        tree.imports = tree.all_imports();
        Ok(tree)
    }

    fn leave_out_tests(&mut self) {
        let mut only_in_tests = Vec::new();
        for (file, source) in &self.files {
            for name in &source.test_modules {
                let mut module = module_of(file);
                module.push(name.clone());
                only_in_tests.push(module);
            }
        }
        self.files.retain(|file, _| {
            let module = module_of(file);
            !only_in_tests.iter().any(|tests| module.starts_with(tests))
        });
    }

    /// The files, by their paths in `src`.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// The files and folders that are directly in `src`: `queue.rs`, `guest/`.
    #[must_use]
    pub fn top(&self) -> BTreeSet<String> {
        let top = self.files.keys().map(|file| match file.split_once('/') {
            Some((folder, _)) => format!("{folder}/"),
            None => file.clone(),
        });
        // A module's file beside its folder is not a second module.
        let top: BTreeSet<String> = top.collect();
        let beside = |entry: &String| match entry.strip_suffix(".rs") {
            Some(name) => !top.contains(&format!("{name}/")),
            None => true,
        };
        top.iter().filter(|entry| beside(entry)).cloned().collect()
    }

    /// Who imports whom, and the path that says so.
    pub fn imports(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        let imports = self.imports.iter();
        imports.map(|((from, to), path)| (from.as_str(), to.as_str(), path.as_str()))
    }

    /// Whether a file has a function or method of this name.
    #[must_use]
    pub fn has_function(&self, file: &str, name: &str) -> bool {
        let source = self.files.get(file);
        source.is_some_and(|source| source.functions.contains(name))
    }

    /// Whether a file names what begins with this path, of another crate: `async_nats`, `std::process`.
    #[must_use]
    pub fn names(&self, file: &str, path: &str) -> bool {
        let Some(source) = self.files.get(file) else {
            return false;
        };
        let wanted: Vec<&str> = path.split("::").collect();
        let paths = source.uses.iter().map(|item| &item.path);
        let mut paths = paths.chain(&source.paths);
        paths.any(|path| {
            let segments = path.segments.iter().map(String::as_str);
            // A crate's name alone may be a variable's.
            path.segments.len() > 1 && segments.take(wanted.len()).eq(wanted.iter().copied())
        })
    }

    /// Circles, and what keeps imports from being found, a sentence each. Imports that are `known` may make circles.
    #[must_use]
    pub fn problems(&self, known: &[(&str, &str)]) -> Vec<String> {
        let mut problems = Vec::new();
        for files in self.circles(known) {
            problems.push(format!("a circle: {} → {}", files.join(" → "), files[0]));
        }
        for (from, to) in known {
            if !self
                .imports()
                .any(|import| (import.0, import.1) == (*from, *to))
            {
                problems.push(format!("known, but gone: {from} imports {to} no more"));
            }
        }
        for (file, source) in &self.files {
            for item in source.uses.iter().filter(|item| item.name.is_none()) {
                if let Some(Target::Module(_)) = self.target(file, &item.path) {
                    let path = item.path.segments.join("::");
                    problems.push(format!("{file} imports all of `{path}`: name what it uses"));
                }
            }
        }
        problems
    }

    /// One circle of each group of files that import each other. Imports that are `known` make none.
    fn circles(&self, known: &[(&str, &str)]) -> Vec<Vec<&str>> {
        let imports = self.imports().map(|(from, to, _)| (from, to));
        circles(imports.filter(|import| !known.contains(import)))
    }

    fn all_imports(&self) -> BTreeMap<(String, String), String> {
        let mut imports = BTreeMap::new();
        for (file, source) in &self.files {
            let mut add = |target: Option<Target>, path: &Path| {
                let (Some(Target::Item(to)) | Some(Target::Module(to))) = target else {
                    return;
                };
                if to != *file {
                    let written = path.segments.join("::");
                    imports.entry((file.clone(), to)).or_insert(written);
                }
            };
            for path in &source.paths {
                match path.segments.as_slice() {
                    // A name alone is an import where this file passes it on, too; others are at their `use`.
                    [name] => {
                        let again = source.uses.iter().find(|item| {
                            item.public && item.path.segments.len() > 1 && item.is_called(name)
                        });
                        add(again.and_then(|item| self.target(file, &item.path)), path);
                    }
                    _ => add(self.target(file, path), path),
                }
            }
            for item in source.uses.iter().filter(|item| !item.public) {
                match self.target(file, &item.path) {
                    // What is named within the module is what is imported.
                    Some(Target::Module(_)) if source.goes_through(item) => {}
                    target => add(target, &item.path),
                }
            }
        }
        imports
    }

    /// Where a path in a file leads. `None` where that is to another crate, or to what the file itself brings in.
    fn target(&self, file: &str, path: &Path) -> Option<Target> {
        let mut module = module_of(file);
        module.extend(path.inside.iter().cloned());
        self.from(&module, &path.segments, MAX_STEPS)
    }

    /// Where a path in a module leads.
    fn from(&self, module: &[String], segments: &[String], steps: usize) -> Option<Target> {
        let (first, rest) = segments.split_first()?;
        let is_command = module.first().is_some_and(|first| first == "main.rs");
        match first.as_str() {
            "crate" => self.within(&module[..1], rest, steps),
            "self" => self.within(module, rest, steps),
            "super" => {
                let mut module = &module[..module.len() - 1];
                let mut rest = rest;
                while let Some(("super", after)) = rest.split_first().map(|(a, b)| (a.as_str(), b))
                {
                    (module, rest) = (&module[..module.len() - 1], after);
                }
                self.within(module, rest, steps)
            }
            name if is_command && name == self.name => {
                self.within(&["lib.rs".to_owned()], rest, steps)
            }
            name => {
                let child = [module, std::slice::from_ref(first)].concat();
                let brought = self.brought_in(module, name);
                if !rest.is_empty() && self.file_of(&child).is_some() {
                    self.within(&child, rest, steps)
                } else if let (Some(item), false) = (brought, rest.is_empty()) {
                    self.through(module, item, rest, steps)
                } else {
                    None
                }
            }
        }
    }

    /// Where a path leads that begins in a module.
    fn within(&self, module: &[String], segments: &[String], steps: usize) -> Option<Target> {
        let file = self.file_of(module);
        let Some((first, rest)) = segments.split_first() else {
            return file.map(Target::Module);
        };
        let child = [module, std::slice::from_ref(first)].concat();
        let child = self.file_of(&child).map(|_| child);
        let brought = self.brought_in(module, first);
        match (child, brought) {
            // A name that is a function's and a module's is the module's where the path goes on.
            (Some(child), None) => self.within(&child, rest, steps),
            (Some(child), Some(_)) if !rest.is_empty() => self.within(&child, rest, steps),
            (_, Some(item)) => self.through(module, item, rest, steps),
            // A module that is written out, or an item.
            (None, None) => self.nearest_file(module).map(Target::Item),
        }
    }

    /// Goes on where a `use` leads.
    fn through(
        &self,
        module: &[String],
        item: &Use,
        rest: &[String],
        steps: usize,
    ) -> Option<Target> {
        let steps = steps.checked_sub(1)?;
        let segments = [item.path.segments.as_slice(), rest].concat();
        self.from(module, &segments, steps)
    }

    fn brought_in(&self, module: &[String], name: &str) -> Option<&Use> {
        let file = self.file_of(module)?;
        let mut uses = self.files[&file].uses.iter();
        // `use a::{self}` beside a function `a`: the first that compiles is the one.
        uses.find(|item| item.path.inside.is_empty() && item.is_called(name))
    }

    fn file_of(&self, module: &[String]) -> Option<String> {
        let (root, rest) = module.split_first()?;
        let files = if rest.is_empty() {
            vec![root.clone()]
        } else {
            let path = rest.join("/");
            vec![format!("{path}.rs"), format!("{path}/mod.rs")]
        };
        let here = |file: &String| self.files.contains_key(file) && root_of(file) == root;
        files.into_iter().find(here)
    }

    fn nearest_file(&self, module: &[String]) -> Option<String> {
        (1..=module.len())
            .rev()
            .find_map(|length| self.file_of(&module[..length]))
    }
}

impl Use {
    fn is_called(&self, name: &str) -> bool {
        self.name.as_deref() == Some(name)
    }
}

impl Source {
    /// Whether a path of the file begins with what a `use` brings in.
    fn goes_through(&self, item: &Use) -> bool {
        let paths = self.uses.iter().map(|item| &item.path).chain(&self.paths);
        let mut begun = paths.filter(|path| path.segments.len() > 1);
        begun.any(|path| item.is_called(&path.segments[0]))
    }
}

/// The module that a file is, below the file that is the root of its crate.
fn module_of(file: &str) -> Vec<String> {
    let mut module = vec![root_of(file).to_owned()];
    if file != root_of(file) {
        let path = file.strip_suffix(".rs").unwrap_or(file);
        let path = path.strip_suffix("/mod").unwrap_or(path);
        module.extend(path.split('/').map(str::to_owned));
    }
    module
}

/// The root of the crate that a file belongs to: the command's, or the library's.
fn root_of(file: &str) -> &'static str {
    if file == "main.rs" || file == "cli.rs" || file.starts_with("cli/") {
        "main.rs"
    } else {
        "lib.rs"
    }
}
