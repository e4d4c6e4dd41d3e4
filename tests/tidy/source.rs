//! Rust source as the tidy rules see it: where it lies, its lines, and its code with comments and
//! literals blanked and its tests cut off.

use std::fs;
use std::path::{Path, PathBuf};

/// One file below the project's root.
pub(super) struct Source {
    /// From the root, with `/`.
    pub(super) path: String,
    pub(super) text: String,
    /// The text without comments, literals and tests, line for line.
    pub(super) code: String,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Source {
        let code = without_tests(&blanked(text));
        Source { path: path.into(), text: text.into(), code }
    }

    /// Whether the whole file is tests.
    pub(super) fn is_test(&self) -> bool {
        let inside = !self.path.starts_with("src/") || self.path.contains("/tests/");
        inside || self.path.ends_with("/tests.rs") || self.path.ends_with("_tests.rs")
    }

    /// The module path from the crate's root: `src/net/tls.rs` is `["net", "tls"]`.
    pub(super) fn module(&self) -> Vec<&str> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let path = path.strip_suffix("/mod").unwrap_or(path);
        path.split('/').filter(|part| *part != "lib").collect()
    }

    /// Code lines with their numbers, from 1.
    pub(super) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// Every file below `directories` of the project whose name ends in one of `endings`.
pub(super) fn read(directories: &[&str], endings: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for directory in directories {
        walk(&root.join(directory), &mut paths);
    }
    paths.sort();
    let named = |path: &PathBuf| {
        let name = path.to_string_lossy();
        endings.iter().any(|ending| name.ends_with(ending))
    };
    let source = |path: PathBuf| {
        let text = fs::read_to_string(&path).ok()?;
        Some(Source::new(path.strip_prefix(root).unwrap().to_str().unwrap(), &text))
    };
    paths.into_iter().filter(named).filter_map(source).collect()
}

fn walk(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_file() {
        found.push(path.into());
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        walk(&entry.path(), found);
    }
}

/// The text with comments and the inside of literals as blanks; line breaks stay.
fn blanked(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => line_end(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => block_comment_end(&chars, at),
            '"' => string_end(&chars, at + 1),
            'r' if starts_raw_string(&chars, at) => raw_string_end(&chars, at + 1),
            '\'' => char_end(&chars, at),
            _ => at,
        };
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            let end = end.min(chars.len());
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

fn line_end(chars: &[char], from: usize) -> usize {
    chars[from..].iter().position(|c| *c == '\n').map_or(chars.len(), |length| from + length)
}

fn block_comment_end(chars: &[char], from: usize) -> usize {
    let mut depth = 0;
    let mut at = from;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// `r"…"` or `r#"…"#`, and `br`, but neither a raw identifier nor a name that ends in `r`.
fn starts_raw_string(chars: &[char], at: usize) -> bool {
    let before = at.checked_sub(1).map(|before| chars[before]);
    let inside_name = before.is_some_and(|c| c != 'b' && (c.is_alphanumeric() || c == '_'));
    let after = chars[at + 1..].iter().find(|c| **c != '#');
    !inside_name && after == Some(&'"')
}

fn raw_string_end(chars: &[char], from: usize) -> usize {
    let hashes = chars[from..].iter().take_while(|c| **c == '#').count();
    let mut at = from + hashes + 1;
    while at < chars.len() {
        let closes = chars[at] == '"'
            && chars
                .get(at + 1..at + 1 + hashes)
                .is_some_and(|rest| rest.iter().all(|c| *c == '#'));
        at += 1;
        if closes {
            return at + hashes;
        }
    }
    chars.len()
}

/// The end of a character literal; `at` itself for a lifetime.
fn char_end(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => {
            let rest = chars[at + 3..].iter().position(|c| *c == '\'');
            rest.map_or(chars.len(), |length| at + 3 + length + 1)
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

/// The code up to its tests at the end; what they use is theirs. A test module in a file of its
/// own (`mod tests;`) cuts nothing.
fn without_tests(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut lines = code.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" && lines.peek().is_some_and(|next| next.ends_with('{')) {
            break;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

#[test]
fn comments_literals_and_tests_are_not_code() {
    let text = r##"//! crate::a
use b; // crate::c
const S: &str = "crate::d \" crate::e"; /* crate::f /* x */ */
const R: &str = r#"crate::g" "#; const C: char = '"'; fn h<'a>(i: &'a str) {}
#[cfg(test)]
mod tests;
fn j() {}
#[cfg(test)]
mod more {
    use k;
}
"##;
    let source = Source::new("src/net/tls.rs", text);
    assert!(!source.code.contains("crate"), "{}", source.code);
    assert!(source.code.contains("fn h<'a>(i: &'a str) {}"));
    assert!(source.code.contains("fn j()"));
    assert!(!source.code.contains("use k"));
    assert_eq!(source.code.lines().nth(3).unwrap().find("const C"), Some(33));
    assert_eq!(source.module(), ["net", "tls"]);
    assert_eq!(Source::new("src/net/mod.rs", "").module(), ["net"]);
    assert!(Source::new("src/lib.rs", "").module().is_empty());
    assert!(Source::new("src/net/tls_tests.rs", "").is_test());
}
