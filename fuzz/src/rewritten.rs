//! Messages of pgoutput written again from what was read, as PostgreSQL's manual says.

use walcast::event::Value;
use walcast::wire::Field;
use walcast::wire::pgoutput::{Message, OldKind, TupleSpan};
use walcast::wire::streaming::{Prepared, PreparedMessage, StreamMessage};

/// The bytes of `message`, whose columns are `fields` of `input`.
pub(crate) fn rewritten(message: &Message<'_>, fields: &[Field], input: &[u8]) -> Vec<u8> {
    let mut out = Out(Vec::new());
    let row = |out: &mut Out, tag: u8, span: &TupleSpan| {
        out.0.push(tag);
        out.row(&fields[span.first..span.first + span.count], input);
    };
    match message {
        Message::Begin { commit_lsn, commit_time, xid } => {
            out.tag(b'B').u64(commit_lsn.as_u64()).i64(commit_time.as_postgres_micros()).u32(*xid);
        }
        Message::Commit { commit_lsn, end_lsn, commit_time } => {
            out.tag(b'C').byte(0).u64(commit_lsn.as_u64()).u64(end_lsn.as_u64());
            out.i64(commit_time.as_postgres_micros());
        }
        Message::Origin { commit_lsn, name } => {
            out.tag(b'O').u64(commit_lsn.as_u64()).text(name);
        }
        Message::Type { oid, schema, name } => {
            out.tag(b'Y').u32(oid.as_u32()).text(schema).text(name);
        }
        Message::Insert { relation, new } => {
            row(out.tag(b'I').u32(relation.as_u32()), b'N', new);
        }
        Message::Update { relation, old, new } => {
            out.tag(b'U').u32(relation.as_u32());
            if let Some((kind, old)) = old {
                row(&mut out, old_tag(*kind), old);
            }
            row(&mut out, b'N', new);
        }
        Message::Delete { relation, kind, old } => {
            row(out.tag(b'D').u32(relation.as_u32()), old_tag(*kind), old);
        }
        Message::Truncate { relations, cascade, restart_identity } => {
            let flags = u8::from(*cascade) | u8::from(*restart_identity) << 1;
            out.tag(b'T').u32((relations.len() / 4) as u32).byte(flags).0.extend(*relations);
        }
        Message::Logical { transactional, lsn, prefix, content } => {
            out.tag(b'M').byte(u8::from(*transactional)).u64(lsn.as_u64()).text(prefix);
            out.u32(content.len() as u32).0.extend(*content);
        }
        Message::Relation(relation) => {
            out.tag(b'R').u32(relation.oid.as_u32()).text(relation.schema).text(relation.name);
            out.byte(relation.replica_identity).0.extend(relation.column_count.to_be_bytes());
            let mut columns = 0;
            for column in relation.columns() {
                // The other flags mean nothing, and are not kept.
                let flags = input[out.0.len()];
                assert_eq!(column.in_identity, flags & 1 != 0);
                out.byte(flags).text(column.name).u32(column.type_oid.as_u32());
                out.u32(column.type_modifier.cast_unsigned());
                columns += 1;
            }
            assert_eq!(columns, relation.column_count);
        }
        Message::Stream(message) => out.stream(message),
        Message::Prepared(message) => out.prepared(message),
    }
    out.0
}

fn old_tag(kind: OldKind) -> u8 {
    match kind {
        OldKind::Key => b'K',
        OldKind::Full => b'O',
    }
}

struct Out(Vec<u8>);

impl Out {
    fn tag(&mut self, tag: u8) -> &mut Self {
        self.byte(tag)
    }

    fn byte(&mut self, byte: u8) -> &mut Self {
        self.0.push(byte);
        self
    }

    fn u32(&mut self, number: u32) -> &mut Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    fn u64(&mut self, number: u64) -> &mut Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    fn i64(&mut self, number: i64) -> &mut Self {
        self.u64(number.cast_unsigned())
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.0.extend(text.as_bytes());
        self.byte(0)
    }

    fn row(&mut self, fields: &[Field], input: &[u8]) {
        self.0.extend((fields.len() as u16).to_be_bytes());
        for field in fields {
            let (tag, bytes) = match field.value(input) {
                Value::Null => (b'n', None),
                Value::Unchanged => (b'u', None),
                Value::Text(bytes) => (b't', Some(bytes)),
                Value::Binary(bytes) => (b'b', Some(bytes)),
            };
            self.byte(tag);
            if let Some(bytes) = bytes {
                self.u32(bytes.len() as u32).0.extend(bytes);
            }
        }
    }

    fn stream(&mut self, message: &StreamMessage) {
        match message {
            StreamMessage::Start { xid, first } => {
                self.tag(b'S').u32(*xid).byte(u8::from(*first));
            }
            StreamMessage::Stop => {
                self.tag(b'E');
            }
            StreamMessage::Commit { xid, commit_lsn, end_lsn, commit_time } => {
                self.tag(b'c').u32(*xid).byte(0).u64(commit_lsn.as_u64()).u64(end_lsn.as_u64());
                self.i64(commit_time.as_postgres_micros());
            }
            StreamMessage::Abort { xid, subxid, at } => {
                self.tag(b'A').u32(*xid).u32(*subxid);
                if let Some(at) = at {
                    self.u64(at.lsn.as_u64()).i64(at.time.as_postgres_micros());
                }
            }
        }
    }

    fn prepared(&mut self, message: &PreparedMessage<'_>) {
        match message {
            PreparedMessage::Begin(prepared) => self.tag(b'b').place(prepared),
            PreparedMessage::Prepare(prepared) => self.tag(b'P').byte(0).place(prepared),
            PreparedMessage::Commit(prepared) => self.tag(b'K').byte(0).place(prepared),
            PreparedMessage::StreamPrepare(prepared) => self.tag(b'p').byte(0).place(prepared),
            PreparedMessage::Rollback {
                prepare_end_lsn,
                end_lsn,
                prepare_time,
                time,
                xid,
                gid,
            } => {
                self.tag(b'r').byte(0).u64(prepare_end_lsn.as_u64()).u64(end_lsn.as_u64());
                self.i64(prepare_time.as_postgres_micros()).i64(time.as_postgres_micros());
                self.u32(*xid).text(gid);
            }
        }
    }

    fn place(&mut self, prepared: &Prepared<'_>) {
        self.u64(prepared.lsn.as_u64()).u64(prepared.end_lsn.as_u64());
        self.i64(prepared.time.as_postgres_micros()).u32(prepared.xid).text(prepared.gid);
    }
}
