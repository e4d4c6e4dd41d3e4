//! `[source]`: which primary, as whom, through which slot and publication.
//!
//! The URL stays one opaque secret here; the connection floor takes it apart. Whether slot and
//! publication exist is for the start of a run to find out.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::error::{ProblemKind, shown};
use super::reading::Written;
use super::table::Table;
use crate::name::{PublicationName, Secret, SlotName};

/// The primary, its slot and its publication.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// A PostgreSQL URL or `key=value` string, variables already replaced.
    pub url: Secret,
    /// The password, where it was given apart from the URL.
    pub password: Option<Secret>,
    /// Certificate files, where they were given apart from the URL.
    pub tls: TlsFiles,
    /// The replication slot.
    pub slot: SlotName,
    /// How a missing slot is created.
    pub slot_options: SlotOptions,
    /// The publications, at least one.
    pub publications: Vec<PublicationName>,
    /// How a missing publication is created.
    pub publication_create: PublicationCreate,
    /// Whether changes that the primary replicated from elsewhere are left out.
    pub local_only: bool,
    /// The logical messages to send.
    pub messages: Messages,
    /// How values travel.
    pub format: WireFormat,
}

/// Certificate files in PEM.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// The certificates to trust.
    pub root_cert: Option<PathBuf>,
    /// The certificate to show; always together with its key.
    pub client_cert: Option<PathBuf>,
    /// The key of `client_cert`.
    pub client_key: Option<PathBuf>,
}

/// How a missing slot is created.
#[derive(Debug, Clone, Copy, Default)]
pub struct SlotOptions {
    /// Standbys keep a copy (PostgreSQL 17 and later).
    pub failover: bool,
    /// The slot ends with its connection.
    pub temporary: bool,
}

/// How a missing publication is created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicationCreate {
    /// It is not: a missing publication is an error.
    Never,
    /// For these tables.
    Tables(Vec<TableName>),
    /// For all tables, those of the future too.
    All,
}

/// Which logical messages are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Messages {
    /// None.
    None,
    /// Those with one of these prefixes.
    Prefixes(Vec<String>),
    /// All.
    All,
}

/// How values travel from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireFormat {
    /// Binary where every published type allows it.
    Auto,
    /// Binary.
    Binary,
    /// Text.
    Text,
}

/// A table, or all tables of a schema: `public.orders`, `shop.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    /// The schema.
    pub schema: String,
    /// The table; `None` for all tables of the schema.
    pub table: Option<String>,
}

/// A text that is neither `schema.table` nor `schema.*`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a table; write it as \"public.orders\" or \"public.*\"")]
pub struct TableNameError;

impl FromStr for TableName {
    type Err = TableNameError;

    fn from_str(text: &str) -> Result<Self, TableNameError> {
        let (schema, rest) = take_identifier(text).ok_or(TableNameError)?;
        let rest = rest.strip_prefix('.').ok_or(TableNameError)?;
        if rest == "*" {
            return Ok(Self { schema, table: None });
        }
        match take_identifier(rest) {
            Some((table, "")) => Ok(Self { schema, table: Some(table) }),
            _ => Err(TableNameError),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.table {
            Some(table) => write!(f, "{}.{table}", self.schema),
            None => write!(f, "{}.*", self.schema),
        }
    }
}

/// A leading identifier, taken literally: bare up to the next dot, or in double quotes.
fn take_identifier(text: &str) -> Option<(String, &str)> {
    if let Some(mut rest) = text.strip_prefix('"') {
        let mut name = String::new();
        loop {
            let (part, tail) = rest.split_once('"')?;
            name.push_str(part);
            match tail.strip_prefix('"') {
                Some(tail) => {
                    name.push('"');
                    rest = tail;
                }
                None => return (!name.is_empty()).then_some((name, tail)),
            }
        }
    }
    let end = text.find(['.', '*', '"', '\0']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    (!name.is_empty()).then(|| (name.to_owned(), rest))
}

/// Read `[source]`.
pub(super) fn read(table: &Table<'_>) -> Option<SourceConfig> {
    for only_one_choice_yet in ["snapshot", "streaming", "on_slot_loss", "new_tables"] {
        table.word(only_one_choice_yet);
    }
    table.flag("two_phase");
    if !table.has("url") && !table.has("url_file") {
        table.report_missing("url");
    }
    let url = table.secret("url", "url_file").filter(|url| {
        if url.expose().is_empty() {
            table.report_missing("url");
        }
        !url.expose().is_empty()
    });
    let password = table.secret("password", "password_file");
    let tls = read_tls(&table.section("tls"));
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
    Some(SourceConfig {
        url: url?,
        password,
        tls,
        slot: slot?.value,
        slot_options: slot_options?,
        publications: publications?.into_iter().map(|name| name.value).collect(),
        publication_create: publication_create?,
        local_only: origin? == "none",
        messages: chosen_messages(messages?),
        format: match format? {
            "binary" => WireFormat::Binary,
            "text" => WireFormat::Text,
            _ => WireFormat::Auto,
        },
    })
}

fn read_tls(table: &Table<'_>) -> TlsFiles {
    for (one, other) in [("client_cert", "client_key"), ("client_key", "client_cert")] {
        if table.has(one) && !table.has(other) {
            table.report(one, ProblemKind::Needs { other });
        }
    }
    TlsFiles {
        root_cert: table.path("root_cert"),
        client_cert: table.path("client_cert"),
        client_key: table.path("client_key"),
    }
}

fn read_slot_options(table: &Table<'_>) -> Option<SlotOptions> {
    table.flag("two_phase");
    let failover = table.flag("failover");
    let temporary = table.flag("temporary");
    if (failover, temporary) == (Some(true), Some(true)) {
        table.report("failover", ProblemKind::Either { other: "temporary" });
    }
    Some(SlotOptions { failover: failover?, temporary: temporary? })
}

fn read_create(table: &Table<'_>, publications: usize) -> Option<PublicationCreate> {
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
        "never" => Some(PublicationCreate::Never),
        "all" => Some(PublicationCreate::All),
        _ if !table.has("tables") => {
            table.report("create", ProblemKind::Needs { other: "tables = [\"public.orders\"]" });
            None
        }
        _ => read_tables(table, tables?).map(PublicationCreate::Tables),
    }
}

fn read_tables(table: &Table<'_>, texts: Vec<Written<String>>) -> Option<Vec<TableName>> {
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
    let tables: Vec<TableName> = texts.into_iter().filter_map(parse).collect();
    (tables.len() == count).then_some(tables)
}

fn chosen_messages(prefixes: Vec<Written<String>>) -> Messages {
    if prefixes.iter().any(|prefix| prefix.value == "*") {
        Messages::All
    } else if prefixes.is_empty() {
        Messages::None
    } else {
        Messages::Prefixes(prefixes.into_iter().map(|prefix| prefix.value).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_named_with_their_schema() {
        let table = |text: &str| text.parse::<TableName>();
        let named = |schema: &str, table: Option<&str>| {
            Ok(TableName { schema: schema.to_owned(), table: table.map(str::to_owned) })
        };
        assert_eq!(table("public.orders"), named("public", Some("orders")));
        assert_eq!(table("shop.*"), named("shop", None));
        assert_eq!(table(r#""a.b"."c""d""#), named("a.b", Some("c\"d")));
        for refused in ["orders", "", ".", "a.", ".b", "a.b.c", "*.*", r#""a.b"#, "a.b*"] {
            assert_eq!(table(refused), Err(TableNameError), "{refused}");
        }
    }
}
