//! Who may import whom. The map is the table in ARCHITECTURE.md; this reads it and holds every
//! `crate::` and `super::` path in `src` against it.

use std::collections::BTreeMap;

use super::source::Source;

/// What the pure floors must not know: a runtime, a clock, randomness, threads, the world outside.
const IMPURE: &[&str] = &[
    "tokio",
    "Instant::now",
    "SystemTime::now",
    "rand::",
    "thread::",
    "std::fs",
    "std::net",
    "std::process",
];
const PURE_TOP: u32 = 2;

pub(super) struct Floors {
    of_module: BTreeMap<String, u32>,
    /// What `lib.rs` re-exports from where: `Lsn` comes from `lsn`.
    exported_from: BTreeMap<String, String>,
}

impl Floors {
    /// From ARCHITECTURE.md and `src/lib.rs`.
    pub(super) fn new(architecture: &str, library: &Source) -> Floors {
        let mut of_module = BTreeMap::new();
        for row in architecture.lines() {
            let mut cells = row.split('|').map(str::trim).skip(1);
            let floor = cells.next().and_then(|cell| cell.strip_prefix('F')?.parse().ok());
            let (Some(floor), Some(modules)) = (floor, cells.next()) else { continue };
            for name in modules.split('`').skip(1).step_by(2) {
                of_module.insert(name.trim_end_matches("/*").to_owned(), floor);
            }
        }
        let mut exported_from = BTreeMap::new();
        for statement in library.code.split("pub use ").skip(1) {
            let statement = statement.split(';').next().unwrap_or_default();
            let Some((module, names)) = statement.split_once("::") else { continue };
            for name in names.split(|c| !is_name(c)).filter(|name| !name.is_empty()) {
                exported_from.insert(name.to_owned(), module.trim().to_owned());
            }
        }
        Floors { of_module, exported_from }
    }

    /// The modules that `lib.rs` declares and the map does not know.
    pub(super) fn unmapped(&self, library: &Source) -> Vec<String> {
        let declared = library.code.lines().filter_map(|line| {
            let line = line.strip_prefix("pub ").unwrap_or(line);
            line.strip_prefix("mod ")?.strip_suffix(';')
        });
        let missing = declared.filter(|name| !self.of_module.contains_key(*name));
        missing
            .map(|name| format!("src/lib.rs: `{name}` is on no floor of ARCHITECTURE.md"))
            .collect()
    }

    pub(super) fn upward_imports(&self, source: &Source) -> Vec<String> {
        let module = source.module();
        let Some((own, floor)) = module.first().and_then(|own| Some((*own, self.floor(own)?)))
        else {
            return Vec::new();
        };
        let mut findings = Vec::new();
        for (line, text) in statements(source) {
            for path in paths(&text, &module) {
                let name = path.split("::").next().unwrap_or_default();
                let target = self.exported_from.get(name).map_or(name, String::as_str);
                let Some(target_floor) = self.floor(target) else { continue };
                let refused = if target == own {
                    None
                } else if target_floor > floor {
                    Some(format!("F{floor} `{own}` reaches up to F{target_floor} `{target}`"))
                } else if own == "sinks" && !open_to_sinks(&path, target, target_floor) {
                    Some(format!("a sink sees F0, F1 and `sink` only, not `{path}`"))
                } else if own == "fanout" && target == "sinks" {
                    Some("`fanout` and `sinks` are siblings that never import each other".into())
                } else {
                    None
                };
                findings.extend(refused.map(|why| format!("{}:{line}: {why}", source.path)));
            }
        }
        findings
    }

    pub(super) fn impurities(&self, source: &Source) -> Vec<String> {
        let module = source.module();
        let floor = module.first().and_then(|own| self.floor(own));
        if floor.is_none_or(|floor| floor > PURE_TOP) {
            return Vec::new();
        }
        let mut findings = Vec::new();
        for (line, text) in source.code_lines() {
            for word in IMPURE.iter().filter(|word| has_path(text, word)) {
                findings.push(format!("{}:{line}: a pure floor knows no `{word}`", source.path));
            }
        }
        findings
    }

    fn floor(&self, module: &str) -> Option<u32> {
        self.of_module.get(module).copied()
    }
}

/// What a third-party sink would see too: of `net`, what `sql_connect` takes and gives.
fn open_to_sinks(path: &str, target: &str, target_floor: u32) -> bool {
    const OF_NET: &[&str] =
        &["net::sql_connect", "net::ConnectConfig", "net::ConnectError", "net::SqlClient"];
    target_floor <= 1 || target == "sink" || OF_NET.contains(&path)
}

/// `word` in `text` at the start of a name: `rand::` is not in `brand::`.
fn has_path(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| !text[..at].ends_with(is_name))
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The code cut at `;`, without blanks, with the line each piece starts on: an import that spans
/// lines is one piece.
fn statements(source: &Source) -> Vec<(usize, String)> {
    let mut pieces = Vec::new();
    let mut line = 1;
    for piece in source.code.split(';') {
        let leading = piece.len() - piece.trim_start().len();
        let start = line + piece[..leading].matches('\n').count();
        // A blank between two names stays, so that `use crate` and `pub use` keep their words.
        pieces.push((start, piece.split_whitespace().collect::<Vec<_>>().join(" ")));
        line += piece.matches('\n').count();
    }
    pieces
}

/// The paths of `text` from the crate's root, `{…}` groups spread out.
fn paths(text: &str, module: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        if !text[..at].ends_with(is_name) {
            found.extend(spread(&text[at + "crate::".len()..]));
        }
    }
    for (at, _) in text.match_indices("super::") {
        if text[..at].ends_with("super::") || text[..at].ends_with(is_name) {
            continue;
        }
        let mut rest = &text[at..];
        let mut parent = module;
        while let Some(after) = rest.strip_prefix("super::") {
            rest = after;
            parent = &parent[..parent.len().saturating_sub(1)];
        }
        let prefix: String = parent.iter().map(|part| format!("{part}::")).collect();
        found.extend(spread(rest).into_iter().map(|path| format!("{prefix}{path}")));
    }
    found
}

/// `a::b` is itself; `{a::b, c::{d, e}}` is `a::b` and `c::`.
fn spread(text: &str) -> Vec<String> {
    let is_path = |c: char| is_name(c) || c == ':';
    let Some(group) = text.strip_prefix('{') else {
        return vec![text.chars().take_while(|c| is_path(*c)).collect()];
    };
    let mut names = vec![String::new()];
    let mut depth = 0;
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(String::new()),
            c if depth == 0 && is_path(c) => names.last_mut().unwrap().push(c),
            _ => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "| floor | modules |\n|---|---|\n| F6 | `pipeline` |\n\
        | F5 | `fanout` and `sinks/*` |\n| F4 | `sink`, `slot` |\n| F3 | `net` |\n\
        | F2 | `session` |\n| F1 | `event` |\n| F0 | `lsn` |\n";

    fn floors() -> Floors {
        Floors::new(MAP, &Source::new("src/lib.rs", "pub use pipeline::{Pipeline, Run};\nmod x;"))
    }

    fn refused(path: &str, text: &str) -> usize {
        floors().upward_imports(&Source::new(path, text)).len()
    }

    #[test]
    fn imports_point_down() {
        assert_eq!(refused("src/net/tls.rs", "use crate::session::S;\nuse super::auth::A;"), 0);
        assert_eq!(refused("src/event/row.rs", "use crate::session::S;"), 1);
        assert_eq!(refused("src/event/row.rs", "use super::super::net::tls::T;"), 1);
        assert_eq!(refused("src/event/mod.rs", "use super::net::tls::T;"), 1);
        assert_eq!(
            refused("src/event/row.rs", "use crate::{\n    lsn::Lsn,\n    net::{a, b},\n};"),
            1
        );
        assert_eq!(refused("src/event/row.rs", "fn f() { crate::slot::g(); crate::lsn::h() }"), 1);
        assert_eq!(refused("src/event/row.rs", "use crate::Pipeline;"), 1);
        assert_eq!(
            refused(
                "src/event/row.rs",
                "// crate::net\n#[cfg(test)]\nmod t {\nuse crate::net::a;\n}"
            ),
            0
        );
    }

    #[test]
    fn a_finding_names_its_line() {
        let source = Source::new("src/lsn.rs", "use std::fmt;\n\nuse crate::net::tls;\n");
        assert!(floors().upward_imports(&source)[0].starts_with("src/lsn.rs:3: "));
    }

    #[test]
    fn sinks_and_fanout_are_strangers() {
        assert_eq!(
            refused("src/sinks/file/mod.rs", "use crate::sink::Sink;\nuse crate::lsn::L;"),
            0
        );
        assert_eq!(refused("src/sinks/pg/mod.rs", "use crate::net::sql_connect;"), 0);
        assert_eq!(refused("src/sinks/pg/mod.rs", "use crate::net::tls;"), 1);
        assert_eq!(refused("src/sinks/pg/mod.rs", "use crate::fanout::lane;"), 1);
        assert_eq!(refused("src/fanout/lane.rs", "use crate::sinks::file;"), 1);
        assert_eq!(refused("src/fanout/lane.rs", "use crate::sink::Sink;"), 0);
    }

    #[test]
    fn pure_floors_have_no_clock() {
        let impure = |path, text| floors().impurities(&Source::new(path, text)).len();
        assert_eq!(impure("src/session/mod.rs", "use tokio::time;\nlet n = Instant::now();"), 2);
        assert_eq!(impure("src/session/mod.rs", "use std::time::Instant; // tokio"), 0);
        assert_eq!(impure("src/net/mod.rs", "use tokio::time;"), 0);
        assert_eq!(impure("src/lsn.rs", "brand::new(); rand::random();"), 1);
    }

    #[test]
    fn every_module_is_on_the_map() {
        let library = Source::new("src/lib.rs", "mod x;\npub mod net;");
        assert_eq!(floors().unmapped(&library).len(), 1);
    }
}
