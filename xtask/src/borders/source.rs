//! What the modules of a crate import: the paths that its sources name, comments and strings left out.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use std::collections::HashMap;
use std::str::FromStr;

/// A path that a source names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The file, as it was asked for.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// The module that names it, from its crate's root; empty for the root itself.
    pub module: Vec<String>,
    /// What it names, from a crate's root on: `["crate", "loader", "pairs"]`; the first is `crate`, or another crate's
    /// name. A glob ends in `*`.
    pub path: Vec<String>,
    /// Whether only tests see it.
    pub test: bool,
}

/// What a crate's sources have.
#[derive(Debug, Default)]
pub struct Sources {
    /// All that they name.
    pub names: Vec<Name>,
    /// Its modules that have files of their own.
    pub modules: Vec<Vec<String>>,
}

/// Reads all modules of a crate from its root file on; `read` gives a file's text.
///
/// # Errors
/// Where a module's file is missing or is no Rust.
pub fn sources(root: &str, read: &dyn Fn(&str) -> Option<String>) -> Result<Sources, String> {
    let text = read(root).ok_or_else(|| format!("{root}: not found"))?;
    let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder).to_string();
    let mut found = Sources::default();
    let mut files = vec![Open { file: root.into(), text, folder, module: Vec::new(), test: false }];
    while let Some(open) = files.pop() {
        let tokens = TokenStream::from_str(&open.text).map_err(|error| format!("{}: {error}", open.file))?;
        let mut reader =
            Reader { file: &open.file, found: &mut found.names, below: Vec::new(), aliases: HashMap::new() };
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut here = Scope { module: open.module, children: Vec::new(), test: open.test };
        reader.imports(&tokens, &here);
        reader.walk(&tokens, &mut here);
        for (module, test) in std::mem::take(&mut reader.below) {
            found.modules.push(module.clone());
            let base = format!("{}/{}", open.folder, module.join("/")).trim_start_matches('/').to_string();
            let options = [format!("{base}.rs"), format!("{base}/mod.rs")];
            let file = options.iter().find_map(|file| read(file).map(|text| (file.clone(), text)));
            let (file, text) = file.ok_or_else(|| format!("{}: no file of module {}", open.file, module.join("::")))?;
            files.push(Open { file, text, folder: open.folder.clone(), module, test });
        }
    }
    Ok(found)
}

/// A file to be read.
struct Open {
    file: String,
    text: String,
    /// The folder of the crate's root.
    folder: String,
    module: Vec<String>,
    test: bool,
}

/// Where in the module tree the reader stands.
#[derive(Clone)]
struct Scope {
    module: Vec<String>,
    /// Modules that this one declares.
    children: Vec<String>,
    test: bool,
}

struct Reader<'a> {
    file: &'a str,
    found: &'a mut Vec<Name>,
    /// Modules in files of their own, and whether only tests see them.
    below: Vec<(Vec<String>, bool)>,
    /// What may be modules of those that the file imports: name to path.
    aliases: HashMap<String, Vec<String>>,
}

fn ident(token: Option<&TokenTree>) -> Option<String> {
    match token {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string().trim_start_matches("r#").to_string()),
        _ => None,
    }
}

fn is_punct(token: Option<&TokenTree>, sign: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
}

/// Whether `::` stands at this place.
fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    let joined =
        matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == ':' && p.spacing() == Spacing::Joint);
    joined && is_punct(tokens.get(at + 1), ':')
}

fn line(token: &TokenTree) -> usize {
    token.span().start().line
}

/// Whether an attribute, without its brackets, leaves an item to tests alone.
fn is_of_tests(attribute: &[TokenTree]) -> bool {
    match (ident(attribute.first()).as_deref(), attribute.get(1)) {
        (Some("test"), None) => true,
        (Some("cfg"), Some(TokenTree::Group(group))) => needs_test(&group.stream().into_iter().collect::<Vec<_>>()),
        _ => false,
    }
}

/// Whether a condition holds in tests alone: `test`, or `all(..)` with it.
fn needs_test(condition: &[TokenTree]) -> bool {
    match (ident(condition.first()).as_deref(), condition.get(1)) {
        (Some("test"), None) => true,
        (Some("all"), Some(TokenTree::Group(group))) => {
            let parts: Vec<TokenTree> = group.stream().into_iter().collect();
            parts.split(|token| is_punct(Some(token), ',')).any(needs_test)
        }
        _ => false,
    }
}

/// Where an item, or a field, that begins here ends: the place behind it.
fn end_of_item(tokens: &[TokenTree], mut at: usize) -> usize {
    const ITEMS: [&str; 17] = [
        "pub",
        "fn",
        "mod",
        "struct",
        "enum",
        "union",
        "impl",
        "trait",
        "const",
        "static",
        "type",
        "use",
        "unsafe",
        "async",
        "extern",
        "macro_rules",
        "let",
    ];
    // More attributes.
    while is_punct(tokens.get(at), '#') {
        at += 2;
    }
    let first = ident(tokens.get(at)).unwrap_or_default();
    let is_item = ITEMS.contains(&first.as_str());
    let is_body = |token: &TokenTree| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
    let head = tokens[at.min(tokens.len())..].iter().take_while(|token| !is_body(token)).take(4);
    let words: Vec<String> = head.filter_map(|token| ident(Some(token))).collect();
    let has = |word: &str| words.iter().any(|each| each == word);
    // These end with their semicolon, whatever braces they have.
    let has_semicolon = ["use", "static", "let"].into_iter().any(has) || (has("const") && !has("fn"));
    while let Some(token) = tokens.get(at) {
        at += 1;
        let ends = match token {
            TokenTree::Punct(punct) => punct.as_char() == ';' || (!is_item && punct.as_char() == ','),
            TokenTree::Group(_) => is_body(token) && is_item && !has_semicolon,
            _ => false,
        };
        if ends {
            return at;
        }
    }
    at
}

impl Reader<'_> {
    fn resolve(&self, path: &[String], scope: &Scope) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        let own = |module: &[String], rest: &[String]| {
            let mut full = vec!["crate".to_string()];
            full.extend_from_slice(module);
            full.extend_from_slice(rest);
            full
        };
        match first.as_str() {
            "crate" => Some(own(&[], rest)),
            "self" => self.climb(&scope.module, rest, own),
            "super" => self.climb(&scope.module, path, own),
            _ if scope.children.contains(first) => Some(own(&scope.module, path)),
            _ => match self.aliases.get(first) {
                Some(known) => Some([known, rest].concat()),
                None => Some(path.to_vec()),
            },
        }
    }

    fn climb(
        &self,
        module: &[String],
        path: &[String],
        own: impl Fn(&[String], &[String]) -> Vec<String>,
    ) -> Option<Vec<String>> {
        let up = path.iter().take_while(|part| *part == "super").count();
        module.len().checked_sub(up).map(|len| own(&module[..len], &path[up..]))
    }

    fn add(&mut self, path: &[String], line: usize, scope: &Scope) {
        if let Some(path) = self.resolve(path, scope) {
            let (file, module) = (self.file.to_string(), scope.module.clone());
            self.found.push(Name { file, line, module, path, test: scope.test });
        }
    }

    /// Remembers the names that all imports of a file bring, wherever they stand.
    fn imports(&mut self, tokens: &[TokenTree], scope: &Scope) {
        let mut here = Scope { children: children(tokens), ..scope.clone() };
        let mut at = 0;
        while at < tokens.len() {
            match (ident(tokens.get(at)).as_deref(), &tokens[at]) {
                (Some("use"), _) if !is_punct(tokens.get(at + 1), '<') => {
                    let end = end_of_item(tokens, at);
                    for (path, name, _) in leaves(&tokens[at + 1..end]) {
                        // A type leads to no other room than its import has told.
                        let is_module = name.starts_with(char::is_lowercase);
                        if let Some(path) = self.resolve(&path, &here).filter(|path| is_module && path.len() > 1) {
                            self.aliases.insert(name, path);
                        }
                    }
                    at = end;
                }
                (Some("mod"), _) => {
                    if let (Some(name), Some(TokenTree::Group(group))) = (ident(tokens.get(at + 1)), tokens.get(at + 2))
                    {
                        here.module.push(name);
                        self.imports(&group.stream().into_iter().collect::<Vec<_>>(), &here);
                        here.module.pop();
                        at += 3;
                    } else {
                        at += 1;
                    }
                }
                (_, TokenTree::Group(group)) => {
                    self.imports(&group.stream().into_iter().collect::<Vec<_>>(), &here);
                    at += 1;
                }
                _ => at += 1,
            }
        }
    }

    fn walk(&mut self, tokens: &[TokenTree], scope: &mut Scope) {
        let all = [scope.children.clone(), children(tokens)].concat();
        let before = std::mem::replace(&mut scope.children, all);
        let was = scope.test;
        // Up to where the item goes that tests alone see.
        let mut tests_until = 0;
        let mut at = 0;
        while at < tokens.len() {
            if at >= tests_until {
                scope.test = was;
            }
            match &tokens[at] {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    let inner = is_punct(tokens.get(at + 1), '!');
                    let body = at + 1 + usize::from(inner);
                    if let Some(TokenTree::Group(group)) = tokens.get(body) {
                        let attribute: Vec<TokenTree> = group.stream().into_iter().collect();
                        if group.delimiter() == Delimiter::Bracket && is_of_tests(&attribute) {
                            tests_until =
                                if inner { tokens.len() } else { end_of_item(tokens, body + 1).max(tests_until) };
                            scope.test = true;
                        }
                        self.walk(&attribute, scope);
                        at = body + 1;
                    } else {
                        at += 1;
                    }
                }
                TokenTree::Ident(_) => at = self.word(tokens, at, scope),
                TokenTree::Group(group) => {
                    self.walk(&group.stream().into_iter().collect::<Vec<_>>(), scope);
                    at += 1;
                }
                _ => at += 1,
            }
        }
        scope.test = was;
        scope.children = before;
    }

    /// What begins with a word; gives the place behind it.
    fn word(&mut self, tokens: &[TokenTree], at: usize, scope: &mut Scope) -> usize {
        let word = ident(tokens.get(at)).unwrap_or_default();
        if word == "use" && !is_punct(tokens.get(at + 1), '<') {
            let end = end_of_item(tokens, at);
            for (path, _, line) in leaves(&tokens[at + 1..end]) {
                self.add(&path, line, scope);
            }
            return end;
        }
        if let (true, Some(name)) = (word == "mod", ident(tokens.get(at + 1))) {
            let Some(TokenTree::Group(group)) = tokens.get(at + 2) else {
                self.below.push(([&scope.module[..], &[name]].concat(), scope.test));
                return at + 2;
            };
            let mut inside = Scope { children: Vec::new(), ..scope.clone() };
            inside.module.push(name);
            self.walk(&group.stream().into_iter().collect::<Vec<_>>(), &mut inside);
            return at + 3;
        }
        let mut path = vec![word];
        let mut end = at + 1;
        while is_colons(tokens, end) {
            let Some(next) = ident(tokens.get(end + 2)) else { break };
            path.push(next);
            end += 3;
        }
        if path.len() > 1 {
            self.add(&path, line(&tokens[at]), scope);
        }
        end
    }
}

/// The modules that are declared right here.
fn children(tokens: &[TokenTree]) -> Vec<String> {
    let pairs = tokens.windows(2);
    pairs.filter(|pair| ident(pair.first()).as_deref() == Some("mod")).filter_map(|pair| ident(pair.get(1))).collect()
}

/// The paths of an import, `use` left out: each with the name that it brings and its line.
fn leaves(tokens: &[TokenTree]) -> Vec<(Vec<String>, String, usize)> {
    let mut all = Vec::new();
    for tree in tokens.split(|token| is_punct(Some(token), ',') || is_punct(Some(token), ';')) {
        let Some(first) = tree.iter().find(|token| !is_punct(Some(token), ':')) else { continue };
        let (mut path, mut name) = (Vec::new(), None);
        let mut at = 0;
        while let Some(token) = tree.get(at) {
            match token {
                TokenTree::Ident(_) if ident(Some(token)).as_deref() == Some("as") => {
                    name = ident(tree.get(at + 1));
                    break;
                }
                TokenTree::Ident(_) => path.extend(ident(Some(token))),
                TokenTree::Punct(punct) if punct.as_char() == '*' => path.push("*".into()),
                TokenTree::Group(group) => {
                    for (rest, name, line) in leaves(&group.stream().into_iter().collect::<Vec<_>>()) {
                        let name = if rest == ["self"] && name == "self" {
                            path.last().cloned().unwrap_or(name)
                        } else {
                            name
                        };
                        let rest = if rest == ["self"] { Vec::new() } else { rest };
                        all.push(([&path[..], &rest].concat(), name, line));
                    }
                    path.clear();
                    break;
                }
                _ => {}
            }
            at += 1;
        }
        if let Some(last) = path.last().cloned() {
            all.push((path, name.unwrap_or(last), line(first)));
        }
    }
    all
}
