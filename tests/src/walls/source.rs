//! One file of Rust, as far as imports go.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow};
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// What a file declares and names outside of tests.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// Paths outside of `use`. Names that stand alone are paths, too.
    pub(crate) paths: Vec<Path>,
    /// What `use` brings in.
    pub(crate) uses: Vec<Use>,
    /// Modules with files of their own that are there only in tests.
    pub(crate) test_modules: Vec<String>,
    /// The names of functions and methods.
    pub(crate) functions: BTreeSet<String>,
}

/// A path as it is written.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    /// The modules written out in the file that it stands in, outermost first.
    pub(crate) inside: Vec<String>,
    /// Its segments up to the first generic argument.
    pub(crate) segments: Vec<String>,
}

/// One name that a `use` brings in.
#[derive(Debug, Clone)]
pub(crate) struct Use {
    /// Where the name leads.
    pub(crate) path: Path,
    /// The name. `None` for `*`.
    pub(crate) name: Option<String>,
    /// Others see it: a re-export.
    pub(crate) public: bool,
}

impl Source {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is no Rust.
    pub(crate) fn read(text: &str) -> Result<Self> {
        let tokens: TokenStream = text.parse().map_err(|error| anyhow!("no Rust: {error}"))?;
        let mut source = Self::default();
        source.scan(tokens, &[]);
        Ok(source)
    }

    fn scan(&mut self, tokens: TokenStream, inside: &[String]) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at = self.step(&tokens, at, inside);
        }
    }

    /// Takes what begins at a token. Returns where the next begins.
    fn step(&mut self, tokens: &[TokenTree], at: usize, inside: &[String]) -> usize {
        if let Some((attribute, next)) = attribute(tokens, at) {
            if is_test(&attribute) {
                let end = end_of_item(tokens, next);
                self.note_test_module(&tokens[next..end]);
                return end;
            }
            self.scan(attribute, inside);
            return next;
        }
        match &tokens[at] {
            TokenTree::Group(group) => self.scan(group.stream(), inside),
            TokenTree::Ident(ident) => {
                let (word, next) = (ident.to_string(), tokens.get(at + 1));
                match (word.as_str(), next) {
                    // `use<'a>` is a bound.
                    ("use", Some(next)) if !is_punct(next, '<') => {
                        let end = position(tokens, at, |token| is_punct(token, ';'));
                        self.take_use(&tokens[at + 1..end], is_public(&tokens[..at]), inside);
                        return end;
                    }
                    ("mod", Some(TokenTree::Ident(name))) => {
                        if let Some(TokenTree::Group(body)) = tokens.get(at + 2) {
                            let inside = [inside, &[name.to_string()]].concat();
                            self.scan(body.stream(), &inside);
                        }
                        return at + 3;
                    }
                    // `pub(in a::path)`.
                    ("pub", Some(TokenTree::Group(group))) if begins_with_in(group) => {
                        return at + 2;
                    }
                    ("fn", Some(TokenTree::Ident(name))) => {
                        self.functions.insert(name.to_string());
                        return at + 2;
                    }
                    _ => return self.take_path(tokens, at, inside),
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
        at + 1
    }

    fn take_path(&mut self, tokens: &[TokenTree], at: usize, inside: &[String]) -> usize {
        let (segments, end) = segments(tokens, at);
        // What follows a dot is a field or a method; what follows `>::` belongs to a type.
        let member = at > 0 && is_punct(&tokens[at - 1], '.') && !ends_with(&tokens[..at], "..");
        let associated = ends_with(&tokens[..at], ">::");
        if !member && !associated {
            self.paths.push(Path {
                inside: inside.to_vec(),
                segments,
            });
        }
        end
    }

    fn take_use(&mut self, tokens: &[TokenTree], public: bool, inside: &[String]) {
        let mut leaves = Vec::new();
        flatten(tokens, &[], &mut leaves);
        for (segments, name) in leaves {
            self.uses.push(Use {
                path: Path {
                    inside: inside.to_vec(),
                    segments,
                },
                name,
                public,
            });
        }
    }

    /// Keeps the name of `mod tests;`.
    fn note_test_module(&mut self, item: &[TokenTree]) {
        if let [.., TokenTree::Ident(keyword), TokenTree::Ident(name), end] = item
            && keyword == "mod"
            && is_punct(end, ';')
        {
            self.test_modules.push(name.to_string());
        }
    }
}

/// The inside of the attribute that begins here, and where it ends.
fn attribute(tokens: &[TokenTree], at: usize) -> Option<(TokenStream, usize)> {
    if !is_punct(&tokens[at], '#') {
        return None;
    }
    let inner = usize::from(tokens.get(at + 1).is_some_and(|token| is_punct(token, '!')));
    match tokens.get(at + 1 + inner) {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket => {
            Some((group.stream(), at + 2 + inner))
        }
        _ => None,
    }
}

/// Whether an attribute is `cfg(test)`, or `cfg(all(test, …))`.
fn is_test(attribute: &TokenStream) -> bool {
    let text: String = attribute.to_string().split_whitespace().collect();
    text == "cfg(test)" || text.starts_with("cfg(all(test,")
}

/// Where an item ends that begins here, its further attributes included.
fn end_of_item(tokens: &[TokenTree], mut at: usize) -> usize {
    while at < tokens.len()
        && let Some((_, next)) = attribute(tokens, at)
    {
        at = next;
    }
    let begins = |word: &str| {
        let mut words = tokens[at..].iter().filter_map(|token| match token {
            TokenTree::Ident(ident) if ident != "pub" => Some(ident.to_string()),
            _ => None,
        });
        words.next().is_some_and(|first| first == word)
    };
    // Their braces may be in the middle.
    let with_semicolon = ["use", "static", "type", "let"].into_iter().any(&begins);
    let with_braces = [
        "async", "const", "enum", "extern", "fn", "impl", "mod", "struct", "trait", "unsafe",
    ];
    // It ends a field, a variant, an arm of a match.
    let with_comma = !with_semicolon && !with_braces.into_iter().any(&begins);
    let end = position(tokens, at, |token| match token {
        TokenTree::Group(group) => !with_semicolon && group.delimiter() == Delimiter::Brace,
        token => is_punct(token, ';') || (with_comma && is_punct(token, ',')),
    });
    (end + 1).min(tokens.len())
}

/// Whether what precedes a `use` is a visibility.
fn is_public(before: &[TokenTree]) -> bool {
    let before = match before {
        [before @ .., TokenTree::Group(group)] if group.delimiter() == Delimiter::Parenthesis => {
            before
        }
        before => before,
    };
    matches!(before.last(), Some(TokenTree::Ident(ident)) if ident == "pub")
}

fn begins_with_in(group: &Group) -> bool {
    matches!(group.stream().into_iter().next(), Some(TokenTree::Ident(ident)) if ident == "in")
}

/// The segments of a path that begins here, and where it ends.
fn segments(tokens: &[TokenTree], at: usize) -> (Vec<String>, usize) {
    let mut segments = vec![tokens[at].to_string()];
    let mut end = at + 1;
    while let [colon, second, TokenTree::Ident(ident), ..] = &tokens[end..]
        && is_punct(colon, ':')
        && is_punct(second, ':')
    {
        segments.push(ident.to_string());
        end += 3;
    }
    (segments, end)
}

/// Takes `a::{b, c as d, e::*}` apart: each path, and the name that it is given.
fn flatten(
    tokens: &[TokenTree],
    prefix: &[String],
    leaves: &mut Vec<(Vec<String>, Option<String>)>,
) {
    for tree in tokens.split(|token| is_punct(token, ',')) {
        let mut path = prefix.to_vec();
        let mut name = None;
        let mut tree = tree.iter();
        while let Some(token) = tree.next() {
            match token {
                TokenTree::Ident(ident) if ident == "as" => {
                    name = tree.next().map(ToString::to_string);
                }
                // `a::{self}` is `a`.
                TokenTree::Ident(ident) if ident == "self" && !path.is_empty() => {}
                TokenTree::Ident(ident) => path.push(ident.to_string()),
                TokenTree::Group(group) => {
                    let inner: Vec<_> = group.stream().into_iter().collect();
                    flatten(&inner, &path, leaves);
                    path.clear();
                }
                token if is_punct(token, '*') => {
                    leaves.push((std::mem::take(&mut path), None));
                }
                _ => {}
            }
        }
        if let Some(last) = path.last() {
            let name = name.unwrap_or_else(|| last.clone());
            leaves.push((path, Some(name)));
        }
    }
}

fn is_punct(token: &TokenTree, char: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == char)
}

fn ends_with(tokens: &[TokenTree], puncts: &str) -> bool {
    let mut tokens = tokens.iter().rev();
    let mut puncts = puncts.chars().rev();
    puncts.all(|char| tokens.next().is_some_and(|token| is_punct(token, char)))
}

fn position(tokens: &[TokenTree], from: usize, is: impl Fn(&TokenTree) -> bool) -> usize {
    let found = tokens[from..].iter().position(is);
    found.map_or(tokens.len(), |found| from + found)
}
