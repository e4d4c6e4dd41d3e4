//! Lines as a reader gets them, from frames as a server sends them.

use std::sync::Arc;

use super::*;
use crate::codec::plans::PLANS_BEFORE_SWEEP;
use crate::codec::tests::{TABLE, batch, orders, relation, text};
use crate::codec::value::TypeRegistry;
use crate::codec::{EncodeFault, Encoder, EventFormat};
use crate::event::{ReplicaIdentity, Value};
use crate::lsn::Lsn;
use crate::name::SystemId;
use crate::testing::{Feed, Frames, OldRowKind};

fn encoder() -> JsonLines {
    JsonLines::new(Arc::new(TypeRegistry::builtin()))
}

fn lines(frames: &mut Frames) -> Vec<String> {
    let mut out = Vec::new();
    encoder().encode(&batch(frames), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    for line in &lines {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    lines
}

#[test]
fn a_line_has_every_key_in_order_and_only_the_last_one_ends_the_transaction() {
    let mut frames = Frames::new();
    let orders = orders(ReplicaIdentity::Default);
    frames.begin_at(0x100, 847_664_525_123_456).origin("no\"de").relation(&orders);
    frames.insert(0x90, TABLE, &[text("7"), Value::Null]);
    frames.update(0x98, TABLE, None, &[text("7"), Value::Unchanged]);
    frames.commit(0x100);
    let lines = lines(&mut frames);
    assert_eq!(
        lines[0],
        r#"{"id":"7:2:0/100:1","op":"insert","schema":"pub\"lic","table":"orders","key":{"id":7},"#
            .to_owned()
            + r#""old":null,"new":{"id":7,"note":null},"unchanged":[],"lsn":"0/90","#
            + r#""commit_lsn":"0/100","seq":1,"xid":731,"#
            + r#""commit_time":"2026-11-10T22:22:05.123456+00:00","origin":"no\"de","#
            + r#""snapshot":false}"#
    );
    assert_eq!(
        lines[1],
        r#"{"id":"7:2:0/100:2","op":"update","schema":"pub\"lic","table":"orders","key":{"id":7},"#
            .to_owned()
            + r#""old":null,"new":{"id":7},"unchanged":["note"],"lsn":"0/98","#
            + r#""commit_lsn":"0/100","seq":2,"end_lsn":"0/108","last":true,"xid":731,"#
            + r#""commit_time":"2026-11-10T22:22:05.123456+00:00","origin":"no\"de","#
            + r#""snapshot":false}"#
    );
}

#[test]
fn old_rows_show_what_was_sent_and_the_key_is_the_present_one() {
    let mut frames = Frames::new();
    let key = [text("6"), Value::Null];
    frames.begin(0x100).relation(&orders(ReplicaIdentity::Default));
    frames.update(0, TABLE, Some((OldRowKind::Key, &key)), &[text("7"), text("x")]);
    frames.delete(0, TABLE, OldRowKind::Key, &key).commit(0x100);
    frames.begin(0x200).relation(&orders(ReplicaIdentity::Full));
    frames.delete(0, TABLE, OldRowKind::Full, &[text("8"), text("y")]).commit(0x200);
    let lines = lines(&mut frames);
    assert!(lines[0].contains(r#""key":{"id":7},"old":{"id":6},"new":{"id":7,"note":"x"},"#));
    assert!(lines[1].contains(r#""key":{"id":6},"old":{"id":6},"new":null,"unchanged":[],"#));
    assert!(lines[2].contains(r#""op":"schema""#) && lines[2].contains(r#""new":[]},"old":"#));
    assert!(lines[3].contains(r#""key":null,"old":{"id":8,"note":"y"},"new":null,"#));
}

#[test]
fn an_unchanged_key_comes_from_the_old_row_or_is_an_error() {
    let relation = relation(ReplicaIdentity::Index, &[("code", 25, true), ("n", 23, false)]);
    let mut frames = Frames::new();
    let new = [Value::Unchanged, text("1")];
    let old = [text("large"), Value::Null];
    frames.begin(0x100).relation(&relation);
    frames.update(0, TABLE, Some((OldRowKind::Key, &old)), &new).commit(0x100);
    assert!(lines(&mut frames)[0].contains(r#""key":{"code":"large"},"old":{"code":"large"}"#));

    frames.begin(0x100).relation(&relation).insert(0, TABLE, &[text("a"), text("1")]);
    frames.update(0, TABLE, None, &new).commit(0x100);
    let mut out = b"before".to_vec();
    let error = encoder().encode(&batch(&mut frames), &mut out).unwrap_err();
    assert_eq!((error.column.as_str(), &error.fault), ("code", &EncodeFault::KeyUnknown));
    assert!(error.to_string().contains("0/100:2 of pub\"lic.orders"), "{error}");
    assert_eq!(out, b"before");
}

#[test]
fn a_type_without_a_decoder_is_text_beside_its_name() {
    let columns =
        [("id", 23, true), ("mood", 16_400, false), ("pay", 790, false), ("pays", 791, false)];
    let relation = relation(ReplicaIdentity::Default, &columns);
    let mut frames = Frames::new();
    frames.begin(0x100).type_name(16_400, "public", "mo\"od").relation(&relation);
    frames.insert(0, TABLE, &[text("1"), text("sad"), text("$1.00"), text("{$1.00}")]);
    frames.commit(0x100);
    let lines = lines(&mut frames);
    assert!(lines[0].contains(r#""mood":"sad","pay":"$1.00","pays":["$1.00"]}"#), "{}", lines[0]);
    let types = r#""types":{"mood":"public.mo\"od","pay":"money","pays":"money[]"},"lsn""#;
    assert!(lines[0].contains(&format!(r#""unchanged":[],{types}"#)), "{}", lines[0]);

    frames.begin(0x100).relation(&relation);
    frames.insert(0, TABLE, &[text("1"), Value::Binary(b"sad"), Value::Null, Value::Null]);
    frames.commit(0x100);
    let raw = &self::lines(&mut frames)[0];
    assert!(raw.contains(r#""mood":{"oid":16400,"binary":"\\x736164"},"pay":null"#), "{raw}");
}

#[test]
fn truncates_and_messages_have_their_own_keys() {
    let mut frames = Frames::new();
    frames.free_message(0x20, "p", b"\xff\n");
    frames.begin(0x100).relation(&orders(ReplicaIdentity::Default)).message(0x90, "q\n", b"hi");
    frames.truncate(0x98, &[TABLE]).commit(0x100);
    let lines = lines(&mut frames);
    assert_eq!(
        lines[0],
        r#"{"id":"7:1:0/20:0","op":"message","prefix":"p","content":"/wo=","encoding":"base64","#
            .to_owned()
            + r#""transactional":false,"lsn":"0/20","commit_lsn":"0/20","seq":0,"end_lsn":"0/20","#
            + r#""last":true,"xid":null,"commit_time":null,"origin":null,"snapshot":false}"#
    );
    assert!(lines[1].starts_with(
        r#"{"id":"7:2:0/100:1","op":"message","prefix":"q\n","content":"hi","transactional":true,"lsn":"#
    ));
    assert!(!lines[1].contains("last"));
    assert!(lines[2].contains(
        r#""key":null,"old":null,"new":null,"unchanged":[],"cascade":true,"restart_identity":false,"#
    ));
    assert!(lines[2].contains(r#""seq":2,"end_lsn":"0/108","last":true"#));
}

#[test]
fn whole_transactions_end_where_the_encoder_says() {
    let mut feed = Feed::after(Lsn::new(0));
    let mut lines = encoder();
    let mut out = Vec::new();
    let batch = feed.transaction(100, &["a", "b"]).open(200, &["c", "d"]).batch();
    let complete = lines.encode(&batch, &mut out).unwrap().unwrap();
    let whole = std::str::from_utf8(&out[..complete]).unwrap();
    assert!(whole.ends_with("false}\n") && whole.contains("\"last\":true"));
    assert!(out[complete..].starts_with(b"{\"id\":\"7:1:0/C8:1\""), "one row is held back");
    let batch = feed.rows(200, 3, &["e"]).batch();
    assert_eq!(lines.encode(&batch, &mut out), Ok(None));
    let batch = feed.commit(200).batch();
    assert_eq!(lines.encode(&batch, &mut out), Ok(Some(out.len())));
    assert_eq!(lines.encode(&feed.idle(300).batch(), &mut out), Ok(None));
    let ends = out.split(|byte| *byte == b'\n').filter_map(|line| recall(line, line));
    let ends: Vec<_> = ends.map(|recalled| recalled.end_lsn).collect();
    let end = |lsn| Some(Lsn::new(lsn));
    assert_eq!(ends, [None, end(108), None, None, end(208)]);
}

#[test]
fn a_line_is_recalled_from_its_two_ends() {
    let hostile = r#"a","lsn":"0/1","commit_lsn":"0/1","last":true}"#;
    let mut feed = Feed::after(Lsn::new(0));
    let batch = feed.transaction(100, &[hostile, &"x".repeat(100)]).batch();
    let mut out = Vec::new();
    encoder().encode(&batch, &mut out).unwrap();
    let lines: Vec<_> = out.trim_ascii_end().split(|byte| *byte == b'\n').collect();
    let system_id = SystemId::new(7);
    assert_eq!(recall(lines[0], lines[0]), Some(Recalled { system_id, end_lsn: None }));
    let (front, back) = (&lines[1][..40], &lines[1][200..]);
    let end_lsn = Some(Lsn::new(108));
    assert_eq!(recall(front, back), Some(Recalled { system_id, end_lsn }));
    for cut in 0..lines[1].len() {
        assert_eq!(recall(&lines[1][..cut], &lines[1][..cut]), None);
    }
    assert_eq!(recall(b"{\"id\":1,\"lsn\":\"\"}", b"{\"id\":1,\"lsn\":\"\"}"), None);
}

#[test]
fn sinks_of_one_format_share_the_bytes_of_whole_batches() {
    let mut feed = Feed::after(Lsn::new(0));
    let batch = feed.transaction(100, &["a"]).transaction(200, &["b"]).batch();
    let encoder = || Encoder::new(EventFormat::Json, Arc::new(TypeRegistry::builtin()));
    let first = encoder().encode_shared(&batch).unwrap();
    let second = encoder().encode_shared(&batch.clone()).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    let mut own = Vec::new();
    assert_eq!(encoder().encode(&batch, &mut own).unwrap(), first.complete);
    assert_eq!(own, first.bytes);
    let cut = encoder().encode_shared(&batch.after(Lsn::new(108))).unwrap();
    assert!(own.ends_with(&cut.bytes) && cut.bytes.len() < own.len());
}

#[test]
fn plans_of_forgotten_tables_are_let_go() {
    let mut lines = encoder();
    for _ in 0..PLANS_BEFORE_SWEEP * 2 {
        let mut feed = Feed::after(Lsn::new(0));
        lines.encode(&feed.transaction(100, &["a"]).batch(), &mut Vec::new()).unwrap();
    }
    assert!(lines.plans.len() <= PLANS_BEFORE_SWEEP);
}

#[test]
fn a_changed_shape_is_a_line_before_the_first_row_that_has_it() {
    let mut frames = Frames::new();
    let before = orders(ReplicaIdentity::Default);
    let mut after = relation(
        ReplicaIdentity::Default,
        &[("id", 20, true), ("mo\"od", 70_000, true), ("at", 1114, false)],
    );
    after.columns[2].type_modifier = 3;
    frames.type_name(70_000, "shop", "mood").begin(0x100).relation(&before);
    frames.insert(0x90, TABLE, &[text("7"), Value::Null]);
    frames.relation(&after);
    frames.insert(0x98, TABLE, &[text("7"), text("calm"), Value::Null]);
    frames.commit(0x100);
    let lines = lines(&mut frames);
    assert_eq!(lines.len(), 3);
    let column = |name: &str, kind: &str, oid: u32, modifier: i32, identity: bool| {
        format!(
            r#"{{"name":"{name}","type":"{kind}","type_oid":{oid},"type_modifier":{modifier},"identity":{identity}}}"#
        )
    };
    let shape = |columns: &[String]| {
        let columns = columns.join(",");
        format!(
            r#"{{"oid":9,"schema":"pub\"lic","table":"orders","identity":"default","columns":[{columns}]}}"#
        )
    };
    let old = shape(&[column("id", "int4", 23, -1, true), column("note", "text", 25, -1, false)]);
    let new = shape(&[
        column("id", "int8", 20, -1, true),
        column("mo\\\"od", "shop.mood", 70_000, -1, true),
        column("at", "timestamp", 1114, 3, false),
    ]);
    let expected = [
        r#"{"id":"7:2:0/100:2:s","op":"schema","schema":"pub\"lic","table":"orders","#,
        r#""key":{"old":["id"],"new":["id","mo\"od"]},"#,
        &format!(r#""old":{old},"new":{new},"#),
        r#""added":["mo\"od","at"],"dropped":["note"],"renamed":[],"retyped":["id"],"recreated":false,"#,
        r#""lsn":"0/98","commit_lsn":"0/100","seq":2,"xid":731,"#,
        r#""commit_time":"2000-01-01T00:00:00+00:00","origin":null,"snapshot":false}"#,
    ];
    assert_eq!(lines[1], expected.concat());
    assert!(lines[2].starts_with(r#"{"id":"7:2:0/100:2","op":"insert""#), "{}", lines[2]);
    let recalled = recall(lines[1].as_bytes(), lines[1].as_bytes()).unwrap();
    assert_eq!(recalled.end_lsn, None, "its row is still to come");
}
