//! `--format`, and the options that only some formats have.

use std::str::FromStr;

use walcast::codec::EventFormat;
use walcast::codec::cloudevents::CloudEventsOptions;
use walcast::codec::debezium::{DebeziumOptions, Decimals, TimePrecision};
use walcast::{Error, ErrorKind};

/// How events are printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Format {
    /// For programs, line by line
    Lines(EventFormat),
    /// For eyes
    Pretty,
}

/// How events are printed, as the command line says it.
#[derive(Debug, clap::Args)]
pub(crate) struct FormatArgs {
    /// How events are printed: json, pretty, debezium, cloudevents or wal2json; when not given,
    /// pretty on a terminal and json elsewhere
    #[arg(long, value_parser = parse)]
    format: Option<Format>,
    /// Options of --format debezium, separated by commas: name=, database=, placeholder=,
    /// decimals=precise|string|double, time=adaptive|microseconds|iso, tombstones, transactions
    #[arg(long, value_delimiter = ',', value_name = "OPTION[=VALUE]")]
    debezium: Vec<DebeziumOption>,
    /// The source of --format cloudevents, a URI reference
    #[arg(long, value_name = "URI")]
    cloudevents_source: Option<String>,
}

/// Reads `--format`.
fn parse(text: &str) -> Result<Format, &'static str> {
    Ok(Format::Lines(match text {
        "pretty" => return Ok(Format::Pretty),
        "json" => EventFormat::Json,
        "debezium" => EventFormat::Debezium(DebeziumOptions::default()),
        "cloudevents" => EventFormat::CloudEvents(CloudEventsOptions::default()),
        "wal2json" => EventFormat::Wal2Json,
        _ => return Err("available: json, pretty, debezium, cloudevents, wal2json"),
    }))
}

/// One item of `--debezium`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DebeziumOption {
    Name(String),
    Database(String),
    Decimals(Decimals),
    Time(TimePrecision),
    Tombstones,
    Placeholder(String),
    Transactions,
}

impl FromStr for DebeziumOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (option, value) = match text.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (text, None),
        };
        let given = || match value {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(format!("{option} needs a value: {option}=…")),
        };
        let raised = |it: Self| match value {
            None => Ok(it),
            Some(_) => Err(format!("{option} takes no value")),
        };
        match option {
            "name" => Ok(Self::Name(given()?.to_owned())),
            "database" => Ok(Self::Database(given()?.to_owned())),
            "decimals" => given()?.parse().map(Self::Decimals).map_err(|error| error.to_string()),
            "time" => given()?.parse().map(Self::Time).map_err(|error| error.to_string()),
            "placeholder" => Ok(Self::Placeholder(given()?.to_owned())),
            "tombstones" => raised(Self::Tombstones),
            "transactions" => raised(Self::Transactions),
            _ => Err("available: name=, database=, decimals=, time=, tombstones, placeholder=, \
                      transactions"
                .to_owned()),
        }
    }
}

/// An option of a format that was not asked for.
#[derive(Debug, thiserror::Error)]
#[error("{option} is an option of --format {format}")]
struct OtherFormat {
    option: &'static str,
    format: &'static str,
}

impl FormatArgs {
    /// The format that was asked for, with its options, for changes of this database.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for an option of another format.
    pub(crate) fn format(&self, database: &str) -> Result<Option<Format>, Error> {
        let mut format = self.format.clone();
        let misused = |option, format| {
            let fix = format!("add --format {format}, or leave {option} out");
            Error::permanent(ErrorKind::Config, OtherFormat { option, format }).with_fix(fix)
        };
        if let Some(source) = &self.cloudevents_source {
            let Some(Format::Lines(EventFormat::CloudEvents(options))) = &mut format else {
                return Err(misused("--cloudevents-source", "cloudevents"));
            };
            options.source = Some(source.clone());
        }
        if !self.debezium.is_empty() {
            let Some(Format::Lines(EventFormat::Debezium(options))) = &mut format else {
                return Err(misused("--debezium", "debezium"));
            };
            self.debezium.iter().cloned().for_each(|option| option.set(options));
        }
        Ok(format.map(|format| match format {
            Format::Lines(format) => Format::Lines(format.in_database(database)),
            Format::Pretty => Format::Pretty,
        }))
    }
}

impl DebeziumOption {
    fn set(self, options: &mut DebeziumOptions) {
        match self {
            Self::Name(name) => options.name = name,
            Self::Database(database) => options.database = database,
            Self::Decimals(decimals) => options.decimals = decimals,
            Self::Time(time) => options.time = time,
            Self::Tombstones => options.tombstones = true,
            Self::Placeholder(placeholder) => options.placeholder = placeholder,
            Self::Transactions => options.transactions = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_say_what_they_want() {
        let read = |text: &str| text.parse::<DebeziumOption>();
        assert_eq!(read("decimals=string"), Ok(DebeziumOption::Decimals(Decimals::String)));
        assert_eq!(read("time=iso"), Ok(DebeziumOption::Time(TimePrecision::Iso)));
        assert_eq!(read("tombstones"), Ok(DebeziumOption::Tombstones));
        assert!(read("decimals=exact").unwrap_err().contains("precise, string or double"));
        assert!(read("decimals").unwrap_err().contains("needs a value"));
        assert!(read("transactions=yes").unwrap_err().contains("takes no value"));
        assert!(read("schemas").unwrap_err().contains("available: "));
        assert!(parse("yaml").unwrap_err().contains("debezium"));
    }
}
