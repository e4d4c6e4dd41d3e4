//! The config file of the `walcast` program, read into plain typed structs.
//!
//! [`Config::load`] either yields settings that can be used as they are, or a [`ConfigError`] with
//! every problem found: file, line, column, key and a way out. `keys` lists what can be written,
//! `table` reads one section, `source`, `pipeline` and `sink` turn theirs into structs and check
//! what only they can know. Relative paths start at the config's own directory. Nothing here
//! connects to a server, opens a sink, or knows what a setting will be used for.

mod build;
mod connect;
mod error;
mod format;
mod keys;
mod pipeline;
mod reading;
mod schema;
mod sink;
mod source;
mod substitute;
mod table;
#[cfg(test)]
mod tests;
mod units;

use std::path::{Path, PathBuf};

use toml::de::DeTable;

pub use error::{ConfigError, Problem, ProblemKind, SyntaxMessage};
pub use pipeline::PipelineConfig;
pub use schema::json_schema;
pub use sink::{
    BatchConfig, FileConfig, PostgresConfig, RetryConfig, Rotation, SinkConfig, SinkKind,
};
pub use source::{SlotOptions, SourceConfig};
pub use substitute::SubstituteError;
pub use units::{ByteSize, UnitError, format_duration, parse_duration};

use error::ProblemKind as Kind;
use reading::Reading;
use table::Table;

/// Everything a config file says.
#[derive(Debug, Clone)]
pub struct Config {
    /// The primary, its slot and its publication.
    pub source: SourceConfig,
    /// Progress, limits and what lets WAL go.
    pub pipeline: PipelineConfig,
    /// Where changes go; at least one of them is required.
    pub sinks: Vec<SinkConfig>,
}

impl Config {
    /// The stream that the file describes.
    pub fn stream_source(&self) -> crate::Source {
        self.source.source(self.pipeline.status_interval)
    }

    /// Read the file `path`, with variables from the process's environment.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { file: path.to_owned(), source })?;
        Self::parse(&text, path, &|name| std::env::var(name).ok())
    }

    /// Read `text` as if it were the file `path`, with variables from `environment`.
    pub fn parse(
        text: &str,
        path: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let directory = path.parent().map(Path::to_owned).unwrap_or_default();
        let reading = Reading::new(text, &directory, environment);
        let (document, errors) = DeTable::parse_recoverable(text);
        let config = if errors.is_empty() {
            read(&reading, document.get_ref())
        } else {
            report_syntax(&reading, &errors);
            None
        };
        let problems = reading.into_problems();
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(ConfigError::Refused { file: PathBuf::from(path), problems }),
        }
    }
}

fn read(reading: &Reading<'_>, document: &DeTable<'_>) -> Option<Config> {
    let root = Table::root(reading, keys::ROOT, document);
    let source = root.section("source");
    let source = if root.has("source") {
        source::read(&source)
    } else {
        source.report_missing("url");
        None
    };
    let _nothing_to_read_yet = root.section("monitor");
    let sinks = sink::read_all(reading, &root);
    let pipeline = pipeline::read(&root.section("pipeline"), &sinks);
    let sinks: Option<Vec<_>> = sinks.into_iter().map(|sink| sink.config).collect();
    Some(Config { source: source?, pipeline: pipeline?, sinks: sinks? })
}

/// One problem a line: what follows on the same line is mostly an echo of the first.
fn report_syntax(reading: &Reading<'_>, errors: &[toml::de::Error]) {
    let mut lines = Vec::new();
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        let line = reading.line(at);
        if !lines.contains(&line) {
            lines.push(line);
            reading.report(at, "", Kind::Syntax(SyntaxMessage(error.message().to_owned())));
        }
    }
}
