//! What a document says of the modules of a crate, and whether it is so.

use std::collections::BTreeSet;

use super::tree::Tree;

/// The first cells of the table of walls.
const WALLS: [&str; 2] = ["module", "must not know"];
/// The first cells of the table of crates.
const CRATES: [&str; 2] = ["crate", "may be named in"];

/// A document: a map of the modules in a block of code, two tables, and functions that are named as `file.rs:function`.
#[derive(Debug, Default)]
pub struct Map {
    /// The modules of the map, such as `queue.rs` and `guest/`.
    modules: BTreeSet<String>,
    /// Modules, and other modules, crates and paths in crates that they must not know.
    walls: Vec<Row>,
    /// Crates, and the modules that may name them.
    crates: Vec<Row>,
    /// Files and functions in them.
    functions: Vec<(String, String)>,
}

/// What is between backticks in the first two cells of a row.
#[derive(Debug)]
struct Row([Vec<String>; 2]);

impl Map {
    /// Reads a document in Markdown.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut map = Self::default();
        let mut in_code = false;
        let mut table = None;
        for line in text.lines() {
            if line.trim_start().starts_with("```") {
                in_code = !in_code;
            } else if in_code {
                map.take_modules(line);
            } else {
                table = map.take_row(line, table);
                map.take_functions(line);
            }
        }
        map
    }

    /// Takes `  src/main.rs, cli/     the command`.
    fn take_modules(&mut self, line: &str) {
        let Some(line) = line.trim_start().strip_prefix("src/") else {
            return;
        };
        let names = line
            .split_whitespace()
            .map(|word| word.trim_end_matches(','));
        let names = names.take_while(|name| name.ends_with(".rs") || name.ends_with('/'));
        self.modules.extend(names.map(str::to_owned));
    }

    /// Takes a line of a table. Returns the header of the table that the next line may belong to.
    fn take_row(&mut self, line: &str, header: Option<[String; 2]>) -> Option<[String; 2]> {
        let line = line.trim().strip_prefix('|')?;
        let mut cells = line.split('|').map(str::trim);
        let cells = [cells.next()?, cells.next()?];
        let Some(header) = header else {
            return Some(cells.map(str::to_owned));
        };
        let row = Row(cells.map(backticked));
        // Not the line below the header.
        if !row.0[0].is_empty() {
            if header == WALLS {
                self.walls.push(row);
            } else if header == CRATES {
                self.crates.push(row);
            }
        }
        Some(header)
    }

    fn take_functions(&mut self, line: &str) {
        for code in backticked(line) {
            if let Some((file, function)) = code.split_once(".rs:") {
                let function = function.rsplit("::").next().unwrap_or_default();
                self.functions.push((
                    format!("{file}.rs"),
                    function.trim_end_matches("()").to_owned(),
                ));
            }
        }
    }

    /// Everything that the document says and the code does not, a sentence each.
    #[must_use]
    pub fn problems(&self, tree: &Tree) -> Vec<String> {
        let mut problems = Vec::new();
        self.check_modules(tree, &mut problems);
        if self.walls.is_empty() {
            problems.push(format!("no table has the cells {WALLS:?}"));
        }
        if self.crates.is_empty() {
            problems.push(format!("no table has the cells {CRATES:?}"));
        }
        for Row([modules, forbidden]) in &self.walls {
            for name in forbidden {
                check_wall(tree, modules, name, &mut problems);
            }
            for module in modules.iter().filter(|module| !is_there(tree, module)) {
                problems.push(format!(
                    "`{module}` must not know something, and is no module"
                ));
            }
        }
        self.check_crates(tree, &mut problems);
        for (file, function) in &self.functions {
            if !tree.has_function(file, function) {
                problems.push(format!("{file} has no function `{function}`"));
            }
        }
        problems
    }

    fn check_modules(&self, tree: &Tree, problems: &mut Vec<String>) {
        let there = tree.top();
        for missing in there.difference(&self.modules) {
            problems.push(format!("src/{missing} is not on the map"));
        }
        for gone in self.modules.difference(&there) {
            problems.push(format!("src/{gone} is on the map, and not in the code"));
        }
    }

    /// Finds who names a crate and may not, and who may and does not.
    fn check_crates(&self, tree: &Tree, problems: &mut Vec<String>) {
        let names: BTreeSet<&String> = self.crates.iter().flat_map(|row| &row.0[0]).collect();
        for name in names {
            let rows = self.crates.iter().filter(|row| row.0[0].contains(name));
            let may: Vec<&String> = rows.flat_map(|row| &row.0[1]).collect();
            for file in tree.files().filter(|file| tree.names(file, name)) {
                if !may.iter().any(|module| covers(module, file)) {
                    problems.push(format!("{file} must not name `{name}`"));
                }
            }
        }
        for Row([crates, modules]) in &self.crates {
            for module in modules {
                let mut files = tree.files().filter(|file| covers(module, file));
                if !files.any(|file| crates.iter().any(|name| tree.names(file, name))) {
                    problems.push(format!("`{module}` may name {crates:?}, and does not"));
                }
            }
        }
    }
}

/// Finds where modules import another, or name a crate.
fn check_wall(tree: &Tree, modules: &[String], name: &str, problems: &mut Vec<String>) {
    let behind = |file: &str| modules.iter().any(|module| covers(module, file));
    if is_there(tree, name) {
        for (from, to, path) in tree.imports() {
            // A module of several files may be named as a whole beside one of them.
            if behind(from) && covers(name, to) && !behind(to) {
                problems.push(format!("{from} must not know {to}: `{path}`"));
            }
        }
        return;
    }
    let mut known = tree
        .files()
        .filter(|file| tree.names(file, name))
        .peekable();
    if known.peek().is_none() {
        problems.push(format!(
            "`{name}` is no module, and no crate that a file names"
        ));
    }
    for file in known.filter(|file| behind(file)) {
        problems.push(format!("{file} must not know `{name}`"));
    }
}

/// Whether a file belongs to a module, which is named with or without what ends its file's name: `guest`, `queue.rs`,
/// `guest/engine.rs`.
fn covers(module: &str, file: &str) -> bool {
    let module = module.strip_suffix('/').unwrap_or(module);
    let rest = file.strip_prefix(module);
    rest.is_some_and(|rest| rest.is_empty() || rest == ".rs" || rest.starts_with('/'))
}

fn is_there(tree: &Tree, module: &str) -> bool {
    tree.files().any(|file| covers(module, file))
}

fn backticked(text: &str) -> Vec<String> {
    let parts = text.split('`').skip(1).step_by(2);
    parts.map(str::to_owned).collect()
}
