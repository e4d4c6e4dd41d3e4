//! Why a config was refused: every problem found, each with its line, key and a way out.
//!
//! The parser's own rendering prints the offending source line, which may hold a password; nothing
//! here keeps source text. What a message repeats of a value went through [`shown`] first.

use std::fmt;
use std::path::PathBuf;

use super::substitute::SubstituteError;
use super::units::UnitError;
use crate::name::NameError;
use crate::net::SettingsError;

/// A config that was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the config {file}", file = .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file was read and cannot work.
    #[error("{}", Listed { file, problems })]
    Refused {
        /// The file, as it was named.
        file: PathBuf,
        /// What is wrong with it, in the file's order; never empty.
        problems: Vec<Problem>,
    },
}

/// One thing wrong with a config, and where.
#[derive(Debug)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters, from 1.
    pub column: usize,
    /// The dotted path of the key; empty when no key is concerned.
    pub key: String,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// What is wrong with a config.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemKind {
    /// Not TOML.
    #[error("not valid TOML: {0}")]
    Syntax(SyntaxMessage),
    /// A key that no build knows.
    #[error("unknown key{}", did_you_mean(*.near))]
    UnknownKey {
        /// The known key of this section that looks most like it.
        near: Option<&'static str>,
    },
    /// A key that belongs elsewhere.
    #[error("this key belongs in `{section}`")]
    Misplaced {
        /// The section it belongs in.
        section: &'static str,
    },
    /// A key that must be there is not.
    #[error("missing; write `{example}`")]
    Missing {
        /// The key with a value.
        example: String,
    },
    /// A value of another type than the key takes.
    #[error("expected {wanted}, found {found}; write it as `{example}`")]
    WrongType {
        /// What the key takes.
        wanted: &'static str,
        /// What is there.
        found: &'static str,
        /// The key with a value.
        example: String,
    },
    /// A size or duration that cannot be read.
    #[error("{found} is {unit}")]
    Unit {
        /// What is there.
        found: String,
        /// What was probably meant.
        unit: UnitError,
    },
    /// A value of nothing where nothing cannot work.
    #[error("must be more than zero; write it as `{example}`")]
    Zero {
        /// The key with a value.
        example: String,
    },
    /// A number that is negative or far too large.
    #[error("must be a whole number from 0 to {max}")]
    Range {
        /// The largest number taken.
        max: u64,
    },
    /// A word that the key does not take.
    #[error("{found} is not one of {}{}", listed(.allowed), did_you_mean(*.near))]
    UnknownWord {
        /// What is there.
        found: String,
        /// The words the key takes.
        allowed: Vec<&'static str>,
        /// The one that looks most like it.
        near: Option<&'static str>,
    },
    /// A word that is right, of a feature that this build does not have.
    #[error("\"{word}\" is not in this build yet; available: {}", listed(.available))]
    WordNotYet {
        /// The word.
        word: &'static str,
        /// What this build takes.
        available: Vec<&'static str>,
    },
    /// A key that is right, of a feature that this build does not have.
    #[error("this key is not in this build yet; leave it out")]
    KeyNotYet,
    /// A name that PostgreSQL or walcast does not allow.
    #[error(transparent)]
    Name(NameError),
    /// The same, where the name may not be shown.
    #[error("the value cannot be the name of a {what}")]
    HiddenName {
        /// What was to be named.
        what: &'static str,
    },
    /// Connection settings that cannot work.
    #[error("{0}")]
    Url(SettingsError),
    /// A table pattern that is neither `schema.table` nor `schema.*`.
    #[error("{found} is not a table; write it as \"public.orders\" or \"public.*\"")]
    TablePattern {
        /// What is there.
        found: String,
    },
    /// A variable that cannot be substituted.
    #[error(transparent)]
    Substitute(SubstituteError),
    /// A secret's file that cannot be read.
    #[error("cannot read {file}: {error}", file = .file.display())]
    SecretFile {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// Two keys that exclude each other.
    #[error("give either this or `{other}`, not both")]
    Either {
        /// The other key.
        other: &'static str,
    },
    /// A key that needs another one.
    #[error("needs `{other}` beside it")]
    Needs {
        /// The other key, with a value where one matters.
        other: &'static str,
    },
    /// A key of another type of sink.
    #[error("only a sink of type \"{of}\" has this key")]
    OtherType {
        /// The type that has it.
        of: &'static str,
    },
    /// A key that means nothing for a type of sink.
    #[error("a sink of type \"{of}\" has no use for this key; leave it out")]
    NoUse {
        /// The type.
        of: &'static str,
    },
    /// The section of another format.
    #[error("only a sink of format \"{of}\" has this section")]
    OtherFormat {
        /// The format that has it.
        of: &'static str,
    },
    /// An empty list or text where something is needed.
    #[error("cannot be empty; write `{example}`")]
    Empty {
        /// The key with a value.
        example: String,
    },
    /// The same thing named twice in a list.
    #[error("{found} is listed twice")]
    Twice {
        /// What is listed twice.
        found: String,
    },
    /// A publication made on demand needs one name.
    #[error("`create` needs a single publication, and {count} are listed")]
    CreateMany {
        /// How many are listed.
        count: usize,
    },
    /// Two sinks of one name.
    #[error(
        "the sink on line {line} has this name already; names are unique, for they key progress"
    )]
    DuplicateSink {
        /// The line of the first sink's name.
        line: usize,
    },
    /// Two sinks writing to one place.
    #[error("the sink on line {line} writes there already")]
    SharedTarget {
        /// The line of the first sink's target.
        line: usize,
    },
    /// A pause that grows downwards.
    #[error("is shorter than `first`")]
    RetryOrder,
    /// More sinks asked for than there are.
    #[error("a quorum of {quorum} can never be reached with {}", required_sinks(*.required))]
    QuorumUnreachable {
        /// The quorum.
        quorum: u64,
        /// How many required sinks there are.
        required: usize,
    },
    /// A sink that holds nothing cannot block anything.
    #[error(
        "\"block\" holds the slot, and a sink with `required = false` never does; \
         leave `on_lag` out (it then skips ahead) or make the sink required"
    )]
    BlockNotRequired,
    /// WAL would be released that a required sink still needs.
    #[error(
        "\"quorum\" releases WAL that a slower required sink still needs: {} must have \
         `on_lag = \"spool\"` or \"detach\"; or keep `release = \"all\"`", listed_owned(.sinks)
    )]
    ReleaseNeedsSpool {
        /// The required sinks that would lose changes.
        sinks: Vec<String>,
    },
    /// No sink at all.
    #[error("no sink; add `[[sink]]` with `name`, `type` and what the type needs")]
    NoSink,
    /// Nothing that the slot waits for.
    #[error("no required sink, so nothing would ever be confirmed; make one `required = true`")]
    NoRequiredSink,
}

/// What the TOML parser expected, without the text it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxMessage(pub(super) String);

impl fmt::Display for SyntaxMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ConfigError {
    /// What is wrong with the file; empty when it could not be read at all.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Refused { problems, .. } => problems,
            Self::Unreadable { .. } => &[],
        }
    }
}

impl From<ConfigError> for crate::Error {
    fn from(error: ConfigError) -> Self {
        Self::permanent(crate::ErrorKind::Config, error)
    }
}

struct Listed<'a> {
    file: &'a PathBuf,
    problems: &'a [Problem],
}

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:{problem}", self.file.display())?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, key, kind } = self;
        write!(f, "{line}:{column}: ")?;
        if !key.is_empty() {
            write!(f, "{key}: ")?;
        }
        write!(f, "{kind}")
    }
}

/// `text` as a message may repeat it: not when it looks like a connection string.
pub(super) fn shown(text: &str) -> String {
    let private = text.contains("://") || text.contains('@') || text.contains("password");
    if private || text.chars().count() > 80 { "the value".to_owned() } else { format!("{text:?}") }
}

fn did_you_mean(near: Option<&str>) -> String {
    near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

fn listed_owned(words: &[String]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

fn required_sinks(count: usize) -> String {
    if count == 1 { "1 required sink".to_owned() } else { format!("{count} required sinks") }
}
