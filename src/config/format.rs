//! A sink's `format`, with the section that only some formats have.

use super::error::ProblemKind;
use super::table::Table;
use crate::codec::EventFormat;
use crate::codec::cloudevents::CloudEventsOptions;
use crate::codec::debezium::{DebeziumOptions, Decimals, TimePrecision};

/// The formats with a section of the same name.
const WITH_OPTIONS: [&str; 2] = ["cloudevents", "debezium"];

/// Read the format of the sink in `table`.
pub(super) fn read(table: &Table<'_>) -> Option<EventFormat> {
    let word = table.word("format");
    for section in WITH_OPTIONS {
        if table.has(section) && word.is_some_and(|word| word != section) {
            table.report(section, ProblemKind::OtherFormat { of: section });
        }
    }
    Some(match word? {
        "cloudevents" => EventFormat::CloudEvents(read_cloudevents(&table.section("cloudevents"))?),
        "debezium" => EventFormat::Debezium(read_debezium(&table.section("debezium"))?),
        "wal2json" => EventFormat::Wal2Json,
        _ => EventFormat::Json,
    })
}

fn read_cloudevents(table: &Table<'_>) -> Option<CloudEventsOptions> {
    let options = CloudEventsOptions::default();
    if !table.has("source") {
        return Some(options);
    }
    Some(options.with_source(not_empty(table, "source")?))
}

fn read_debezium(table: &Table<'_>) -> Option<DebeziumOptions> {
    let mut options = DebeziumOptions::default();
    let name = not_empty(table, "name");
    let database = if table.has("database") { table.text("database") } else { None };
    // The words are those that parse.
    let decimals = table.word("decimals").and_then(|word| word.parse::<Decimals>().ok());
    let time = table.word("time").and_then(|word| word.parse::<TimePrecision>().ok());
    let placeholder = not_empty(table, "placeholder");
    let (tombstones, transactions) = (table.flag("tombstones"), table.flag("transactions"));
    options.database = database.map(|text| text.value).unwrap_or_default();
    (options.name, options.placeholder) = (name?, placeholder?);
    (options.decimals, options.time) = (decimals?, time?);
    (options.tombstones, options.transactions) = (tombstones?, transactions?);
    Some(options)
}

fn not_empty(table: &Table<'_>, key: &'static str) -> Option<String> {
    let text = table.text(key)?;
    if text.value.is_empty() {
        let example = table.example(key);
        table.report(key, ProblemKind::Empty { example });
        return None;
    }
    Some(text.value)
}
