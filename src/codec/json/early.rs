//! Lines about what has not committed, and of its Commit.

use super::line::{at_fault, content, flags, rows};
use super::plan::RelationPlan;
use super::transaction::{commit_time, origin};
use crate::codec::error::EncodeError;
use crate::codec::place::write_lsn;
use crate::codec::plans::Plans;
use crate::event::{Abort, EarlyChange, EarlyKind, Transaction};
use crate::lsn::{Lsn, Position};

/// What a table's part of a line begins with where an id comes before it.
const ID_ENDS: &[u8] = b"\",";

/// Appends a change that has not committed. `unsent` is scratch space.
pub(super) fn change(
    out: &mut Vec<u8>,
    plans: &Plans<RelationPlan>,
    unsent: &mut Vec<usize>,
    change: EarlyChange<'_>,
) -> Result<(), EncodeError> {
    out.push(b'{');
    match change.kind() {
        EarlyKind::Row(row) => {
            let plan = plans.at(row.0.relation_slot());
            out.extend_from_slice(without_id(plan.opening(row.operation())));
            let place = Position::Logged { commit_lsn: change.lsn(), index: change.ordinal() };
            rows(out, plan, unsent, row.0).map_err(at_fault(place, row.relation()))?;
        }
        EarlyKind::Truncate(truncate) => {
            let plan = plans.at(truncate.0.relation_slot());
            out.extend_from_slice(without_id(plan.opening_of_truncate()));
            flags(out, truncate.0);
        }
        EarlyKind::Message(message) => content(out, message.0),
    }
    lsn(out, b",\"lsn\":\"", change.lsn());
    number(out, b",\"xid\":", change.xid().into());
    number(out, b",\"subxid\":", change.subxid().into());
    number(out, b",\"ordinal\":", change.ordinal());
    origin(out, change.origin());
    out.extend_from_slice(b",\"committed\":false}\n");
    Ok(())
}

/// Appends that something is void.
pub(super) fn abort(out: &mut Vec<u8>, abort: Abort<'_>) {
    number(out, b"{\"op\":\"abort\",\"xid\":", abort.xid().into());
    number(out, b",\"subxid\":", abort.subxid().into());
    out.extend_from_slice(b",\"committed\":false}\n");
}

/// Appends that what was given early has committed.
pub(super) fn commit(out: &mut Vec<u8>, transaction: Transaction<'_>) {
    number(out, b"{\"op\":\"commit\",\"xid\":", transaction.xid().into());
    lsn(out, b",\"commit_lsn\":\"", transaction.commit_lsn());
    if let Some(end_lsn) = transaction.end_lsn() {
        lsn(out, b",\"end_lsn\":\"", end_lsn);
    }
    commit_time(out, transaction);
    origin(out, transaction.origin());
    out.extend_from_slice(b",\"committed\":true}\n");
}

fn without_id(opening: &[u8]) -> &[u8] {
    opening.strip_prefix(ID_ENDS).unwrap_or(opening)
}

fn number(out: &mut Vec<u8>, key: &[u8], number: u64) {
    out.extend_from_slice(key);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn lsn(out: &mut Vec<u8>, key: &[u8], lsn: Lsn) {
    out.extend_from_slice(key);
    write_lsn(out, lsn);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::codec::value::TypeRegistry;
    use crate::codec::{EncodeFault, Encoder, EventFormat};
    use crate::event::Given;
    use crate::lsn::Lsn;
    use crate::testing::Feed;

    fn encoder(format: EventFormat) -> Encoder {
        Encoder::new(format, Arc::new(TypeRegistry::builtin()))
    }

    #[test]
    fn what_has_not_committed_has_no_id_and_its_commit_a_line() {
        let mut feed = Feed::after(Lsn::new(0));
        let (mut given, mut out) = (Given::default(), Vec::new());
        let mut json = encoder(EventFormat::Json);
        for batch in [feed.early(731, 731, &["a"]), feed.early(731, 732, &["b"])] {
            json.encode(&given.admit(&batch), &mut out).unwrap();
        }
        json.encode(&given.admit(&feed.abort(731, 732)), &mut out).unwrap();
        json.encode(&given.show(feed.transaction(0x100, &["a"]).batch()), &mut out).unwrap();
        json.encode(&given.show(feed.transaction(0x200, &["c"]).batch()), &mut out).unwrap();
        let early = |note: &str, subxid: u32, ordinal: u64| {
            let row = r#""key":{"id":1},"old":null,"new":{"id":1,"note":"#.to_owned();
            let place = format!(r#""lsn":"0/1","xid":731,"subxid":{subxid},"ordinal":{ordinal},"#);
            r#"{"op":"insert","schema":"public","table":"t","#.to_owned()
                + &row
                + &format!(r#""{note}"}},"unchanged":[],"#)
                + &place
                + r#""origin":null,"committed":false}"#
        };
        let lines: Vec<_> = std::str::from_utf8(&out).unwrap().lines().collect();
        assert_eq!(lines[..2], [early("a", 731, 1), early("b", 732, 2)]);
        assert_eq!(lines[2], r#"{"op":"abort","xid":731,"subxid":732,"committed":false}"#);
        let commit = r#"{"op":"commit","xid":731,"commit_lsn":"0/100","end_lsn":"0/108","#;
        let time = r#""commit_time":"2000-01-01T00:00:00+00:00","origin":null,"committed":true}"#;
        assert_eq!(lines[3], format!("{commit}{time}"));
        assert!(lines[4].starts_with(r#"{"id":"7:1:0/200:1","op":"insert""#) && lines.len() == 5);
    }

    #[test]
    fn formats_that_know_no_such_thing_refuse_it() {
        let mut feed = Feed::after(Lsn::new(0));
        let batch = feed.early(731, 732, &["a"]);
        for format in [
            EventFormat::CloudEvents(Default::default()),
            EventFormat::Debezium(Default::default()),
            EventFormat::Wal2Json,
        ] {
            let mut out = b"before".to_vec();
            let error = encoder(format).encode(&batch, &mut out).unwrap_err();
            assert_eq!((error.fault.clone(), out), (EncodeFault::Uncommitted, b"before".to_vec()));
            let text = error.to_string();
            assert!(
                text.starts_with("the change at 0/1:1 of public.t cannot be written"),
                "{text}"
            );
        }
    }
}
