//! Files as the checks see them: text by lines, and for Rust its tokens, functions and test regions.

use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::{Result, workspace};

/// Larger files are data (test vectors); no check has anything to say about them.
const LARGEST_TEXT_BYTES: u64 = 1 << 20;

const TEST_FOLDERS: &[&str] = &["tests", "benches", "fuzz", "conformance"];

/// Every text file of the repository.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) files: Vec<Source>,
}

#[derive(Debug)]
pub(crate) struct Source {
    /// Relative to the root, with forward slashes.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) rust: Option<Rust>,
}

#[derive(Debug, Default)]
pub(crate) struct Rust {
    pub(crate) tokens: Vec<Token>,
    pub(crate) functions: Vec<Function>,
    /// The whole file is compiled for tests only.
    pub(crate) test_file: bool,
    pub(crate) error: Option<String>,
    test_lines: Vec<RangeInclusive<usize>>,
    test_modules: Vec<String>,
}

/// One token outside of comments; a punctuation mark of two characters is two tokens.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

#[derive(Debug)]
pub(crate) struct Function {
    /// `name`, or `Type::name` for what stands in an `impl` block.
    pub(crate) name: String,
    pub(crate) line: usize,
    /// From the signature to the closing brace, both included.
    pub(crate) lines: usize,
    pub(crate) test: bool,
}

impl Tree {
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        for path in workspace::files(root)? {
            let full = root.join(&path);
            if std::fs::metadata(&full)?.len() > LARGEST_TEXT_BYTES {
                continue;
            }
            if let Ok(text) = String::from_utf8(std::fs::read(&full)?) {
                files.push((path, text));
            }
        }
        Ok(Self::of(files))
    }

    pub(crate) fn of<P: Into<String>, T: Into<String>>(files: impl IntoIterator<Item = (P, T)>) -> Self {
        let files = files.into_iter().map(|(path, text)| Source::new(path.into(), text.into())).collect();
        let mut tree = Self { files };
        tree.mark_test_files();
        tree
    }

    pub(crate) fn file(&self, path: &str) -> Option<&Source> {
        self.files.iter().find(|file| file.path == path)
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = (&Source, &Rust)> {
        self.files.iter().filter_map(|file| file.rust.as_ref().map(|rust| (file, rust)))
    }

    /// `#[cfg(test)] mod name;` makes a test file of `name.rs`, wherever that is named.
    fn mark_test_files(&mut self) {
        let modules: Vec<String> = self.rust().flat_map(|(file, rust)| file.module_files(&rust.test_modules)).collect();
        for file in &mut self.files {
            let below = |stem: &String| file.path == format!("{stem}.rs") || file.path.starts_with(&format!("{stem}/"));
            let test_file = is_test_path(&file.path) || modules.iter().any(below);
            if let Some(rust) = &mut file.rust {
                rust.test_file = test_file;
            }
        }
    }
}

fn is_test_path(path: &str) -> bool {
    let mut folders = path.split('/');
    let name = folders.next_back().unwrap_or_default();
    let stem = name.trim_end_matches(".rs");
    // A conformance suite is tests, even where it is offered to other crates as a library.
    matches!(stem, "tests" | "conformance") || folders.any(|folder| TEST_FOLDERS.contains(&folder))
}

impl Source {
    fn new(path: String, text: String) -> Self {
        let rust = path.ends_with(".rs").then(|| Rust::parse(&text));
        Self { path, text, rust }
    }

    /// The line, counted from 1, is compiled for tests only.
    pub(crate) fn is_test_line(&self, line: usize) -> bool {
        self.rust
            .as_ref()
            .is_some_and(|rust| rust.test_file || rust.test_lines.iter().any(|range| range.contains(&line)))
    }

    /// `// tidy: allow(rule): why` on the line itself or in the comment right above it.
    pub(crate) fn excuses(&self, line: usize, rule: &str) -> bool {
        let lines: Vec<&str> = self.text.lines().collect();
        let says =
            |text: &str| text.split_once(&format!("tidy: allow({rule}): ")).is_some_and(|(_, why)| why.len() > 9);
        let above = lines[..line.saturating_sub(1).min(lines.len())].iter().rev();
        let comment = above.take_while(|text| text.trim_start().starts_with("//"));
        lines.get(line.wrapping_sub(1)).into_iter().chain(comment).any(|text| says(text))
    }

    fn module_files(&self, names: &[String]) -> Vec<String> {
        let stem = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
        let base = if matches!(name, "lib" | "main" | "mod") { folder } else { stem };
        names.iter().map(|module| format!("{base}/{module}")).collect()
    }
}

impl Rust {
    fn parse(text: &str) -> Self {
        let mut rust = Self::default();
        match TokenStream::from_str(text) {
            Ok(stream) => flatten(stream, &mut rust.tokens),
            Err(error) => rust.error = Some(error.to_string()),
        }
        match syn::parse_file(text) {
            Ok(file) => Walk { rust: &mut rust, owner: None, in_test: false }.visit_file(&file),
            Err(error) => rust.error = Some(error.to_string()),
        }
        rust
    }

    /// Lines where the tokens of `pattern` (words separated by blanks; `::` is one word) follow one another.
    pub(crate) fn find(&self, pattern: &str) -> Vec<usize> {
        let spaced = pattern.replace("::", " : : ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let hits = self.tokens.windows(words.len()).filter(|window| {
            let mut pairs = window.iter().zip(&words);
            pairs.all(|(token, word)| token.text == *word)
        });
        hits.map(|window| window[0].line).collect()
    }
}

fn flatten(stream: TokenStream, into: &mut Vec<Token>) {
    for tree in stream {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = marks(group.delimiter());
                into.push(Token { text: open.to_owned(), line });
                flatten(group.stream(), into);
                into.push(Token { text: close.to_owned(), line: group.span_close().start().line });
            }
            other => into.push(Token { text: other.to_string(), line }),
        }
    }
}

fn marks(delimiter: Delimiter) -> (&'static str, &'static str) {
    match delimiter {
        Delimiter::Parenthesis => ("(", ")"),
        Delimiter::Brace => ("{", "}"),
        Delimiter::Bracket => ("[", "]"),
        Delimiter::None => ("", ""),
    }
}

/// Collects functions and test regions.
struct Walk<'a> {
    rust: &'a mut Rust,
    owner: Option<String>,
    in_test: bool,
}

impl Walk<'_> {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block, attributes: &[syn::Attribute]) {
        let first = signature.span().start().line;
        let last = block.span().end().line;
        let test = self.in_test || for_tests(attributes);
        if test {
            self.rust.test_lines.push(first..=last);
        }
        let name = match &self.owner {
            Some(owner) => format!("{owner}::{}", signature.ident),
            None => signature.ident.to_string(),
        };
        self.rust.functions.push(Function { name, line: first, lines: last + 1 - first, test });
    }

    fn within(&mut self, owner: Option<String>, test: bool, visit: impl FnOnce(&mut Self)) {
        let before = (std::mem::replace(&mut self.owner, owner), self.in_test);
        self.in_test |= test;
        visit(self);
        (self.owner, self.in_test) = before;
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig, &item.block, &item.attrs);
        self.within(None, for_tests(&item.attrs), |walk| visit::visit_item_fn(walk, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig, &item.block, &item.attrs);
        self.within(None, for_tests(&item.attrs), |walk| visit::visit_impl_item_fn(walk, item));
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig, block, &item.attrs);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let test = for_tests(&item.attrs);
        self.mark(test, item.span());
        self.within(type_name(&item.self_ty), test, |walk| visit::visit_item_impl(walk, item));
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        let owner = Some(item.ident.to_string());
        self.within(owner, for_tests(&item.attrs), |walk| visit::visit_item_trait(walk, item));
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let test = for_tests(&item.attrs);
        if test && item.content.is_none() {
            self.rust.test_modules.push(item.ident.to_string());
        }
        self.mark(test, item.span());
        self.within(None, test, |walk| visit::visit_item_mod(walk, item));
    }
}

impl Walk<'_> {
    fn mark(&mut self, test: bool, span: proc_macro2::Span) {
        if test {
            self.rust.test_lines.push(span.start().line..=span.end().line);
        }
    }
}

fn type_name(ty: &syn::Type) -> Option<String> {
    match ty {
        syn::Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
        _ => None,
    }
}

/// `#[test]`, `#[tokio::test]`, `#[cfg(test)]`, `#[cfg(all(test, …))]`.
fn for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        let names_test = path.segments.last().is_some_and(|segment| segment.ident == "test");
        let syn::Meta::List(list) = &attribute.meta else { return names_test };
        let words = list.tokens.to_string();
        let mut idents = words.split(|mark: char| !mark.is_alphanumeric() && mark != '_');
        let cfg = path.is_ident("cfg") && !words.contains("not") && idents.any(|word| word == "test");
        names_test || cfg
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Tree {
        Tree::of([("crates/a/src/lib.rs", text)])
    }

    #[test]
    fn functions_are_measured_and_named_after_their_type() {
        let tree =
            parsed("struct S;\nimpl S {\n    /// Doc.\n    fn a(\n        &self,\n    ) {\n    }\n}\nfn b() {}\n");
        let rust = tree.files[0].rust.as_ref().unwrap();
        let found: Vec<_> = rust.functions.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
        assert_eq!(found, [("S::a", 4, 4), ("b", 9, 1)]);
    }

    #[test]
    fn test_regions_are_told_apart() {
        let tree = parsed("fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n#[cfg(not(test))]\nfn c() {}\n");
        let file = &tree.files[0];
        assert_eq!((1..=7).filter(|line| file.is_test_line(*line)).collect::<Vec<_>>(), [2, 3, 4, 5]);
        let tests: Vec<_> = file.rust.as_ref().unwrap().functions.iter().map(|f| f.test).collect();
        assert_eq!(tests, [false, true, false]);
    }

    #[test]
    fn an_out_of_line_test_module_makes_its_file_a_test_file() {
        let tree = Tree::of([("a/src/x.rs", "#[cfg(test)] mod cases;"), ("a/src/x/cases.rs", "fn f() {}")]);
        assert!(!tree.files[0].rust.as_ref().unwrap().test_file);
        assert!(tree.files[1].rust.as_ref().unwrap().test_file);
    }

    #[test]
    fn patterns_see_code_but_neither_strings_nor_comments() {
        let tree =
            parsed("// SystemTime::now()\nfn f() { let s = \"SystemTime::now\"; std::time::SystemTime::now(); }\n");
        assert_eq!(tree.files[0].rust.as_ref().unwrap().find("SystemTime::now"), [2]);
    }

    #[test]
    fn an_excuse_needs_a_reason() {
        let tree =
            parsed("// tidy: allow(sleep): the peer has no signal\nfn f() {}\n// tidy: allow(sleep): \nfn g() {}\n");
        assert!(tree.files[0].excuses(2, "sleep"));
        assert!(!tree.files[0].excuses(4, "sleep"));
        assert!(!tree.files[0].excuses(2, "clock"));
    }
}
