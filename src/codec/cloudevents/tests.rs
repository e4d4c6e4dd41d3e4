//! Events that keep to the rules of the specification's attributes.

use serde_json::Value as Json;

use super::*;
use crate::codec::tests::{TABLE, batch, orders, text};
use crate::codec::{Encoder, EventFormat};
use crate::event::ReplicaIdentity;
use crate::testing::{Frames, OldRowKind};

fn encoded(format: EventFormat, batch: &Batch) -> Vec<String> {
    let mut out = Vec::new();
    let mut encoder = Encoder::new(format, Arc::new(TypeRegistry::builtin()));
    encoder.encode(batch, &mut out).unwrap();
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

fn every_kind() -> Batch {
    let mut frames = Frames::new();
    let row = [text("7"), text("x")];
    frames.free_message(0x20, "p", b"hi");
    frames.begin_at(0x100, 847_664_525_123_456).relation(&orders(ReplicaIdentity::Default));
    frames.insert(0x90, TABLE, &row).update(0x91, TABLE, None, &row);
    frames.delete(0x92, TABLE, OldRowKind::Key, &row).message(0x93, "", b"\xff");
    frames.relation(&orders(ReplicaIdentity::Index));
    frames.truncate(0x94, &[TABLE]).commit(0x100);
    batch(&mut frames)
}

/// Fails when `event` breaks one of the specification's rules.
fn conforms(event: &Json) {
    let attributes = event.as_object().unwrap();
    for required in ["id", "source", "specversion", "type"] {
        assert!(attributes[required].as_str().is_some_and(|it| !it.is_empty()), "{event}");
    }
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["datacontenttype"], "application/json");
    for (name, value) in attributes.iter().filter(|(name, _)| *name != "data") {
        assert!(name.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit()), "{name}");
        let text = value.as_str().unwrap();
        assert!(!text.is_empty() && !text.chars().any(is_forbidden), "{name} {text:?}");
    }
    assert!(event["source"].as_str().unwrap().bytes().all(|it| it.is_ascii_graphic()));
    if let Some(time) = event.get("time") {
        let time = time.as_str().unwrap();
        assert_eq!((&time[4..5], &time[10..11], &time[19..20]), ("-", "T", "."), "{time}");
        assert!(time.ends_with("+00:00"), "{time}");
    }
    assert!(event["data"].is_object());
}

#[test]
fn every_event_has_the_attributes_it_must_and_the_native_event_as_its_data() {
    let batch = every_kind();
    let format = EventFormat::CloudEvents(CloudEventsOptions::default());
    let (events, native) = (encoded(format, &batch), encoded(EventFormat::Json, &batch));
    let parse = |line: &String| serde_json::from_str::<Json>(line).unwrap();
    let events: Vec<_> = events.iter().map(parse).collect();
    for (event, native) in events.iter().zip(native.iter().map(parse)) {
        conforms(event);
        assert_eq!(event["data"], native);
        assert_eq!(event["id"], native["id"]);
        let op = native["op"].as_str().unwrap();
        assert_eq!(event["type"], format!("walcast.{op}"));
    }
    assert_eq!(events.len(), native.len());
    let of = |key: &str| events.iter().map(|event| event[key].clone()).collect::<Vec<_>>();
    let (time, table) = ("2026-11-10T22:22:05.123456+00:00", "pub\"lic.orders");
    let null = Json::Null;
    assert_eq!(of("time")[..2], [null.clone(), time.into()]);
    let table = || Json::from(table);
    let subjects = [Json::from("p"), table(), table(), table(), null, table(), table()];
    assert_eq!(of("subject"), subjects);
    assert_eq!(of("type")[5], "walcast.schema");
    assert!(of("source").iter().all(|source| source == "/postgresql/7"));
}

#[test]
fn a_line_is_its_attributes_in_order_around_the_native_line() {
    let batch = every_kind();
    let options = CloudEventsOptions::default().with_source("https://shop.example/db?x=\"");
    let lines = encoded(EventFormat::CloudEvents(options), &batch);
    let native = encoded(EventFormat::Json, &batch);
    let opening = r#"{"specversion":"1.0","source":"https://shop.example/db?x=\"","#.to_owned()
        + r#""id":"7:2:0/100:1","type":"walcast.insert","subject":"pub\"lic.orders","#
        + r#""time":"2026-11-10T22:22:05.123456+00:00","datacontenttype":"application/json","#
        + r#""data":"#;
    assert_eq!(lines[1], format!("{opening}{}}}", native[1]));
}

#[test]
fn what_an_attribute_may_not_have_is_percent_encoded() {
    let mut relation = orders(ReplicaIdentity::Default);
    relation.name = "a\tb%c\u{7f}\u{fdd0}ä".to_owned();
    let mut frames = Frames::new();
    frames.begin(0x100).relation(&relation).insert(0, TABLE, &[text("7"), text("x")]).commit(0x100);
    let format = EventFormat::CloudEvents(CloudEventsOptions::default());
    let event: Json = serde_json::from_str(&encoded(format, &batch(&mut frames))[0]).unwrap();
    assert_eq!(event["subject"], "pub\"lic.a%09b%25c%7F%EF%B7%90ä");
    assert_eq!(event["data"]["table"], relation.name.as_str());
}

#[test]
fn a_year_that_rfc_3339_does_not_have_leaves_the_time_out() {
    for micros in [-64_000_000_000_000_000, 300_000_000_000_000_000] {
        let mut frames = Frames::new();
        frames.begin_at(0x100, micros).relation(&orders(ReplicaIdentity::Default));
        frames.insert(0, TABLE, &[text("7"), text("x")]).commit(0x100);
        let format = EventFormat::CloudEvents(CloudEventsOptions::default());
        let event: Json = serde_json::from_str(&encoded(format, &batch(&mut frames))[0]).unwrap();
        assert_eq!(event.get("time"), None);
        assert!(event["data"]["commit_time"].is_string());
    }
}
