//! `[source]`: which primary, as whom, through which slot and publication.
//!
//! The URL, the password beside it and the certificate files become one [`ConnectConfig`], which
//! reads the same variables of the process as `tail` does (`PGSSLMODE` …). Whether slot and
//! publication exist is for the start of a run to find out.

use std::time::Duration;

use super::connect;
use super::error::{ProblemKind, shown};
use super::reading::Written;
use super::table::Table;
use crate::name::{PublicationName, SlotName};
use crate::net::{ConnectConfig, Streaming};
use crate::publication::PublicationTables;
use crate::stream::{Source, WireFormat};
use crate::table_pattern::TablePattern;

/// The primary, its slot and its publication.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// How the primary is reached.
    pub connect: ConnectConfig,
    /// The replication slot.
    pub slot: SlotName,
    /// How a missing slot is created.
    pub slot_options: SlotOptions,
    /// The publications, at least one.
    pub publications: Vec<PublicationName>,
    /// How a missing publication is created.
    pub publication_create: PublicationTables,
    /// Whether changes that the primary replicated from elsewhere are left out.
    pub local_only: bool,
    /// The prefixes of the logical messages to send; `*` for all.
    pub messages: Vec<String>,
    /// How values travel.
    pub format: WireFormat,
    /// Whether the server sends large transactions before they commit.
    pub streaming: Streaming,
    /// Whether it sends transactions when they are prepared.
    pub two_phase: bool,
}

impl SourceConfig {
    /// The stream that these settings describe, speaking at least every `status_interval`.
    pub fn source(&self, status_interval: Duration) -> Source {
        let Self { connect, slot, publications, .. } = self;
        Source::with(connect.clone(), slot.clone(), publications.clone())
            .create_slot(true)
            .temporary_slot(self.slot_options.temporary)
            .failover_slot(self.slot_options.failover)
            .create_publication(self.publication_create.clone())
            .format(self.format)
            .messages(self.messages.clone())
            .local_only(self.local_only)
            .streaming(self.streaming)
            .two_phase(self.two_phase)
            .status_interval(status_interval)
    }
}

/// How a missing slot is created.
#[derive(Debug, Clone, Copy, Default)]
pub struct SlotOptions {
    /// Standbys keep a copy (PostgreSQL 17 and later).
    pub failover: bool,
    /// It sends transactions when they are prepared.
    pub two_phase: bool,
    /// The slot ends with its connection.
    pub temporary: bool,
}

/// Read `[source]`.
pub(super) fn read(table: &Table<'_>) -> Option<SourceConfig> {
    for only_one_choice_yet in ["snapshot", "on_slot_loss", "new_tables"] {
        table.word(only_one_choice_yet);
    }
    let two_phase = table.flag("two_phase");
    let connect = connect::read(table);
    let slot = table.name("slot", SlotName::new);
    let slot_options = read_slot_options(&table.section("slot_options"));
    let publications = table.names("publication", PublicationName::new);
    if publications.as_ref().is_some_and(Vec::is_empty) {
        let example = "publication = \"walcast\"".to_owned();
        table.report("publication", ProblemKind::Empty { example });
    }
    let count = publications.as_ref().map_or(1, Vec::len);
    let publication_create = read_create(&table.section("publication_options"), count);
    let origin = table.word("origin");
    let messages = table.texts("messages");
    let format = table.word("format");
    let streaming = table.word("streaming");
    Some(SourceConfig {
        connect: connect?,
        slot: slot?.value,
        slot_options: slot_options?,
        publications: publications?.into_iter().map(|name| name.value).collect(),
        publication_create: publication_create?,
        local_only: origin? == "none",
        two_phase: two_phase? || slot_options?.two_phase,
        messages: messages?.into_iter().map(|prefix| prefix.value).collect(),
        format: match format? {
            "binary" => WireFormat::Binary,
            "text" => WireFormat::Text,
            _ => WireFormat::Auto,
        },
        streaming: match streaming? {
            "off" => Streaming::Off,
            "on" => Streaming::On,
            "parallel" => Streaming::Parallel,
            _ => Streaming::Auto,
        },
    })
}

fn read_slot_options(table: &Table<'_>) -> Option<SlotOptions> {
    let two_phase = table.flag("two_phase");
    let failover = table.flag("failover");
    let temporary = table.flag("temporary");
    if (failover, temporary) == (Some(true), Some(true)) {
        table.report("failover", ProblemKind::Either { other: "temporary" });
    }
    Some(SlotOptions { failover: failover?, two_phase: two_phase?, temporary: temporary? })
}

fn read_create(table: &Table<'_>, publications: usize) -> Option<PublicationTables> {
    let create = table.word("create");
    let tables = table.texts("tables");
    let create = create?;
    if create != "never" && publications != 1 {
        table.report("create", ProblemKind::CreateMany { count: publications });
    }
    if create != "tables" && table.has("tables") {
        table.report("tables", ProblemKind::Needs { other: "create = \"tables\"" });
    }
    match create {
        "never" => Some(PublicationTables::Never),
        "all" => Some(PublicationTables::All),
        _ if !table.has("tables") => {
            table.report("create", ProblemKind::Needs { other: "tables = [\"public.orders\"]" });
            None
        }
        _ => read_tables(table, tables?).map(PublicationTables::Tables),
    }
}

fn read_tables(table: &Table<'_>, texts: Vec<Written<String>>) -> Option<Vec<TablePattern>> {
    if texts.is_empty() {
        let example = "tables = [\"public.orders\"]".to_owned();
        table.report("tables", ProblemKind::Empty { example });
    }
    let count = texts.len();
    let parse = |text: Written<String>| {
        let parsed = text.value.parse();
        if parsed.is_err() {
            let found = shown(&text.value);
            table.report("tables", ProblemKind::TablePattern { found });
        }
        parsed.ok()
    };
    let tables: Vec<TablePattern> = texts.into_iter().filter_map(parse).collect();
    (tables.len() == count).then_some(tables)
}
