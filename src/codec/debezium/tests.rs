//! Envelopes as the connector writes them, from frames as a server sends them.

use serde_json::{Value as Json, json};

use super::*;
use crate::codec::tests::{TABLE, batch, orders, relation, text};
use crate::codec::value::{JsonForm, TypeDefinition, TypeKind};
use crate::codec::{Encoder, EventFormat};
use crate::event::{Oid, ReplicaIdentity, Value};
use crate::testing::{Feed, Frames, OldRowKind};

fn encoder(options: DebeziumOptions) -> Encoder {
    Encoder::new(EventFormat::Debezium(options), Arc::new(TypeRegistry::builtin()))
}

fn encoded(encoder: &mut Encoder, batch: &Batch) -> Vec<Json> {
    let mut out = Vec::new();
    encoder.encode(batch, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn lines(options: DebeziumOptions, frames: &mut Frames) -> Vec<Json> {
    encoded(&mut encoder(options), &batch(frames))
}

fn with(change: impl FnOnce(&mut DebeziumOptions)) -> DebeziumOptions {
    let mut options = DebeziumOptions::default();
    change(&mut options);
    options
}

#[test]
fn an_envelope_has_every_field_of_the_connector_in_its_order() {
    let mut frames = Frames::new();
    frames.begin_at(0x100, 847_664_525_123_456).relation(&orders(ReplicaIdentity::Default));
    frames.insert(0x90, TABLE, &[text("7"), Value::Null]).commit(0x100);
    let mut out = Vec::new();
    let format = EventFormat::Debezium(DebeziumOptions::default()).in_database("shop");
    let mut encoder = Encoder::new(format, Arc::new(TypeRegistry::builtin()));
    let complete = encoder.encode(&batch(&mut frames), &mut out).unwrap();
    assert_eq!(complete, Some(out.len()));
    let version = env!("CARGO_PKG_VERSION");
    let times = r#""ts_ms":1794349325123,"ts_us":1794349325123456,"ts_ns":1794349325123456000"#;
    let expected = r#"{"before":null,"after":{"id":7,"note":null},"source":{"version":""#
        .to_owned()
        + version
        + r#"","connector":"postgresql","name":"walcast","ts_ms":1794349325123,"#
        + r#""snapshot":"false","db":"shop","sequence":"[\"256\",\"144\"]","#
        + r#""ts_us":1794349325123456,"ts_ns":1794349325123456000,"schema":"pub\"lic","#
        + r#""table":"orders","txId":731,"lsn":144,"xmin":null},"transaction":null,"op":"c","#
        + times
        + "}\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn updates_and_deletes_show_what_was_logged() {
    let mut frames = Frames::new();
    let (row, full) = ([text("7"), text("x")], [text("7"), text("y")]);
    frames.begin(0x100).relation(&orders(ReplicaIdentity::Default));
    frames.update(0, TABLE, None, &row);
    frames.delete(0, TABLE, OldRowKind::Key, &[text("7"), Value::Null]);
    frames.relation(&orders(ReplicaIdentity::Full));
    frames.update(0, TABLE, Some((OldRowKind::Full, &full)), &row).commit(0x100);
    let lines = lines(with(|options| options.tombstones = true), &mut frames);
    let shown: Vec<_> =
        lines.iter().map(|line| json!([line["op"], line["before"], line["after"]])).collect();
    let row = |note: Option<&str>| json!({"id": 7, "note": note});
    assert_eq!(
        shown,
        [
            json!(["u", null, row(Some("x"))]),
            json!(["d", row(None), null]),
            json!([null, null, null]),
            json!(["u", row(Some("y")), row(Some("x"))]),
        ]
    );
    assert_eq!(lines[2], Json::Null, "the tombstone");
}

#[test]
fn an_update_of_the_key_is_a_delete_and_a_create() {
    let mut frames = Frames::new();
    let old = [text("6"), Value::Null];
    frames.begin(0x100).relation(&orders(ReplicaIdentity::Default));
    frames.update(0, TABLE, Some((OldRowKind::Key, &old)), &[text("7"), Value::Unchanged]);
    frames.update(0, TABLE, Some((OldRowKind::Key, &old)), &[text("6"), text("x")]).commit(0x100);
    let all = with(|options| (options.tombstones, options.transactions) = (true, true));
    let lines = lines(all, &mut frames);
    let ops: Vec<_> = lines.iter().map(|line| line["op"].as_str().unwrap_or("-")).collect();
    assert_eq!(ops, ["-", "d", "-", "c", "u", "-"]);
    assert_eq!(lines[1]["before"], json!({"id": 6, "note": null}));
    assert_eq!(lines[3]["after"], json!({"id": 7, "note": "__debezium_unavailable_value"}));
    let orders: Vec<_> =
        [1, 3, 4].map(|at| lines[at]["transaction"]["total_order"].as_u64()).into();
    assert_eq!(orders, [Some(1), Some(2), Some(3)], "each is an event of its own");
    assert_eq!(lines[5]["event_count"], 3);
}

#[test]
fn a_transaction_counts_its_events_between_its_begin_and_end() {
    let mut other = orders(ReplicaIdentity::Default);
    (other.oid, other.name) = (crate::event::Oid::new(10), "lines".to_owned());
    let mut frames = Frames::new();
    let row = [text("7"), text("x")];
    frames.free_message(0x20, "p", b"hi").begin_at(0x100, -946_684_800_000_000);
    frames.relation(&orders(ReplicaIdentity::Default)).relation(&other);
    frames.insert(0x90, TABLE, &row).insert(0x91, other.oid, &row).insert(0x92, TABLE, &row);
    frames.message(0x93, "q", b"\xff").truncate(0x94, &[other.oid]).commit(0x100);
    let batch = batch(&mut frames);
    let mut encoder = encoder(with(|options| options.transactions = true));
    let lines = encoded(&mut encoder, &batch);
    assert_eq!(lines[0]["transaction"], Json::Null);
    assert_eq!(lines[0]["source"]["sequence"], r#"[null,"32"]"#);
    assert_eq!((&lines[0]["ts_ms"], &lines[0]["source"]["txId"]), (&Json::Null, &Json::Null));
    let begin = json!({
        "status": "BEGIN", "id": "731:256", "event_count": null, "data_collections": null, "ts_ms": 0
    });
    assert_eq!(lines[1], begin);
    let blocks: Vec<_> = lines[2..7].iter().map(|line| line["transaction"].clone()).collect();
    let block = |lsn: u64, total: u64, of_table: u64| {
        json!({
            "id": format!("731:{lsn}"), "total_order": total, "data_collection_order": of_table
        })
    };
    let expected = [(0x90, 1, 1), (0x91, 2, 1), (0x92, 3, 2), (0x93, 4, 1), (0x94, 5, 2)];
    assert_eq!(blocks, expected.map(|(lsn, total, of_table)| block(lsn, total, of_table)));
    assert_eq!(lines[5]["message"], json!({"prefix": "q", "content": "/w=="}));
    assert_eq!((&lines[6]["op"], &lines[6]["after"]), (&json!("t"), &Json::Null));
    let count = |name: &str, count: u64| json!({"data_collection": name, "event_count": count});
    let end = json!({
        "status": "END", "id": "731:264", "event_count": 5, "ts_ms": 0,
        "data_collections": [
            count("pub\"lic.orders", 2), count("pub\"lic.lines", 2), count("LOGICAL_DECODING_MESSAGE", 1)
        ],
    });
    assert_eq!(lines[7], end);
    assert_eq!(encoded(&mut encoder, &batch), lines, "given again, it is the same again");
}

#[test]
fn counts_go_on_over_batches_and_are_null_where_the_beginning_was_not_seen() {
    let options = || with(|options| options.transactions = true);
    let mut feed = Feed::after(crate::lsn::Lsn::new(0));
    let batches = [
        feed.open(100, &["a", "b", "c"]).batch(),
        feed.rows(100, 4, &["d", "e"]).batch(),
        feed.commit(100).batch(),
    ];
    let orders = |encoder: &mut Encoder, batches: &[Batch]| -> Vec<Json> {
        let lines = batches.iter().flat_map(|batch| encoded(encoder, batch));
        let shown = |line: Json| match line["status"].as_str() {
            Some(status) => json!([status, line["event_count"]]),
            None => line["transaction"]["total_order"].clone(),
        };
        lines.map(shown).collect()
    };
    let whole = json!([["BEGIN", null], 1, 2, 3, 4, 5, ["END", 5]]);
    assert_eq!(json!(orders(&mut encoder(options()), &batches)), whole);
    let rest = orders(&mut encoder(options()), &batches[1..]);
    assert_eq!(json!(rest.last().unwrap()), json!(["END", null]));
    assert!(rest[..rest.len() - 1].iter().all(Json::is_null), "{rest:?}");
    let shared = || encoder(options()).encode_shared(&batches[0]).unwrap();
    assert!(!Arc::ptr_eq(&shared(), &shared()), "what depends on earlier batches is not shared");
}

#[test]
fn formats_with_other_options_do_not_share_their_bytes() {
    let mut feed = Feed::after(crate::lsn::Lsn::new(0));
    let batch = feed.transaction(100, &["a"]).batch();
    let shared = |name: &str| {
        let mut encoder = encoder(with(|options| options.name = name.to_owned()));
        encoder.encode_shared(&batch).unwrap()
    };
    assert!(Arc::ptr_eq(&shared("a"), &shared("a")));
    assert!(!Arc::ptr_eq(&shared("a"), &shared("b")));
    assert!(String::from_utf8_lossy(&shared("b").bytes).contains(r#""name":"b""#));
}

#[test]
fn what_was_not_sent_is_the_placeholder_in_the_form_of_its_type() {
    let columns = [
        ("id", 23, true),
        ("text", 25, false),
        ("bytes", 17, false),
        ("doc", 3802, false),
        ("texts", 1009, false),
        ("ints", 1007, false),
        ("uuids", 2951, false),
        ("own", 16_400, false),
    ];
    let mut row = [Value::Unchanged; 8];
    row[0] = text("1");
    let mut frames = Frames::new();
    frames.begin(0x100).relation(&relation(ReplicaIdentity::Default, &columns));
    frames.update(0, TABLE, None, &row).commit(0x100);
    let lines = lines(DebeziumOptions::default(), &mut frames);
    let placeholder = "__debezium_unavailable_value";
    assert_eq!(
        lines[0]["after"],
        json!({
            "id": 1,
            "text": placeholder,
            "bytes": STANDARD.encode(placeholder),
            "doc": placeholder,
            "texts": [placeholder],
            "ints": placeholder.bytes().collect::<Vec<_>>(),
            "uuids": ["b68a35a7-17ad-35b3-af2a-ae46edb4545a"],
            "own": placeholder,
        })
    );
}

#[test]
fn a_number_that_is_no_decimal_is_an_error_only_where_decimals_are_precise() {
    let nan = |options: DebeziumOptions| {
        let mut frames = Frames::new();
        frames.begin(0x100).relation(&relation(ReplicaIdentity::Default, &[("n", 1700, true)]));
        frames.insert(0, TABLE, &[text("NaN")]).commit(0x100);
        let mut out = Vec::new();
        encoder(options).encode(&batch(&mut frames), &mut out)?;
        Ok(serde_json::from_slice::<Json>(&out).unwrap()["after"]["n"].clone())
    };
    let refused: EncodeError = nan(DebeziumOptions::default()).unwrap_err();
    assert_eq!((refused.column.as_str(), &refused.fault), ("n", &EncodeFault::NotADecimal));
    assert_eq!(nan(with(|options| options.decimals = Decimals::String)), Ok(json!("NaN")));
    assert_eq!(nan(with(|options| options.decimals = Decimals::Double)), Ok(json!("NaN")));
}

#[test]
fn broken_values_are_errors_that_name_the_column() {
    let columns = [("n", 1700, true), ("a", 1007, false), ("b", 1560, false), ("t", 1083, false)];
    let good = [text("1"), text("{1}"), text("1"), text("00:00:00")];
    let bad: [Value<'_>; 4] =
        [Value::Binary(&[0; 7]), Value::Text(b"{1"), Value::Binary(&[0, 0, 0, 9, 0]), text("25")];
    for (at, bad) in bad.into_iter().enumerate() {
        let mut row = good;
        row[at] = bad;
        let mut frames = Frames::new();
        frames.begin(0x100).relation(&relation(ReplicaIdentity::Default, &columns));
        frames.insert(0, TABLE, &good).insert(0, TABLE, &row).commit(0x100);
        let mut out = b"before".to_vec();
        let mut encoder = encoder(DebeziumOptions::default());
        let error = encoder.encode(&batch(&mut frames), &mut out).unwrap_err();
        assert_eq!(error.column, columns[at].0);
        assert_eq!(out, b"before");
    }
}

/// What separates elements is the type's to say, and an amount's text the server's.
#[test]
fn text_that_only_its_server_can_read_is_shown_as_it_is() {
    let mut types = TypeRegistry::builtin();
    let mut define = |oid, kind| {
        let (schema, name) = ("public".to_owned(), format!("t{oid}"));
        let json = JsonForm::Usual;
        let definition = TypeDefinition { schema, name, kind, extension: None, json };
        types.insert(Oid::new(oid), definition);
    };
    define(16_400, TypeKind::Domain(Oid::new(603)));
    define(16_401, TypeKind::Array { element: Oid::new(16_400), delimiter: ';' });
    let columns =
        [("id", 23, true), ("boxes", 16_401, false), ("m", 790, false), ("ms", 791, false)];
    let row = [
        text("1"),
        text("{(2,2),(1,1);(0,0),(3,4)}"),
        text("1.234,56 €"),
        text("{\"1.234,56 €\",NULL}"),
    ];
    let mut frames = Frames::new();
    frames.begin(0x100).relation(&relation(ReplicaIdentity::Default, &columns));
    frames.insert(0, TABLE, &row).commit(0x100);
    let format = EventFormat::Debezium(DebeziumOptions::default());
    let mut encoder = Encoder::new(format, Arc::new(types));
    let lines = encoded(&mut encoder, &batch(&mut frames));
    let expected = json!({"id": 1, "boxes": ["(2,2),(1,1)", "(0,0),(3,4)"], "m": "1.234,56 €",
        "ms": ["1.234,56 €", null]});
    assert_eq!(lines[0]["after"], expected);
}
