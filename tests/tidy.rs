//! The house rules that a machine can check (the others are for readers): floors, sizes, module
//! docs, and words that must not stay.

mod floors;
mod source;

use floors::Floors;
use source::{Source, read};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;

/// Fails with all that was found, one finding a line.
#[track_caller]
fn none(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

fn rust() -> Vec<Source> {
    let found = read(&["src", "tests", "examples", "benches"], &[".rs"]);
    assert!(found.len() > 20, "the sources were not found");
    found
}

#[test]
fn imports_point_down_and_pure_floors_stay_pure() {
    let architecture = read(&["ARCHITECTURE.md"], &[".md"]).remove(0);
    let library = read(&["src/lib.rs"], &[".rs"]).remove(0);
    let floors = Floors::new(&architecture.text, &library);
    let mut findings = floors.unmapped(&library);
    for source in rust().iter().filter(|source| source.path.starts_with("src/")) {
        if !source.is_test() && !source.path.starts_with("src/bin/") {
            findings.extend(floors.upward_imports(source));
            findings.extend(floors.impurities(source));
        }
    }
    none(findings);
}

#[test]
fn files_and_functions_and_lines_are_short() {
    let every = |rule: fn(&Source) -> Vec<String>| rust().iter().flat_map(rule).collect();
    none(every(long_files));
    none(every(long_functions));
    none(every(long_lines));
}

#[test]
fn modules_say_what_they_are() {
    none(rust().iter().flat_map(undocumented).collect());
}

#[test]
fn nothing_unfinished_stays() {
    none(rust().iter().flat_map(unfinished).collect());
}

#[test]
fn no_machine_and_no_registry_is_named() {
    let places = [
        "src",
        "tests",
        "examples",
        "benches",
        "scripts",
        "docker",
        ".ci",
        ".config",
        "fuzz/src",
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "Cargo.toml",
        "deny.toml",
    ];
    none(read(&places, &[""]).iter().flat_map(machine_names).collect());
}

fn long_files(source: &Source) -> Vec<String> {
    let lines = source.code.lines().count();
    let long = lines > FILE_LINES_MAX && !source.is_test();
    long.then(|| format!("{}: {lines} lines of at most {FILE_LINES_MAX}", source.path))
        .into_iter()
        .collect()
}

/// Counts from the line of `fn` to its closing brace.
fn long_functions(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.code.lines().collect();
    let mut findings = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(at) =
            line.find("fn ").filter(|at| !line[..*at].ends_with(|c: char| c.is_alphanumeric()))
        else {
            continue;
        };
        let mut depth = 0;
        let mut length = 0;
        'body: for (index, text) in lines[start..].iter().enumerate() {
            for c in text.chars().skip(if index == 0 { at } else { 0 }) {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ';' if depth == 0 => break 'body,
                    _ => continue,
                }
                if depth == 0 {
                    length = index + 1;
                    break 'body;
                }
            }
        }
        if length > FUNCTION_LINES_MAX {
            let (path, start) = (&source.path, start + 1);
            findings
                .push(format!("{path}:{start}: {length} lines of at most {FUNCTION_LINES_MAX}"));
        }
    }
    findings
}

/// A link or a string may be as long as it is.
fn long_lines(source: &Source) -> Vec<String> {
    // rustfmt keeps code within the limit; a longer string is left whole.
    let whole = |line: &str| line.contains('"') || line.contains("://");
    let long = |line: &str| line.chars().count() > COLUMNS_MAX && !whole(line);
    let found = source.lines().filter(|(_, line)| long(line));
    found
        .map(|(number, _)| format!("{}:{number}: over {COLUMNS_MAX} columns", source.path))
        .collect()
}

fn undocumented(source: &Source) -> Vec<String> {
    let documented = source.text.starts_with("//!");
    (!documented).then(|| format!("{}: no `//!` at its top", source.path)).into_iter().collect()
}

fn unfinished(source: &Source) -> Vec<String> {
    // Spelled in two pieces, so that this list does not find itself.
    let everywhere = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("#[", "ignore")];
    let in_code = ["dbg!(", "todo!(", "unimplemented!("];
    let mut findings = Vec::new();
    for ((number, code), text) in source.code_lines().zip(source.text.lines()) {
        let words = everywhere.iter().filter(|word| text.contains(**word));
        let calls = in_code.iter().filter(|word| code.contains(**word));
        let unwrap = (code.contains(".unwrap()") && !source.is_test()).then_some(&".unwrap()");
        for word in words.chain(calls).chain(unwrap) {
            findings.push(format!("{}:{number}: {word}", source.path));
        }
    }
    // Tests are cut from the code, not from the text.
    for (number, text) in source.lines().skip(source.code.lines().count()) {
        for word in everywhere.iter().filter(|word| text.contains(**word)) {
            findings.push(format!("{}:{number}: {word}", source.path));
        }
    }
    findings
}

fn machine_names(source: &Source) -> Vec<String> {
    let places = [
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/wo", "rk/"),
        concat!("py", "pi.org"),
        concat!("pythonho", "sted.org"),
        concat!("deb.deb", "ian.org"),
        concat!("npm", "js.org"),
        concat!("index.cra", "tes.io"),
    ];
    let mut findings = Vec::new();
    for (number, line) in source.lines() {
        for place in places.iter().filter(|place| line.contains(**place)) {
            findings.push(format!("{}:{number}: {place}", source.path));
        }
    }
    findings
}

#[test]
fn the_rules_find_what_they_look_for() {
    let source = |text: &str| Source::new("src/net/tls.rs", text);
    let lines = |count: usize| "    x();\n".repeat(count);

    assert_eq!(long_files(&source(&lines(501))).len(), 1);
    let tests = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", lines(400), lines(200));
    assert_eq!(long_files(&source(&tests)).len(), 0);

    let function = |body: usize| source(&format!("pub fn f(\n) {{\n{}}}\n", lines(body)));
    assert_eq!(long_functions(&function(67)).len(), 0);
    assert_eq!(long_functions(&function(68)).len(), 1);
    assert_eq!(long_functions(&source(&format!("fn f();\n{}", lines(90)))).len(), 0);

    assert_eq!(long_lines(&source(&"é".repeat(100))).len(), 0);
    assert_eq!(long_lines(&source(&"é".repeat(101))).len(), 1);
    assert_eq!(undocumented(&source("//! It is.\n")).len(), 0);
    assert_eq!(undocumented(&source("use std::fmt;\n")).len(), 1);

    let left = format!("// {}DO: later\nx.unwrap();\ndbg!(y);\n", "TO");
    assert_eq!(unfinished(&source(&left)).len(), 3);
    assert_eq!(unfinished(&source("// x.unwrap()\nlet s = \"dbg!(\";\n")).len(), 0);
    let test = format!("#[cfg(test)]\nmod tests {{\n    #[{}]\n}}\n", "ignore");
    assert_eq!(unfinished(&source(&test)).len(), 1);
    assert_eq!(machine_names(&source(&format!("at {}me/someone\n", "/ho"))).len(), 1);
}
