//! What rows give, from text and from binary alike.

use std::collections::BTreeMap;

use bytes::BytesMut;
use postgres_types::{Kind, ToSql, Type};
use serde::Deserialize;

use super::*;
use crate::codec::TranscodeError;
use crate::codec::value::Fault;
use crate::event::{self, Batch, Event, Oid, OldRow, Relation, ReplicaIdentity, Row, Value};
use crate::lsn::Lsn;
use crate::testing::{Feed, OldRowKind};

const TABLE: Oid = Oid::new(40);
/// An enum of the database.
const MOOD: u32 = 16_400;

fn relation(columns: &[(&str, u32)]) -> Relation {
    let column = |(at, (name, oid)): (usize, &(&str, u32))| event::Column {
        name: (*name).to_owned(),
        type_oid: Oid::new(*oid),
        type_name: None,
        type_modifier: -1,
        in_identity: at == 0,
    };
    Relation {
        oid: TABLE,
        schema: "public".to_owned(),
        name: "orders".to_owned(),
        replica_identity: ReplicaIdentity::Default,
        columns: columns.iter().enumerate().map(column).collect(),
        catalog: None,
    }
}

/// A transaction that updates one row.
fn update(
    relation: &Relation,
    old: Option<(OldRowKind, &[Value<'_>])>,
    new: &[Value<'_>],
) -> Batch {
    let mut feed = Feed::after(Lsn::new(0));
    feed.frames
        .begin(100)
        .type_name(MOOD, "public", "mood")
        .relation(relation)
        .update(90, TABLE, old, new)
        .commit(100);
    feed.batch()
}

fn with_new<T>(batch: &Batch, read: impl FnOnce(Row<'_>) -> T) -> T {
    let change = batch.events().find_map(|event| match event {
        Event::Change(change) => change.new_row(),
        _ => None,
    });
    read(change.unwrap())
}

const ORDERS: [(&str, u32); 8] = [
    ("id", 20),
    ("customer_name", 25),
    ("total", 1700),
    ("at", 1184),
    ("tags", 1009),
    ("doc", 3802),
    ("raw", 17),
    ("note", 25),
];

fn text_row() -> Batch {
    let texts: [&[u8]; 7] = [
        b"7",
        b"J\xc3\xb6rg",
        b"12.50",
        b"2026-11-23 22:22:05.123+00",
        b"{a,\"b c\",NULL}",
        br#"{"n": [1, 2], "who": "x"}"#,
        b"\\x00ff",
    ];
    let mut row: Vec<Value<'_>> = texts.iter().map(|text| Value::Text(text)).collect();
    row.push(Value::Unchanged);
    update(&relation(&ORDERS), None, &row)
}

fn binary_row() -> Batch {
    let mut tags = BytesMut::new();
    vec![Some("a"), Some("b c"), None].to_sql(&Type::TEXT_ARRAY, &mut tags).unwrap();
    let at = (9_823 * 86_400 + 80_525) * 1_000_000_i64 + 123_000;
    let values: [&[u8]; 7] = [
        &7i64.to_be_bytes(),
        "Jörg".as_bytes(),
        &[0, 2, 0, 0, 0, 0, 0, 2, 0, 12, 19, 136],
        &at.to_be_bytes(),
        &tags,
        b"\x01{\"n\": [1, 2], \"who\": \"x\"}",
        b"\0\xff",
    ];
    let mut row: Vec<Value<'_>> = values.iter().map(|bytes| Value::Binary(bytes)).collect();
    row.push(Value::Unchanged);
    update(&relation(&ORDERS), None, &row)
}

fn both(check: impl Fn(Row<'_>)) {
    for batch in [text_row(), binary_row()] {
        with_new(&batch, &check);
    }
}

#[test]
fn a_column_is_had_as_what_it_is_and_borrows_from_the_batch() {
    both(|row| {
        assert_eq!(row.get::<i64>("id").unwrap(), 7);
        assert_eq!(row.get::<Option<i64>>(0).unwrap(), Some(7));
        let name: &str = row.get("customer_name").unwrap();
        let sent = row.value_of("customer_name").unwrap().bytes().unwrap();
        assert_eq!((name, name.as_ptr()), ("Jörg", sent.as_ptr()), "nothing is copied");
        assert_eq!(row.get::<&[u8]>("raw").unwrap(), b"\0\xff");
        assert_eq!(row.get::<Vec<Option<&str>>>("tags").unwrap(), [Some("a"), Some("b c"), None]);
        let at: std::time::SystemTime = row.get("at").unwrap();
        let since = at.duration_since(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(since.as_millis(), 1_795_472_525_123);
        assert_eq!(row.get::<Column<&str>>("note").unwrap(), Column::Unset);
        assert_eq!(row.get::<Column<i64>>("id").unwrap(), Column::Value(7));
    });
}

#[derive(Debug, Deserialize, PartialEq)]
struct Order<'a> {
    id: u16,
    #[serde(rename = "customer_name")]
    customer: &'a str,
    total: f64,
    #[serde(borrow)]
    tags: Vec<Option<&'a str>>,
    doc: Doc,
    raw: &'a [u8],
    at: String,
    note: Column<String>,
    #[serde(default)]
    added_later: Column<i32>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Doc {
    n: Vec<u8>,
    who: Option<String>,
}

#[test]
fn a_row_is_had_as_a_struct() {
    both(|row| {
        let expected = Order {
            id: 7,
            customer: "Jörg",
            total: 12.5,
            tags: vec![Some("a"), Some("b c"), None],
            doc: Doc { n: vec![1, 2], who: Some("x".to_owned()) },
            raw: b"\0\xff",
            at: "2026-11-23T22:22:05.123+00:00".to_owned(),
            note: Column::Unset,
            added_later: Column::Unset,
        };
        assert_eq!(row.deserialize::<Order<'_>>().unwrap(), expected);
    });
}

#[test]
fn some_columns_are_had_as_a_tuple_or_a_struct() {
    #[derive(Debug, Deserialize, PartialEq)]
    struct Id {
        id: i64,
    }
    both(|row| {
        let few = row.columns(["total", "id"]).unwrap();
        assert_eq!(few.deserialize::<(String, i64)>().unwrap(), ("12.50".to_owned(), 7));
        assert_eq!(few.deserialize::<Id>().unwrap(), Id { id: 7 });
        let map: BTreeMap<&str, String> = few.deserialize().unwrap();
        assert_eq!(map["total"], "12.50");
        let error = row.columns(["id", "nope"]).unwrap_err();
        assert_eq!((error.table(), error.column()), ("public.orders", Some("nope")));
    });
}

#[test]
fn numbers_are_exact_or_refused() {
    both(|row| {
        let one = |place: usize| row.columns([place]).unwrap();
        assert_eq!(one(2).deserialize::<(String,)>().unwrap().0, "12.50");
        let error = one(2).deserialize::<(i32,)>().unwrap_err();
        assert_eq!(error.column(), Some("total"));
        assert_eq!(one(0).deserialize::<(u8,)>().unwrap().0, 7);
        assert!(one(1).deserialize::<(u8,)>().is_err());
    });
}

#[test]
fn json_is_that_of_the_event_format() {
    both(|row| {
        let expected = r#"{"id":7,"customer_name":"Jörg","total":12.50,"at":"2026-11-23T22:22:05.123+00:00","tags":["a","b c",null],"doc":{"n": [1, 2], "who": "x"},"raw":"\\x00ff"}"#;
        assert_eq!(row.to_json().unwrap(), expected);
    });
}

#[test]
fn an_error_names_table_column_both_types_and_never_the_value() {
    both(|row| {
        let error = row.get::<i32>("customer_name").unwrap_err();
        let expected = "column \"customer_name\" (text) of public.orders as i32: \
            the Rust type does not read values of this type";
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.postgres_type(), Some("text"));
        let error = row.get::<String>("note").unwrap_err();
        assert!(matches!(error.fault(), RowFault::Unchanged), "{error}");
        let error = row.columns(["note"]).unwrap().deserialize::<(Option<String>,)>().unwrap_err();
        assert!(matches!(error.fault(), RowFault::Unchanged), "{error}");
        let of_type = "core::option::Option<alloc::string::String>";
        assert_eq!((error.column(), error.rust_type()), (Some("note"), of_type));
        assert_eq!(crate::Error::from(error).kind(), crate::ErrorKind::Value);
    });
    let batch = update(&relation(&[("id", 23)]), None, &[Value::Null]);
    with_new(&batch, |row| {
        assert!(matches!(row.get::<i32>(0).unwrap_err().fault(), RowFault::Null));
        assert_eq!(row.get::<Column<i32>>(0).unwrap(), Column::Null);
        assert_eq!(row.deserialize::<(Option<i32>,)>().unwrap(), (None,));
        assert_eq!(row.deserialize::<(Column<i32>,)>().unwrap(), (Column::Null,));
        assert!(row.deserialize::<(i32,)>().is_err());
    });
    let batch = update(&relation(&[("id", 23)]), None, &[Value::Text(b"secret")]);
    with_new(&batch, |row| {
        let error = row.get::<i32>(0).unwrap_err();
        let malformed = RowFault::Transcode(TranscodeError::Malformed(Fault::Syntax));
        assert_eq!(format!("{:?}", error.fault()), format!("{malformed:?}"));
        assert!(!error.to_string().contains("secret"), "{error}");
    });
}

#[test]
fn an_old_key_says_nothing_of_other_columns() {
    let columns = relation(&[("id", 23), ("note", 25)]);
    let (old, new) = ([Value::Text(b"1"), Value::Null], [Value::Text(b"2"), Value::Text(b"n")]);
    let batch = update(&columns, Some((OldRowKind::Key, &old)), &new);
    let old = batch.events().find_map(|event| match event {
        Event::Change(change) => change.old_row().map(OldRow::row),
        _ => None,
    });
    let old = old.unwrap();
    assert_eq!(old.get::<i32>("id").unwrap(), 1);
    let error = old.get::<Option<&str>>("note").unwrap_err();
    assert!(matches!(error.fault(), RowFault::NotLogged), "{error}");
    assert_eq!(old.get::<Column<&str>>("note").unwrap(), Column::Unset);
    assert!(old.deserialize::<(i32, Option<&str>)>().is_err());
    let read = old.deserialize::<(i32, Column<&str>)>().unwrap();
    assert_eq!(read, (1, Column::Unset));
    assert_eq!(old.to_json().unwrap(), "{\"id\":1}");
}

#[test]
fn what_a_database_defines_is_text_to_serde_and_needs_its_type_otherwise() {
    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Mood {
        Fine,
    }
    let batch = update(&relation(&[("mood", MOOD)]), None, &[Value::Text(b"fine")]);
    with_new(&batch, |row| {
        assert_eq!(row.deserialize::<(Mood,)>().unwrap(), (Mood::Fine,));
        assert_eq!(row.deserialize::<(&str,)>().unwrap(), ("fine",));
        let error = row.get::<&str>("mood").unwrap_err();
        assert!(matches!(error.fault(), RowFault::UnknownType), "{error}");
        assert_eq!(error.postgres_type(), Some("public.mood"));
        let own = |oid| {
            let kind = Kind::Domain(Type::TEXT);
            Type::new("mood".to_owned(), oid, kind, "public".to_owned())
        };
        assert_eq!(row.get_as::<&str>("mood", &own(MOOD)).unwrap(), "fine");
        let error = row.get_as::<&str>("mood", &own(MOOD + 1)).unwrap_err();
        assert!(matches!(error.fault(), RowFault::WrongType), "{error}");
    });
}

#[test]
fn arrays_of_several_dimensions_are_nested() {
    for value in [&b"[0:1][1:2]={{1,2},{3,NULL}}"[..], b"{{1,2},{3,NULL}}"] {
        let batch = update(&relation(&[("m", 1007)]), None, &[Value::Text(value)]);
        let read = with_new(&batch, |row| row.deserialize::<(Vec<Vec<Option<i32>>>,)>().unwrap());
        assert_eq!(read.0, [[Some(1), Some(2)], [Some(3), None]]);
    }
    let batch = update(&relation(&[("m", 1007)]), None, &[Value::Text(b"{}")]);
    assert!(with_new(&batch, |row| row.deserialize::<(Vec<i32>,)>().unwrap()).0.is_empty());
}
