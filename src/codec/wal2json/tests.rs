//! Lines as the plugin writes them, from frames as a server sends them.

use super::type_name::type_name;
use super::*;
use crate::codec::tests::{TABLE, batch, orders, relation, text};
use crate::codec::{Encoder, EventFormat};
use crate::event::{Column, Oid, ReplicaIdentity};
use crate::testing::{Frames, OldRowKind};

fn encoder() -> Encoder {
    Encoder::new(EventFormat::Wal2Json, Arc::new(TypeRegistry::builtin()))
}

fn lines(frames: &mut Frames) -> Vec<String> {
    let mut out = Vec::new();
    let complete = encoder().encode(&batch(frames), &mut out).unwrap();
    assert_eq!(complete, Some(out.len()), "the frames end where a transaction does");
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    for line in &lines {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    lines
}

#[test]
fn a_transaction_is_its_changes_between_two_lines() {
    let mut frames = Frames::new();
    let row = [text("7"), Value::Null];
    frames.begin_at(0x100, 847_664_525_123_456).relation(&orders(ReplicaIdentity::Default));
    frames.insert(0x90, TABLE, &row).truncate(0x98, &[TABLE]).commit(0x100);
    let lines = lines(&mut frames);
    let at = r#","xid":731,"timestamp":"2026-11-10 22:22:05.123456+00","lsn":"#;
    let table = r#","schema":"pub\"lic","table":"orders""#;
    assert_eq!(lines[0], format!(r#"{{"action":"B"{at}"0/100"}}"#));
    let columns =
        r#"[{"name":"id","type":"integer","value":7},{"name":"note","type":"text","value":null}]"#;
    assert_eq!(lines[1], format!(r#"{{"action":"I"{at}"0/90"{table},"columns":{columns}}}"#));
    assert_eq!(lines[2], format!(r#"{{"action":"T"{at}"0/98"{table}}}"#));
    assert_eq!(lines[3], format!(r#"{{"action":"C"{at}"0/100","nextlsn":"0/108"}}"#));
}

#[test]
fn what_was_not_sent_is_left_out_and_a_key_that_was_not_sent_is_an_error() {
    let relation = relation(ReplicaIdentity::Index, &[("code", 25, true), ("n", 25, false)]);
    let mut frames = Frames::new();
    frames.begin(0x100).relation(&relation);
    frames.update(0, TABLE, None, &[text("a"), Value::Unchanged]).commit(0x100);
    let lines = lines(&mut frames);
    let code = r#"[{"name":"code","type":"text","value":"a"}]"#;
    assert!(
        lines[1].ends_with(&format!(r#""columns":{code},"identity":{code}}}"#)),
        "{}",
        lines[1]
    );

    frames.begin(0x100).relation(&relation);
    frames.update(0, TABLE, None, &[Value::Unchanged, text("1")]).commit(0x100);
    let mut out = b"before".to_vec();
    let error = encoder().encode(&batch(&mut frames), &mut out).unwrap_err();
    assert_eq!((error.column.as_str(), error.fault), ("code", EncodeFault::KeyUnknown));
    assert_eq!(out, b"before");
}

#[test]
fn the_identity_is_what_was_logged_or_what_the_new_row_has() {
    let mut frames = Frames::new();
    let key = [text("6"), Value::Null];
    let row = [text("7"), text("x")];
    frames.begin(0x100).relation(&orders(ReplicaIdentity::Default));
    frames.update(0, TABLE, None, &row);
    frames.update(0, TABLE, Some((OldRowKind::Key, &key)), &row);
    frames.delete(0, TABLE, OldRowKind::Key, &key).commit(0x100);
    frames.begin(0x200).relation(&orders(ReplicaIdentity::Full));
    frames.delete(0, TABLE, OldRowKind::Full, &key).commit(0x200);
    let lines = lines(&mut frames);
    let id = |id: u32| format!(r#","identity":[{{"name":"id","type":"integer","value":{id}}}"#);
    assert!(lines[1].ends_with(&(id(7) + "]}")), "{}", lines[1]);
    assert!(lines[2].ends_with(&(id(6) + "]}")), "{}", lines[2]);
    assert!(lines[3].ends_with(&(id(6) + "]}")) && !lines[3].contains("columns"), "{}", lines[3]);
    let note = r#",{"name":"note","type":"text","value":null}]}"#;
    assert!(lines[6].ends_with(&(id(6) + note)), "{}", lines[6]);
}

#[test]
fn a_message_of_no_transaction_has_neither_xid_nor_time() {
    let mut frames = Frames::new();
    frames.free_message(0x20, "p", b"\xff").begin(0x100).message(0x90, "q", b"h\"i").commit(0x100);
    let lines = lines(&mut frames);
    assert_eq!(
        lines[0],
        r#"{"action":"M","xid":null,"timestamp":null,"lsn":"0/20","transactional":false,"#
            .to_owned()
            + r#""prefix":"p","content":"/w==","encoding":"base64"}"#
    );
    assert_eq!(
        lines[2],
        r#"{"action":"M","xid":731,"timestamp":"2000-01-01 00:00:00+00","lsn":"0/90","#.to_owned()
            + r#""transactional":true,"prefix":"q","content":"h\"i"}"#
    );
}

#[test]
fn numbers_that_json_has_not_are_null_and_a_domain_is_a_string() {
    let domain = 16_400;
    let columns = [("n", 1700, true), ("o", 26, false), ("b", 17, false), ("d", domain, false)];
    let mut frames = Frames::new();
    frames.begin(0x100).type_name(domain, "", "int4");
    frames.relation(&relation(ReplicaIdentity::Default, &columns));
    frames.insert(0, TABLE, &[text("NaN"), text("7"), text("\\x00ff"), text("5")]);
    let nan = [0, 0, 0, 0, 0xc0, 0, 0, 0];
    let row =
        [Value::Binary(&nan), Value::Binary(&[0, 0, 0, 7]), Value::Binary(&[0, 255]), text("5")];
    frames.insert(0, TABLE, &row).commit(0x100);
    let lines = lines(&mut frames);
    let values =
        r#"[{"name":"n","type":"numeric","value":null},{"name":"o","type":"oid","value":7},"#
            .to_owned()
            + r#"{"name":"b","type":"bytea","value":"00ff"},{"name":"d","type":"integer","value":"5"}]"#;
    assert!(lines[1].contains(&values), "{}", lines[1]);
    assert!(lines[2].contains(&values), "{}", lines[2]);
}

#[test]
fn types_are_named_as_sql_writes_them() {
    let named = |oid: u32, name: Option<&str>, type_modifier: i32| {
        let column = Column {
            name: "c".to_owned(),
            type_oid: Oid::new(oid),
            type_name: name.map(str::to_owned),
            type_modifier,
            in_identity: false,
        };
        type_name(&orders(ReplicaIdentity::Default), &column)
    };
    let built_in = |oid: u32, modifier: i32| named(oid, None, modifier);
    assert_eq!(built_in(1043, 24), "character varying(20)");
    assert_eq!(built_in(1042, 5), "character(1)");
    assert_eq!(built_in(1042, -1), "bpchar");
    assert_eq!(built_in(1700, (12 << 16 | 2) + 4), "numeric(12,2)");
    assert_eq!(built_in(1700, (2 << 16 | (-3 & 0x7ff)) + 4), "numeric(2,-3)");
    assert_eq!(built_in(1231, (12 << 16 | 2) + 4), "numeric(12,2)[]");
    assert_eq!(built_in(1114, 3), "timestamp(3) without time zone");
    assert_eq!(built_in(1184, -1), "timestamp with time zone");
    assert_eq!(built_in(1560, 4), "bit(4)");
    assert_eq!(built_in(18, -1), "char");
    assert_eq!(built_in(1002, -1), "\"char\"[]");
    assert_eq!(built_in(22, -1), "int2vector");
    assert_eq!(built_in(1186, (1 << 12) << 16 | 3), "interval second(3)");
    assert_eq!(built_in(1186, 0x7fff << 16 | 2), "interval(2)");
    let own = |name: &str| named(16_400, Some(name), -1);
    assert_eq!(own("public.mood"), "mood");
    assert_eq!(own("public.Mood"), "Mood");
    assert_eq!(own("shop.Mood"), "shop.\"Mood\"");
    assert_eq!(own("pg_catalog.timestamptz"), "timestamp with time zone");
}
