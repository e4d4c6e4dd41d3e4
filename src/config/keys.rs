//! Every key of the config: its name, shape, default and meaning, once.
//!
//! The reader refuses what is not listed here, suggestions come from here, and the JSON Schema is
//! printed from here, so that the three cannot disagree. A word or key marked as later is known,
//! spelled right, and refused with what this build offers instead; the change that builds the
//! feature takes the mark away.

/// One key of a section.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) about: &'static str,
    /// What an absent key means, as it would be written between quotes or bare.
    pub(super) default: Option<&'static str>,
    /// A value as a suggestion shows it.
    pub(super) example: &'static str,
    /// Known, but this build has no code for it.
    pub(super) later: bool,
}

/// What a key's value looks like.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Text,
    /// Text that no message may repeat.
    Secret,
    /// A word this build takes, or later a URL, which no message may repeat.
    WordOrSecret(&'static [&'static str]),
    Path,
    Bytes,
    Duration,
    Count,
    Flag,
    /// One of a few words: those this build takes, and those it knows but refuses.
    Word {
        now: &'static [&'static str],
        later: &'static [&'static str],
    },
    Texts,
    TextOrTexts,
    Section(&'static [Key]),
    Sections(&'static [Key]),
    /// The value of a key that is not built yet is not looked at.
    Any,
}

impl Key {
    const fn new(name: &'static str, shape: Shape, about: &'static str) -> Self {
        Self { name, shape, about, default: None, example: "", later: false }
    }

    const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self.example = default;
        self
    }

    const fn like(mut self, example: &'static str) -> Self {
        self.example = example;
        self
    }

    const fn later(name: &'static str, about: &'static str) -> Self {
        Self { later: true, ..Self::new(name, Shape::Any, about) }
    }

    /// The key and a value, as they would be written in the file.
    pub(super) fn written(&self) -> String {
        let Self { name, example, .. } = self;
        match self.shape {
            Shape::Count | Shape::Flag => format!("{name} = {example}"),
            Shape::Texts => format!("{name} = [\"{example}\"]"),
            Shape::Section(_) => format!("{name} = {{ {example} }}"),
            Shape::Sections(_) => format!("[[{name}]]"),
            _ => format!("{name} = \"{example}\""),
        }
    }
}

const fn words(now: &'static [&'static str], later: &'static [&'static str]) -> Shape {
    Shape::Word { now, later }
}

/// The file's own keys.
pub(super) const ROOT: &[Key] = &[
    Key::new("source", Shape::Section(SOURCE), "The primary, its slot and its publication."),
    Key::new("pipeline", Shape::Section(PIPELINE), "Progress, limits and what lets WAL go."),
    Key::new("sink", Shape::Sections(SINK), "Where changes go; one table per sink."),
    Key::new("monitor", Shape::Section(MONITOR), "What is served about the running pipeline."),
];

const SOURCE: &[Key] = &[
    Key::new("url", Shape::Secret, "A PostgreSQL URL or key=value string; `${VAR}` inside a URL is percent-encoded.")
        .like("postgres://walcast:${WALCAST_PASSWORD}@db1/shop?sslmode=verify-full"),
    Key::new("url_file", Shape::Path, "A file that holds the URL.").like("/run/secrets/url"),
    Key::new("password", Shape::Secret, "The password, when it is not in the URL.")
        .like("${WALCAST_PASSWORD}"),
    Key::new("password_file", Shape::Path, "A file that holds the password.")
        .like("/run/secrets/password"),
    Key::new("tls", Shape::Section(TLS), "Certificate files, besides the URL's sslrootcert, sslcert and sslkey.")
        .like("root_cert = \"ca.pem\""),
    Key::new("slot", Shape::Text, "The replication slot; created when missing.").or("walcast"),
    Key::new("slot_options", Shape::Section(SLOT_OPTIONS), "How a missing slot is created.")
        .like("failover = true"),
    Key::new("publication", Shape::TextOrTexts, "The publication, or a list of them.")
        .or("walcast"),
    Key::new("publication_options", Shape::Section(PUBLICATION_OPTIONS), "How a missing publication is created.")
        .like("create = \"tables\", tables = [\"public.orders\"]"),
    Key::new("snapshot", words(&["never"], &["initial", "only"]), "Whether rows that exist already are read first.")
        .or("never"),
    Key::new("streaming", words(&["auto", "off", "on", "parallel"], &[]), "Whether the server sends large transactions before they commit; `auto` is `on`. What is delivered is the same.")
        .or("auto"),
    Key::new("two_phase", Shape::Flag, "Whether prepared transactions are sent at PREPARE (PostgreSQL 15 and later) and kept in the state directory. What is delivered is the same.")
        .or("false"),
    Key::new("origin", words(&["any", "none"], &[]), "`none` leaves out changes that the primary itself replicated from elsewhere.")
        .or("any"),
    Key::new("messages", Shape::Texts, "Prefixes of the logical messages to send; `*` for all.")
        .like("outbox"),
    Key::new("on_slot_loss", words(&["stop"], &["resnapshot"]), "What to do when the slot is gone.")
        .or("stop"),
    Key::new("new_tables", words(&["stream"], &["backfill", "refuse"]), "What to do with tables added to the publication while running.")
        .or("stream"),
    Key::new("format", words(&["auto", "binary", "text"], &[]), "How values travel from the server.")
        .or("auto"),
];

const TLS: &[Key] = &[
    Key::new("root_cert", Shape::Path, "The certificates to trust, in PEM.").like("ca.pem"),
    Key::new("client_cert", Shape::Path, "The certificate to show, in PEM.").like("client.pem"),
    Key::new("client_key", Shape::Path, "The key of `client_cert`, in PEM.").like("client.key"),
];

const SLOT_OPTIONS: &[Key] = &[
    Key::new("failover", Shape::Flag, "Let standbys keep a copy (PostgreSQL 17 and later).")
        .or("false"),
    Key::new("two_phase", Shape::Flag, "The same as two_phase in [source].").or("false"),
    Key::new("temporary", Shape::Flag, "Drop the slot when the connection ends.").or("false"),
];

const PUBLICATION_OPTIONS: &[Key] = &[
    Key::new(
        "create",
        words(&["never", "tables", "all"], &[]),
        "Create a missing publication for the listed tables, for all tables, or not at all.",
    )
    .or("never"),
    Key::new("tables", Shape::Texts, "The tables of a created publication; `shop.*` for a schema.")
        .like("public.orders"),
];

const PIPELINE: &[Key] = &[
    Key::new("state", Shape::Path, "The directory of checkpoint, lock and control socket.")
        .or("./walcast-state"),
    Key::new(
        "quorum",
        Shape::Count,
        "How many required sinks must be durable before `apply` moves; all of them when absent.",
    )
    .like("2"),
    Key::new(
        "release",
        words(&["all", "quorum"], &[]),
        "Whose durability lets the slot release WAL.",
    )
    .or("all"),
    Key::new(
        "checkpoint",
        Shape::WordOrSecret(&["file"]),
        "Where the checkpoint lives: `file`, or a PostgreSQL URL.",
    )
    .or("file"),
    Key::new("memory", Shape::Bytes, "The most bytes in flight.").or("64MiB"),
    Key::new("spill", Shape::Bytes, "The most disk for large open transactions.").or("8GiB"),
    Key::new("status_interval", Shape::Duration, "The longest time between two status updates.")
        .or("10s"),
    Key::new(
        "drain_timeout",
        Shape::Duration,
        "How long sinks may take to prove what they have once the end is asked for.",
    )
    .or("10s"),
];

/// The words of a sink's `type`.
pub(super) const SINK_TYPES: Shape =
    words(&["file", "stdout", "postgres"], &["webhook", "kafka", "nats", "redis", "object_store"]);

pub(super) const SINK: &[Key] = &[
    Key::new("name", Shape::Text, "Unique; it keys the sink's progress, so a renamed sink is a new one.")
        .like("audit"),
    Key::new("type", SINK_TYPES, "What the sink writes to.").like("file"),
    Key::new("path", Shape::Path, "The file of a `file` sink.").like("./audit.jsonl"),
    Key::new("rotate", Shape::Section(ROTATE), "When a `file` sink starts a new file.")
        .like("bytes = \"256MiB\""),
    Key::new("url", Shape::Secret, "The server and database of a `postgres` sink, as in [source].")
        .like("postgres://walcast:${REPLICA_PASSWORD}@replica/shop?sslmode=verify-full"),
    Key::new("url_file", Shape::Path, "A file that holds the URL.").like("/run/secrets/url"),
    Key::new("password", Shape::Secret, "The password, when it is not in the URL.")
        .like("${REPLICA_PASSWORD}"),
    Key::new("password_file", Shape::Path, "A file that holds the password.")
        .like("/run/secrets/password"),
    Key::new("tls", Shape::Section(TLS), "Certificate files, besides the URL's.")
        .like("root_cert = \"ca.pem\""),
    Key::new("format", words(&["json", "debezium", "cloudevents", "wal2json"], &[]), "How events are written.")
        .or("json"),
    Key::new("cloudevents", Shape::Section(CLOUDEVENTS), "What is to be chosen about the format `cloudevents`.")
        .like("source = \"https://shop.example/db\""),
    Key::new("debezium", Shape::Section(DEBEZIUM), "What is to be chosen about the format `debezium`.")
        .like("decimals = \"string\""),
    Key::new("required", Shape::Flag, "Whether the slot waits for this sink.").or("true"),
    Key::new("on_lag", words(&["block", "detach"], &["spool"]), "What happens when a sink falls behind: the others wait, or it is left behind; when absent, others wait for a required sink, and any other skips ahead.")
        .like("block"),
    Key::new("lag_limit", Shape::Duration, "How long a sink with `on_lag = \"detach\"` may prove nothing, or hold memory that others wait for.")
        .or("1m"),
    Key::later("spool_limit", "The most disk of this sink's spool."),
    Key::new("on_reject", words(&["stop"], &["dead_letter"]), "What happens to a change that the target refuses.")
        .or("stop"),
    Key::later("include", "The tables this sink gets."),
    Key::later("exclude", "The tables this sink does not get."),
    Key::later("operations", "The operations this sink gets."),
    Key::later("columns", "The columns this sink gets, per table."),
    Key::later("where", "A condition on the rows this sink gets."),
    Key::later("route", "A template for where each event goes."),
    Key::later("key", "A template for each event's key."),
    Key::later("zone", "The failure domain this sink lies in."),
    Key::new("batch", Shape::Section(BATCH), "How much is gathered before a flush.")
        .like("bytes = \"4MiB\", linger = \"5ms\""),
    Key::new("retry", Shape::Section(RETRY), "How a failing target is tried again.")
        .like("first = \"100ms\", max = \"30s\""),
    Key::new("timeout", Shape::Duration, "The longest one call of the sink may take.")
        .or("5m"),
];

const CLOUDEVENTS: &[Key] = &[
    Key::new("source", Shape::Text, "Every event's `source`, a URI reference; `/postgresql/` and the cluster's system id when absent.")
        .like("https://shop.example/db"),
];

const DEBEZIUM: &[Key] = &[
    Key::new("name", Shape::Text, "`source.name`: the connector's topic prefix.").or("walcast"),
    Key::new("database", Shape::Text, "`source.db`; the database of the source's URL when absent.")
        .like("shop"),
    Key::new(
        "decimals",
        words(&["precise", "string", "double"], &[]),
        "How numeric and money are written.",
    )
    .or("precise"),
    Key::new(
        "time",
        words(&["adaptive", "microseconds", "iso"], &[]),
        "How dates and times are written.",
    )
    .or("adaptive"),
    Key::new("tombstones", Shape::Flag, "Whether a line `null` follows each delete.").or("false"),
    Key::new(
        "placeholder",
        Shape::Text,
        "What stands for a large value that an update left alone.",
    )
    .or("__debezium_unavailable_value"),
    Key::new(
        "transactions",
        Shape::Flag,
        "Whether events say their place in the transaction, and lines its begin and end.",
    )
    .or("false"),
];

const ROTATE: &[Key] = &[
    Key::new("bytes", Shape::Bytes, "Rotate once the file is this large.").like("256MiB"),
    Key::new("age", Shape::Duration, "Rotate once the file is this old.").like("1h"),
    Key::new("keep", Shape::Count, "How many rotated files stay; all of them when absent.")
        .like("10"),
];

const BATCH: &[Key] = &[
    Key::new("bytes", Shape::Bytes, "Flush after this many bytes.").or("4MiB"),
    Key::new(
        "linger",
        Shape::Duration,
        "Delay a flush this long at most; writes are never delayed.",
    )
    .or("5ms"),
];

const RETRY: &[Key] = &[
    Key::new("first", Shape::Duration, "The first pause.").or("100ms"),
    Key::new("max", Shape::Duration, "The longest pause.").or("30s"),
    Key::new("attempts", Shape::Count, "How often to try; 0 for no limit.").or("0"),
];

const MONITOR: &[Key] = &[Key::later("listen", "The address of /metrics, /healthz and /status.")];
