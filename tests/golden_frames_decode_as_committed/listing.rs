//! Messages as text without what differs from run to run: positions, ids and times.

use std::collections::HashMap;

use walcast::event::{Oid, Value};
use walcast::wire::Field;
use walcast::wire::copy_both::{ServerMessage, frame_bytes};
use walcast::wire::pgoutput::{Message, OldKind, TupleSpan};
use walcast::wire::streaming::{PreparedMessage, StreamMessage};

/// The messages inside `frames`, each with what it says of itself. What lies in a stream block has
/// its transaction id taken off.
pub(super) fn messages(frames: &[u8]) -> Vec<Listed> {
    let (mut at, mut in_block, mut listed) = (0, false, Vec::new());
    let mut tables = HashMap::new();
    while at < frames.len() {
        let length = frame_bytes(&frames[at..]).unwrap().expect("whole frames");
        if let ServerMessage::XLogData { payload, .. } =
            ServerMessage::parse(&frames[at + 5..at + length]).unwrap()
        {
            let mut payload = payload.to_vec();
            if in_block && !matches!(payload[0], b'E' | b'O') {
                payload.drain(1..5);
            }
            listed.push(Listed::of(&payload, &mut tables));
            in_block = match payload[0] {
                b'S' => true,
                b'E' => false,
                _ => in_block,
            };
        }
        at += length;
    }
    listed
}

/// One message.
pub(super) struct Listed {
    /// Its tag, and for rows the kind of the old tuple, or `N`.
    pub(super) kind: String,
    /// The kinds of its columns: `n`, `u`, `t`, `b`.
    pub(super) columns: String,
    /// For people.
    pub(super) text: String,
}

impl Listed {
    fn of(payload: &[u8], tables: &mut HashMap<Oid, String>) -> Listed {
        let mut fields = Vec::new();
        let message = Message::parse(payload, 0, &mut fields).unwrap();
        let tag = char::from(payload[0]);
        let (mut kind, mut text) = (tag.to_string(), String::new());
        let mut rows =
            |relation: Oid, old: Option<(OldKind, TupleSpan)>, new: Option<TupleSpan>| {
                kind.push(match old {
                    Some((OldKind::Key, _)) => 'K',
                    Some((OldKind::Full, _)) => 'O',
                    None => 'N',
                });
                text = tables[&relation].clone();
                let spans = old.map(|(_, span)| span).into_iter().chain(new);
                spans.for_each(|span| text.push_str(&row(payload, &fields, span)));
            };
        match &message {
            Message::Insert { relation, new } => rows(*relation, None, Some(*new)),
            Message::Update { relation, old, new } => rows(*relation, *old, Some(*new)),
            Message::Delete { relation, kind, old } => rows(*relation, Some((*kind, *old)), None),
            Message::Relation(relation) => {
                text = format!("{}.{}", relation.schema, relation.name);
                tables.insert(relation.oid, text.clone());
            }
            Message::Prepared(message) => {
                text = match message {
                    PreparedMessage::Begin(prepared)
                    | PreparedMessage::Prepare(prepared)
                    | PreparedMessage::Commit(prepared)
                    | PreparedMessage::StreamPrepare(prepared) => prepared.gid.to_owned(),
                    PreparedMessage::Rollback { gid, .. } => (*gid).to_owned(),
                }
            }
            Message::Stream(StreamMessage::Abort { xid, subxid, at }) => {
                text = if xid == subxid { "whole" } else { "in part" }.to_owned();
                kind.push_str(if at.is_some() { "+" } else { "" });
            }
            Message::Logical { transactional, prefix, .. } => {
                text = (*prefix).to_owned();
                kind.push_str(if *transactional { "t" } else { "f" });
            }
            _ => {}
        }
        let columns = fields.iter().map(|field| letter(field.value(payload))).collect();
        let text = format!("{tag} {text}").trim_end().to_owned();
        Listed { kind, columns, text }
    }
}

fn row(payload: &[u8], fields: &[Field], span: TupleSpan) -> String {
    let fields = &fields[span.first..span.first + span.count];
    let values = fields.iter().map(|field| match field.value(payload) {
        Value::Text(text) => String::from_utf8_lossy(text).into_owned(),
        other => letter(other).to_string(),
    });
    format!(" ({})", values.collect::<Vec<_>>().join(", "))
}

fn letter(value: Value<'_>) -> char {
    match value {
        Value::Null => 'n',
        Value::Unchanged => 'u',
        Value::Text(_) => 't',
        Value::Binary(_) => 'b',
    }
}
