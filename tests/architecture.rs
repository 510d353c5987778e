//! The layer map of ARCHITECTURE.md, held against `src/`: imports point only downwards, pure modules name neither an
//! executor nor a clock, and no file grows past what one reads in a sitting. Test modules are exempt from the last two.

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

const LONGEST_FILE: usize = 450;
/// In the map, module names stand between the layer number and this column.
const MAP_NAMES: RangeInclusive<usize> = 2..=34;

/// Pure by ARCHITECTURE.md, as path prefixes below `src/`; a directory ends in `/`, a name without suffix is either.
const PURE: &[&str] = &[
    "wire/",
    "advice/",
    "auth/",
    "params/",
    "prepared/",
    "lifecycle",
    "config/",
    "pool/ledger",
    "pool/evict",
    "pool/excess",
    "pool/share",
    "pool/limits",
    "server/exchange",
    "client/intercept",
    "client/listening/books",
    "admin/command",
    "admin/dialogue",
    "admin/parameters",
    "admin/portal",
    "admin/replies",
    "admin/said",
    "admin/select/",
    "admin/table",
    "admin/transaction",
    "takeover/handshake",
];
const PURE_EXCEPT: &[&str] = &["config/load"];

#[test]
fn src_obeys_the_map() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = Map::parse(&fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap());
    let mut problems = Vec::new();
    for path in rust_files(&root.join("src")) {
        let name = path.strip_prefix(root.join("src")).unwrap().to_string_lossy().into_owned();
        problems.extend(check(&map, &name, &fs::read_to_string(&path).unwrap()));
    }
    assert!(problems.is_empty(), "{} problem(s):\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn planted_violations_are_found() {
    let map = Map::parse("9 app\n6 pool    roster\n4 net\n2 config\n1 auth\n0 wire    metrics\n");
    let long = "// x\n".repeat(LONGEST_FILE + 1);
    let cases: &[(&str, &str, &[&str])] = &[
        ("wire/tag.rs", "use crate::pool::Lease;", &["src/wire/tag.rs:1: imports crate::pool (layer 6)"]),
        (
            "net/mod.rs",
            "\nuse crate::{wire::Tag, pool::{a, b}, app};",
            &[
                "src/net/mod.rs:2: imports crate::pool (layer 6)",
                "src/net/mod.rs:2: imports crate::app (layer 9)",
            ],
        ),
        ("roster.rs", "fn f() { crate::pool::x() }", &["src/roster.rs:1: imports crate::pool (layer 6)"]),
        ("pool/open.rs", "use super::super::app::X;", &["src/pool/open.rs:1: imports crate::app (layer 9)"]),
        ("pool/mod.rs", "use super::roster::X;", &["src/pool/mod.rs:1: imports crate::roster (layer 6)"]),
        ("pool/mod.rs", "mod tests { use super::super::roster::X; }", &["imports crate::roster (layer 6)"]),
        ("net/mod.rs", "fn f() { log!(a, crate::app::X) }", &["src/net/mod.rs:1: imports crate::app"]),
        ("gate/mod.rs", "use crate::wire::A;", &["src/gate/mod.rs:1: module gate is not on the map"]),
        (
            "net/mod.rs",
            "use crate::unknown::A;",
            &["src/net/mod.rs:1: imports crate::unknown, which is not on the"],
        ),
        ("wire/frame.rs", "async fn f() { g().await }", &["names `async`", "names `await`"]),
        ("auth/md5.rs", "use tokio::net;", &["src/auth/md5.rs:1: names `tokio`"]),
        ("config/raw.rs", "fn f() { std::time::Instant::now(); }", &["names `Instant::now`"]),
        ("pool/ledger/give.rs", "fn f(t: Instant) { t.elapsed(); }", &["names `.elapsed`"]),
        ("net/long.rs", &long, &["src/net/long.rs:451: 451 lines"]),
        (
            "net/wait.rs",
            "use tokio::time::sleep;",
            &["src/net/wait.rs:1: `use tokio::time::sleep;`; waiting is"],
        ),
    ];
    for (file, source, expected) in cases {
        let found = check(&map, file, source);
        assert_eq!(found.len(), expected.len(), "{file}: {source:.60}: {found:#?}");
        for (problem, part) in found.iter().zip(*expected) {
            assert!(problem.contains(part), "{problem:?} lacks {part:?}");
        }
    }
}

#[test]
fn what_is_allowed_passes() {
    let map = Map::parse("9 app\n6 pool    roster\n4 net\n2 config\n0 wire\n");
    let inline_tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "// x\n".repeat(LONGEST_FILE));
    let cases: &[(&str, &str)] = &[
        (
            "pool/mod.rs",
            "use crate::{net, wire::Tag}; use super::net::X; use crate::pool::a; mod b { use super::c; }",
        ),
        ("app.rs", "use crate::pool; use tokio::net; async fn f() {}"),
        ("lib.rs", "pub mod app; use crate::app::X;"),
        (
            "wire/mod.rs",
            "/// Unlike crate::pool, no tokio, no await.\npub(crate) fn f() { self::g(\"tokio\") }",
        ),
        ("wire/tag.rs", "#[cfg(test)] mod tests { fn f() { std::time::Instant::now(); } }"),
        ("wire/tests.rs", "use tokio::net;"),
        ("config/load.rs", "use tokio::fs;"),
        ("net/a.rs", &inline_tests),
    ];
    for (file, source) in cases {
        assert_eq!(check(&map, file, source), Vec::<String>::new(), "{file}: {source:.60}");
    }
}

/// Module → layer, read from the block of lines in ARCHITECTURE.md that begin with a digit and a space.
struct Map(BTreeMap<String, u8>);

impl Map {
    fn parse(text: &str) -> Self {
        let mut layers = BTreeMap::new();
        for line in text.lines() {
            let Some((number, _)) = line.split_once(' ') else { continue };
            let Ok(layer @ 0..=9) = number.parse::<u8>() else { continue };
            let names = line.chars().enumerate().filter(|(at, _)| MAP_NAMES.contains(at)).map(|(_, c)| c);
            for module in names.collect::<String>().split_whitespace() {
                layers.insert(module.to_owned(), layer);
            }
        }
        assert!(!layers.is_empty(), "ARCHITECTURE.md has no layer map");
        Self(layers)
    }

    /// Why `from` may not import `to`, if so.
    fn objection(&self, from: &str, to: &str) -> Option<String> {
        let own = *self.0.get(from)?;
        match self.0.get(to) {
            _ if from == to => None,
            None => Some(format!("imports crate::{to}, which is not on the map in ARCHITECTURE.md")),
            Some(layer) if *layer < own => None,
            Some(layer) => Some(format!(
                "imports crate::{to} (layer {layer}); {from} is in layer {own} and may import layers below {own} only"
            )),
        }
    }
}

fn check(map: &Map, file: &str, source: &str) -> Vec<String> {
    let parsed = syn::parse_file(source).unwrap_or_else(|e| panic!("src/{file}: {e}"));
    let mut places = Places::default();
    places.visit_file(&parsed);
    let tokens = flatten(source);
    let is_test_file = file.ends_with("tests.rs") || file.contains("/tests/");

    let mut problems = Vec::new();
    let path = module_path(file);
    if let Some(own) = path.first() {
        if !map.0.contains_key(own) {
            problems.push(format!("src/{file}:1: module {own} is not on the map in ARCHITECTURE.md"));
        }
        for (line, module) in references(&tokens, &path, &places.modules) {
            problems.extend(map.objection(own, &module).map(|why| format!("src/{file}:{line}: {why}")));
        }
    }
    if is_pure(file) && !is_test_file {
        let outside_tests = |line| !places.tests.iter().any(|range| range.contains(&line));
        for (line, what) in impurities(&tokens).into_iter().filter(|(line, _)| outside_tests(*line)) {
            problems
                .push(format!("src/{file}:{line}: names `{what}`; this module is pure (bytes and `now` in)"));
        }
    }
    // A worker's runtime keeps no timers: a wait that isn't asked for there would panic.
    if file != "timer.rs" && !is_test_file {
        let own = ["tokio::time::sleep", "tokio::time::timeout", "tokio::time::{"];
        for (line, text) in
            source.lines().enumerate().filter(|(_, text)| own.iter().any(|n| text.contains(n)))
        {
            problems.push(format!("src/{file}:{}: `{}`; waiting is crate::timer's", line + 1, text.trim()));
        }
    }
    let in_tests: usize = places.tests.iter().map(|range| range.end() - range.start() + 1).sum();
    let lines = source.lines().count().saturating_sub(in_tests);
    if lines > LONGEST_FILE && !is_test_file {
        problems.push(format!("src/{file}:{lines}: {lines} lines without tests; {LONGEST_FILE} are allowed"));
    }
    problems
}

/// `pool/ledger/mod.rs` → `[pool, ledger]`; the crate's roots → `[]`.
fn module_path(file: &str) -> Vec<String> {
    let mut path: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if path.last().is_some_and(|last| last == "mod") || file == "lib.rs" || file == "main.rs" {
        path.pop();
    }
    path
}

fn is_pure(file: &str) -> bool {
    let covers = |list: &[&str]| {
        list.iter().any(|entry| match file.strip_prefix(entry) {
            Some(rest) => entry.ends_with('/') || rest.starts_with(['/', '.']),
            None => false,
        })
    };
    covers(PURE) && !covers(PURE_EXCEPT)
}

/// From (line, column) up to (line, column).
type Stretch = ((usize, usize), (usize, usize));

/// Lines that belong to test items, and lines of inline modules (one entry a nesting).
#[derive(Default)]
struct Places {
    tests: Vec<RangeInclusive<usize>>,
    modules: Vec<Stretch>,
}

impl<'ast> Visit<'ast> for Places {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let span = item.span();
        if item.content.is_some() {
            let (start, end) = (span.start(), span.end());
            self.modules.push(((start.line, start.column), (end.line, end.column)));
        }
        if item.attrs.iter().any(is_cfg_test) {
            self.tests.push(span.start().line..=span.end().line);
        } else {
            visit::visit_item_mod(self, item);
        }
    }
}

fn is_cfg_test(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
}

#[derive(PartialEq)]
enum Token {
    Word(String),
    Punct(char),
    Open,
    Close,
}

struct Placed {
    token: Token,
    line: usize,
    column: usize,
}

/// All tokens in source order, so that macro arguments are seen as well; comments and strings are not in it.
fn flatten(source: &str) -> Vec<Placed> {
    fn walk(stream: TokenStream, out: &mut Vec<Placed>) {
        for tree in stream {
            let start = tree.span().start();
            let mut push = |token| out.push(Placed { token, line: start.line, column: start.column });
            match tree {
                TokenTree::Ident(word) => push(Token::Word(word.to_string())),
                TokenTree::Punct(punct) => push(Token::Punct(punct.as_char())),
                TokenTree::Literal(_) => push(Token::Punct('"')),
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                    push(Token::Open);
                    walk(group.stream(), out);
                    out.push(Placed { token: Token::Close, line: start.line, column: start.column });
                }
                TokenTree::Group(group) => {
                    push(Token::Punct('('));
                    walk(group.stream(), out);
                }
            }
        }
    }
    let mut out = Vec::new();
    walk(source.parse().expect("syn has parsed it already"), &mut out);
    out
}

fn word(tokens: &[Placed], at: usize) -> Option<&str> {
    match tokens.get(at).map(|placed| &placed.token) {
        Some(Token::Word(word)) => Some(word),
        _ => None,
    }
}

fn colons(tokens: &[Placed], at: usize) -> bool {
    (at..at + 2).all(|i| tokens.get(i).is_some_and(|placed| placed.token == Token::Punct(':')))
}

/// Top-level modules named from here, by `crate::…` or enough `super::`, with their lines.
fn references(tokens: &[Placed], path: &[String], inline: &[Stretch]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let place = (tokens[at].line, tokens[at].column);
        let nesting = inline.iter().filter(|(start, end)| *start <= place && place < *end).count();
        let mut depth = path.len() + nesting;
        let first = word(tokens, at);
        match first {
            Some("crate") if colons(tokens, at + 1) => {
                depth = 0;
                at += 3;
            }
            Some("super") if colons(tokens, at + 1) => {
                while word(tokens, at) == Some("super") && colons(tokens, at + 1) {
                    depth = depth.saturating_sub(1);
                    at += 3;
                }
            }
            _ => {
                at += 1;
                continue;
            }
        }
        if depth == 0 {
            found.extend(heads(tokens, at).into_iter().map(|(line, module)| (line, module.to_owned())));
        }
    }
    found
}

/// The first names of what follows `crate::`: one, or each of a braced list.
fn heads(tokens: &[Placed], at: usize) -> Vec<(usize, &str)> {
    if let Some(name) = word(tokens, at) {
        return vec![(tokens[at].line, name)];
    }
    let (mut found, mut nesting, mut expected) = (Vec::new(), 0, true);
    for (i, placed) in tokens.iter().enumerate().skip(at) {
        match &placed.token {
            Token::Open => nesting += 1,
            Token::Close => nesting -= 1,
            Token::Punct(',') if nesting == 1 => expected = true,
            Token::Word(name) if nesting == 1 && expected => {
                if colons(tokens, i + 1) || name.starts_with(char::is_lowercase) {
                    found.push((placed.line, name.as_str()));
                }
                expected = false;
            }
            _ => {}
        }
        if nesting == 0 {
            break;
        }
    }
    found
}

fn impurities(tokens: &[Placed]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, placed) in tokens.iter().enumerate() {
        let Some(name) = word(tokens, at) else { continue };
        let now = colons(tokens, at + 1) && word(tokens, at + 3) == Some("now");
        let called = at > 0 && tokens[at - 1].token == Token::Punct('.');
        match name {
            "tokio" | "async" | "await" => found.push((placed.line, name.to_owned())),
            "Instant" | "SystemTime" if now => found.push((placed.line, format!("{name}::now"))),
            "elapsed" if called => found.push((placed.line, ".elapsed".to_owned())),
            _ => {}
        }
    }
    found
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.expect("a readable directory entry").path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}
