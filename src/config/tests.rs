//! What is refused, on which line, with which way out; and what is taken.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::codec::EventFormat;
use crate::codec::cloudevents::CloudEventsOptions;
use crate::codec::debezium::{DebeziumOptions, Decimals, TimePrecision};
use crate::publication::PublicationTables;
use crate::stream::WireFormat;

fn environment(name: &str) -> Option<String> {
    match name {
        "PW" => Some("p@ss word".to_owned()),
        "SECRET_NAME" => Some("Top Secret".to_owned()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/walcast/shop.toml"), &environment)
}

/// The lines of the refusal, without the file's name.
fn refusal(text: &str) -> Vec<String> {
    let error = parse(text).expect_err(text);
    assert!(!error.problems().is_empty(), "{text}");
    let message = error.to_string();
    let line = |line: &str| line.strip_prefix("/etc/walcast/shop.toml:").unwrap().to_owned();
    message.lines().map(line).collect()
}

const GOOD: &str = r#"
[source]
url = "postgres://walcast:${PW}@db1,db2/shop?sslmode=verify-full"
slot = "shop"

[pipeline]
memory = "32MiB"

[[sink]]
name = "audit"
type = "file"
path = "audit.jsonl"
"#;

/// `GOOD` with `line` put in before the line that holds `anchor`, or instead of it.
fn with(anchor: &str, line: &str, instead: bool) -> String {
    let mut text = String::new();
    for written in GOOD.lines() {
        let here = written.contains(anchor);
        if here {
            text.push_str(line);
            text.push('\n');
        }
        if !(here && instead) {
            text.push_str(written);
            text.push('\n');
        }
    }
    text
}

#[track_caller]
fn refused(text: &str, expected: &[&str]) {
    assert_eq!(refusal(text), expected, "\n{text}");
}

#[test]
fn a_small_config_gets_defaults_that_work() {
    let config = parse(GOOD).unwrap();
    let source = &config.source;
    assert_eq!(source.connect.display_target(), "walcast@db1:5432,db2:5432/shop");
    assert_eq!(source.slot.as_str(), "shop");
    assert_eq!(source.publications.len(), 1);
    assert_eq!(source.publications[0].as_str(), "walcast");
    assert_eq!(source.publication_create, PublicationTables::Never);
    assert_eq!(source.format, WireFormat::Auto);
    assert!(source.messages.is_empty());
    assert!(!source.local_only);
    let pipeline = &config.pipeline;
    assert_eq!(pipeline.state, Path::new("/etc/walcast/./walcast-state"));
    assert_eq!(pipeline.memory, ByteSize::new(32 << 20));
    assert_eq!(pipeline.quorum, None);
    assert_eq!(pipeline.status_interval, Duration::from_secs(10));
    let sink = &config.sinks[0];
    assert!(sink.required);
    assert_eq!(sink.batch.bytes, ByteSize::new(4 << 20));
    assert_eq!(sink.batch.linger, Duration::from_millis(5));
    assert_eq!(sink.retry.attempts, None);
    assert!(
        matches!(&sink.kind, SinkKind::File(file) if file.path == Path::new("/etc/walcast/audit.jsonl") && file.rotation.is_none())
    );
}

#[test]
fn everything_that_can_be_written_today_is_taken() {
    let config = parse(
        r#"
[source]
url = "host=db user=walcast password='${PW}'"
tls = { root_cert = "/ca.pem", client_cert = "c.pem", client_key = "c.key" }
slot = "shop"
slot_options = { failover = true, two_phase = true, temporary = false }
publication = ["shop"]
publication_options = { create = "tables", tables = ["public.orders", "shop.*"] }
snapshot = "never"
streaming = "parallel"
two_phase = false
origin = "none"
messages = ["outbox", "audit"]
on_slot_loss = "stop"
new_tables = "stream"
format = "text"

[pipeline]
state = "/var/lib/walcast"
quorum = 1
release = "all"
checkpoint = "file"
memory = 1048576
spill = "1GB"
status_interval = "1m30s"

[[sink]]
name = "audit"
type = "file"
path = "audit.jsonl"
rotate = { bytes = "256MiB", age = "1h", keep = 3 }
format = "json"
required = true
on_lag = "block"
on_reject = "stop"
batch = { bytes = "1MiB", linger = "0s" }
retry = { first = "1s", max = "1m", attempts = 5 }
timeout = "20s"

[[sink]]
name = "screen"
type = "stdout"
required = false

[monitor]
"#,
    )
    .unwrap();
    assert_eq!(config.source.messages, ["outbox", "audit"]);
    let connect = format!("{:?}", config.source.connect);
    assert!(connect.contains("/etc/walcast/c.key"), "{connect}");
    assert_eq!(config.stream_source().slot().as_str(), "shop");
    assert!(config.source.local_only && config.source.slot_options.failover);
    assert!(config.source.two_phase);
    assert_eq!(config.pipeline.quorum.map(usize::from), Some(1));
    assert_eq!(config.pipeline.memory, ByteSize::new(1 << 20));
    assert_eq!(config.source.streaming, crate::Streaming::Parallel);
    assert_eq!(config.sinks[0].timeout, Duration::from_secs(20));
    assert_eq!(config.sinks[0].retry.attempts.map(u32::from), Some(5));
    let SinkKind::File(file) = &config.sinks[0].kind else { panic!("a file sink") };
    let rotation = file.rotation.unwrap();
    assert_eq!(rotation.age, Some(Duration::from_secs(3600)));
    assert_eq!(rotation.keep.map(u32::from), Some(3));
    assert!(!config.sinks[1].required);
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    refused(
        &with("slot =", r#"publicaton = "shop""#, false),
        &["4:1: source.publicaton: unknown key; did you mean `publication`?"],
    );
    refused(&with("memory", "colour = 1", false), &["7:1: pipeline.colour: unknown key"]);
    refused(
        &with("memory", "slot = 'x'", false),
        &["7:1: pipeline.slot: this key belongs in `source`"],
    );
    refused(
        &with("path =", "requird = true", false),
        &["12:1: sink.audit.requird: unknown key; did you mean `required`?"],
    );
    refused(
        &with("path =", "batch = { byte = '1MiB' }", false),
        &["12:11: sink.audit.batch.byte: unknown key; did you mean `bytes`?"],
    );
    refused(
        &with("[pipeline]", "[sinks]", false),
        &["6:2: sinks: unknown key; did you mean `sink`?"],
    );
}

#[test]
fn bad_units_are_refused_with_the_right_spelling() {
    refused(
        &with("memory", r#"memory = "64M""#, true),
        &[r#"7:1: pipeline.memory: "64M" is not a size; write it as "64MiB""#],
    );
    refused(
        &with("memory", "memory = 0", true),
        &[r#"7:1: pipeline.memory: must be more than zero; write it as `memory = "64MiB"`"#],
    );
    refused(
        &with("memory", "memory = 1.5", true),
        &[r#"7:10: pipeline.memory: expected text, found float; write it as `memory = "64MiB"`"#],
    );
    refused(
        &with("memory", "status_interval = 30", false),
        &[r#"7:1: pipeline.status_interval: 30 is not a duration; write it as "30s""#],
    );
    refused(
        &with("path =", r#"batch = { linger = "5 millis" }"#, false),
        &[r#"12:11: sink.audit.batch.linger: "5 millis" is not a duration; write it as "5ms""#],
    );
    refused(
        &with("path =", r#"timeout = "0s""#, false),
        &[r#"12:1: sink.audit.timeout: must be more than zero; write it as `timeout = "5m"`"#],
    );
    refused(
        &with("path =", r#"retry = { first = "1m" }"#, false),
        &["12:9: sink.audit.retry.max: is shorter than `first`"],
    );
}

#[test]
fn what_must_be_there_is_asked_for() {
    refused(
        "",
        &[
            "1:1: source.url: missing; write `url = \"postgres://walcast:${WALCAST_PASSWORD}@db1/shop?sslmode=verify-full\"`",
            "1:1: sink: no sink; add `[[sink]]` with `name`, `type` and what the type needs",
        ],
    );
    refused(
        &with("path =", "", true),
        &["9:1: sink.audit.path: missing; write `path = \"./audit.jsonl\"`"],
    );
    refused(&with("name =", "", true), &["9:1: sink.name: missing; write `name = \"audit\"`"]);
    refused(&with("type =", "", true), &["9:1: sink.audit.type: missing; write `type = \"file\"`"]);
    refused(
        &with("path =", "rotate = { keep = 3 }", false),
        &["12:10: sink.audit.rotate.bytes: missing; write `bytes = \"256MiB\"`"],
    );
}

#[test]
fn sinks_are_held_against_each_other() {
    let two = format!("{GOOD}\n[[sink]]\nname = \"audit\"\ntype = \"stdout\"\n");
    refused(
        &two,
        &[
            "15:1: sink.audit.name: the sink on line 10 has this name already; names are unique, for they key progress",
        ],
    );
    let two = format!("{GOOD}\n[[sink]]\nname = \"b\"\ntype = \"file\"\npath = \"audit.jsonl\"\n");
    refused(&two, &["17:1: sink.b.path: the sink on line 12 writes there already"]);
    refused(
        &with("path =", "required = false", false),
        &[
            "12:1: sink.audit.required: no required sink, so nothing would ever be confirmed; make one `required = true`",
        ],
    );
    let blocking = format!(
        "{GOOD}\n[[sink]]\nname = \"b\"\ntype = \"stdout\"\nrequired = false\non_lag = \"block\"\n"
    );
    refused(
        &blocking,
        &[
            "18:1: sink.b.on_lag: \"block\" holds the slot, and a sink with `required = false` never does; leave `on_lag` out (it then skips ahead) or make the sink required",
        ],
    );
    let path = format!("{GOOD}\n[[sink]]\nname = \"b\"\ntype = \"stdout\"\npath = \"x\"\n");
    refused(&path, &["17:1: sink.b.path: only a sink of type \"file\" has this key"]);
}

#[test]
fn a_quorum_must_be_reachable_and_lose_nothing() {
    refused(
        &with("memory", "quorum = 2", false),
        &["7:1: pipeline.quorum: a quorum of 2 can never be reached with 1 required sink"],
    );
    refused(
        &with("memory", "quorum = 0", false),
        &["7:1: pipeline.quorum: must be more than zero; write it as `quorum = 2`"],
    );
    refused(
        &with("memory", "quorum = -1", false),
        &["7:1: pipeline.quorum: must be a whole number from 0 to 4294967295"],
    );
    refused(
        &with("memory", r#"release = "quorum""#, false),
        &[
            r#"7:1: pipeline.release: "quorum" releases WAL that a slower required sink still needs: "audit" must have `on_lag = "spool"` or "detach"; or keep `release = "all"`"#,
        ],
    );
}

#[test]
fn a_format_has_its_own_section_and_no_other() {
    let read = |lines: &str| {
        let config = parse(&format!("{GOOD}{lines}")).unwrap_or_else(|error| panic!("{error}"));
        config.sinks[0].format.clone()
    };
    assert_eq!(read("format = \"wal2json\""), EventFormat::Wal2Json);
    let plain = EventFormat::Debezium(DebeziumOptions::default());
    assert_eq!(read("format = \"debezium\""), plain);
    let section = "format = \"debezium\"\n[sink.debezium]\nname = \"n\"\ndatabase = \"d\"\n\
        decimals = \"string\"\ntime = \"iso\"\ntombstones = true\nplaceholder = \"?\"\n\
        transactions = true";
    let EventFormat::Debezium(options) = read(section) else { panic!("another format") };
    assert_eq!((options.name.as_str(), options.database.as_str()), ("n", "d"));
    assert_eq!((options.decimals, options.time), (Decimals::String, TimePrecision::Iso));
    assert!(options.tombstones && options.transactions && options.placeholder == "?");
    let source = "format = \"cloudevents\"\ncloudevents = { source = \"urn:shop\" }";
    let cloud = CloudEventsOptions::default().with_source("urn:shop");
    assert_eq!(read(source), EventFormat::CloudEvents(cloud));

    for (lines, expected) in [
        (
            "debezium = { time = \"iso\" }",
            r#"13:1: sink.audit.debezium: only a sink of format "debezium" has this section"#,
        ),
        (
            "format = \"debezium\"\ndebezium = { times = \"iso\" }",
            r#"14:14: sink.audit.debezium.times: unknown key; did you mean `time`?"#,
        ),
        (
            "format = \"debezium\"\ndebezium = { decimals = \"exact\" }",
            r#"14:14: sink.audit.debezium.decimals: "exact" is not one of "precise", "string", "double""#,
        ),
        (
            "format = \"debezium\"\ndebezium = { placeholder = \"\" }",
            r#"14:14: sink.audit.debezium.placeholder: cannot be empty; write `placeholder = "__debezium_unavailable_value"`"#,
        ),
    ] {
        assert_eq!(refusal(&format!("{GOOD}{lines}")), [expected], "{lines}");
    }
}

#[test]
fn what_this_build_lacks_is_refused_by_name() {
    let snapshot =
        r#"4:1: source.snapshot: "initial" is not in this build yet; available: "never""#;
    for (anchor, line, expected) in [
        ("slot =", r#"snapshot = "initial""#, snapshot),
        (
            "slot =",
            r#"on_slot_loss = "resnapshot""#,
            r#"4:1: source.on_slot_loss: "resnapshot" is not in this build yet; available: "stop""#,
        ),
        (
            "slot =",
            r#"new_tables = "refuse""#,
            r#"4:1: source.new_tables: "refuse" is not in this build yet; available: "stream""#,
        ),
        (
            "path =",
            r#"on_lag = "spool""#,
            r#"12:1: sink.audit.on_lag: "spool" is not in this build yet; available: "block", "detach""#,
        ),
        (
            "path =",
            r#"spool_limit = "1GiB""#,
            "12:1: sink.audit.spool_limit: this key is not in this build yet; leave it out",
        ),
        (
            "path =",
            r#"on_reject = "dead_letter""#,
            r#"12:1: sink.audit.on_reject: "dead_letter" is not in this build yet; available: "stop""#,
        ),
        (
            "path =",
            r#"include = ["public.*"]"#,
            "12:1: sink.audit.include: this key is not in this build yet; leave it out",
        ),
        (
            "path =",
            r#"zone = "a""#,
            "12:1: sink.audit.zone: this key is not in this build yet; leave it out",
        ),
        (
            "memory",
            r#"checkpoint = "postgres://u:hunter2@db/x""#,
            r#"7:1: pipeline.checkpoint: "postgres://…" is not in this build yet; available: "file""#,
        ),
        (
            "[pipeline]",
            "[monitor]\nlisten = '127.0.0.1:9187'",
            "7:1: monitor.listen: this key is not in this build yet; leave it out",
        ),
    ] {
        refused(&with(anchor, line, false), &[expected]);
    }
}

#[test]
fn a_sink_of_a_later_kind_is_refused_by_name() {
    let later_sink = "[[sink]]\nname = \"k\"\ntype = \"kafka\"\n";
    refused(
        &format!("{GOOD}{later_sink}"),
        &[
            r#"15:1: sink.k.type: "kafka" is not in this build yet; available: "file", "stdout", "postgres""#,
        ],
    );
}

#[test]
fn a_postgres_sink_is_reached_as_the_source_is() {
    let sink = |line: &str| format!("{GOOD}[[sink]]\nname = \"r\"\ntype = \"postgres\"\n{line}\n");
    let config = parse(&sink("url = \"postgres://w:hunter2@replica/shop\"")).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let SinkKind::Postgres(target) = &config.sinks[1].kind else { panic!() };
    assert_eq!(target.connect.display_target(), "w@replica:5432/shop");
    let missing = "13:1: sink.r.url: missing; write `url = \"postgres://walcast:${REPLICA_PASSWORD}@replica/shop?sslmode=verify-full\"`";
    refused(&sink(""), &[missing]);
    let (url, file) = ("url = \"postgres://w@replica/shop\"", r#"only a sink of type "file""#);
    for (line, key, of) in
        [("path = \"x\"", "path", file), ("rotate = { age = \"1h\" }", "rotate", file)]
    {
        let expected = format!("17:1: sink.r.{key}: {of} has this key");
        refused(&sink(&format!("{url}\n{line}")), &[&expected]);
    }
    let format =
        "17:1: sink.r.format: a sink of type \"postgres\" has no use for this key; leave it out";
    refused(&sink(&format!("{url}\nformat = \"json\"")), &[format]);
    refused(
        &with("path =", url, false),
        &[r#"12:1: sink.audit.url: only a sink of type "postgres" has this key"#],
    );
}

#[test]
fn words_and_names_are_checked() {
    refused(
        &with("slot =", r#"format = "binry""#, false),
        &[
            r#"4:1: source.format: "binry" is not one of "auto", "binary", "text"; did you mean `binary`?"#,
        ],
    );
    refused(
        &with("slot =", r#"slot = "Shop""#, true),
        &[
            r#"4:8: source.slot: slot name "Shop" has 'S': lower-case letters, digits and underscores are allowed"#,
        ],
    );
    refused(
        &with("name =", r#"name = """#, true),
        &["10:8: sink.name: a sink name cannot be empty"],
    );
    refused(
        &with("slot =", r#"publication = ["a", "a"]"#, false),
        &[r#"4:21: source.publication: "a" is listed twice"#],
    );
    refused(
        &with("slot =", "publication = []", false),
        &["4:1: source.publication: cannot be empty; write `publication = \"walcast\"`"],
    );
    refused(
        &with("slot =", r#"publication_options = { create = "tables" }"#, false),
        &[
            "4:25: source.publication_options.create: needs `tables = [\"public.orders\"]` beside it",
        ],
    );
    refused(
        &with("slot =", r#"publication_options = { tables = ["a.b"] }"#, false),
        &["4:25: source.publication_options.tables: needs `create = \"tables\"` beside it"],
    );
    refused(
        &with(
            "slot =",
            r#"publication_options = { create = "tables", tables = ["orders"] }"#,
            false,
        ),
        &[
            "4:44: source.publication_options.tables: \"orders\" is not a table; write it as \"public.orders\" or \"public.*\"",
        ],
    );
    refused(
        &with(
            "slot =",
            "publication = ['a', 'b']\npublication_options = { create = 'all' }",
            false,
        ),
        &[
            "5:25: source.publication_options.create: `create` needs a single publication, and 2 are listed",
        ],
    );
    refused(
        &with("slot =", "tls = { client_cert = 'c.pem' }", false),
        &["4:9: source.tls.client_cert: needs `client_key` beside it"],
    );
}

#[test]
fn a_url_that_cannot_work_is_refused_on_its_line() {
    refused(
        &with("url =", r#"url = "postgres://u@h/d?sslmod=require""#, true),
        &[r#"3:1: source.url: unknown connection parameter "sslmod""#],
    );
    refused(
        &with("url =", r#"url = "host=h user=u connect_timeout=soon""#, true),
        &[
            r#"3:1: source.url: the connection parameter "connect_timeout" must be a number of seconds"#,
        ],
    );
    refused(
        &with("url =", r#"url = """#, true),
        &[
            "3:1: source.url: missing; write `url = \"postgres://walcast:${WALCAST_PASSWORD}@db1/shop?sslmode=verify-full\"`",
        ],
    );
}

#[test]
fn variables_and_secret_files_are_named_when_they_cannot_be_read() {
    refused(
        &with("slot =", r#"password = "${NOPE}""#, false),
        &[
            "4:12: source.password: the environment variable `NOPE` is not set; set it, or write `$${` for a literal `${`",
        ],
    );
    refused(
        &with("slot =", r#"password_file = "nowhere/pw""#, false),
        &[
            "4:1: source.password_file: cannot read /etc/walcast/nowhere/pw: No such file or directory (os error 2)",
        ],
    );
    refused(
        &with("slot =", "password = 'x'\nurl_file = '/dev/null'", false),
        &["3:1: source.url: give either this or `url_file`, not both"],
    );
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pw");
    std::fs::write(&file, "p ss\n").unwrap();
    let line = format!("password_file = {:?}", file.display().to_string());
    let config = parse(&with("slot =", &line, false)).unwrap();
    assert_eq!(config.source.connect.display_target(), "walcast@db1:5432,db2:5432/shop");
}

#[test]
fn several_problems_are_reported_at_once_in_the_files_order() {
    let text = with("slot =", "slot = 7\nslto = 'x'", true).replace("32MiB", "32 megs");
    refused(
        &text,
        &[
            "4:8: source.slot: expected text, found integer; write it as `slot = \"walcast\"`",
            "5:1: source.slto: unknown key; did you mean `slot`?",
            "8:1: pipeline.memory: \"32 megs\" is not a size; write it as \"64MiB\"",
        ],
    );
}

#[test]
fn syntax_errors_have_their_line_and_no_source_text() {
    let messages = refusal(&with("memory", "memory = 32MiB", true));
    assert_eq!(messages.len(), 1);
    assert!(messages[0].starts_with("7:10: not valid TOML: "), "{messages:?}");
    let messages = refusal(&with("slot =", "slot = 'a'\nslot = 'b'", true));
    assert_eq!(messages, ["5:1: not valid TOML: duplicate key"]);
}

#[test]
fn a_secret_reaches_no_message() {
    const SECRET: &str = "hunter2";
    for line in [
        "url = \"postgres://u:hunter2@h/d",
        "url = postgres://u:hunter2@h/d",
        "url = \"postgres://u:hunter2\\q@h/d\"",
        "url = ['postgres://u:hunter2@h/d']",
        "url = { hunter2 = 1 }",
        "url = 'postgres://u:hunter2@h/d'\nurl = 'postgres://u:hunter2@h/d'",
        "url = 'postgres://u:hunter2@h/d?x=${'",
        "password = 'hunter2'\npassword_file = 'hunter'",
        "password = ['hunter2']",
        "password = '''hunter2",
        "publication = 'x'\n[[sink]]\nname = 'postgres://u:hunter2@h/d'",
        "slot = 'postgres://u:hunter2@h/d'",
        "publication = 'x\\u0000://u:hunter2'\nformat = '://hunter2'",
        "publication_options = { create = 'tables', tables = ['://hunter2'] }",
    ] {
        let error = parse(&with("url =", line, true)).expect_err(line);
        assert!(!error.to_string().contains(SECRET), "{error}");
        assert!(!format!("{error:?}").contains(SECRET), "{error:?}");
        assert!(!crate::Error::from(error).to_string().contains(SECRET), "{line}");
    }
    let named = with("slot =", r#"slot = "${SECRET_NAME}""#, true);
    refused(&named, &["4:8: source.slot: the value cannot be the name of a slot"]);
    let config = parse(&with("slot =", "password = 'hunter2'", false)).unwrap();
    assert!(!format!("{config:?}").contains(SECRET));
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Path::new("/nowhere/walcast.toml")).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the config /nowhere/walcast.toml");
    assert_eq!(crate::Error::from(error).kind(), crate::ErrorKind::Config);
}
