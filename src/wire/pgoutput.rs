//! The messages of `pgoutput`, protocol versions 1 to 4.
//!
//! [`Message::parse`] reads one message of the plugin's output, as
//! [documented](https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html).
//! Column values are not copied: each becomes a [`Field`] in a vector that the caller keeps for a
//! whole batch. A parse remembers nothing; what order messages may come in is the assembler's. The
//! messages about streamed and prepared transactions are in [`super::streaming`]; those inside a
//! stream carry a transaction id after their tag ([`Message::parse_streamed`]).

use super::field::{Field, tuple};
use super::streaming::{PreparedMessage, StreamMessage, streamed_xid};
use super::{DecodeError, Reader};
use crate::event::Oid;
use crate::lsn::Lsn;
use crate::timestamp::Timestamp;

/// One message of the plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// A transaction follows.
    Begin {
        /// The LSN of its commit record.
        commit_lsn: Lsn,
        /// When it committed.
        commit_time: Timestamp,
        /// Its transaction id.
        xid: u32,
    },
    /// The transaction came from another node.
    Origin {
        /// Its commit LSN there.
        commit_lsn: Lsn,
        /// The origin's name.
        name: &'a str,
    },
    /// The shape of a table whose rows follow.
    Relation(RelationMessage<'a>),
    /// The name of a type that is not built in.
    Type {
        /// Its object identifier.
        oid: Oid,
        /// Its schema.
        schema: &'a str,
        /// Its name.
        name: &'a str,
    },
    /// A new row.
    Insert {
        /// Its table.
        relation: Oid,
        /// Its columns.
        new: TupleSpan,
    },
    /// A changed row.
    Update {
        /// Its table.
        relation: Oid,
        /// What it was, where the server logged it.
        old: Option<(OldKind, TupleSpan)>,
        /// What it is.
        new: TupleSpan,
    },
    /// A removed row.
    Delete {
        /// Its table.
        relation: Oid,
        /// How much of it there is.
        kind: OldKind,
        /// What it was.
        old: TupleSpan,
    },
    /// Emptied tables.
    Truncate {
        /// Their object identifiers, four bytes each.
        relations: &'a [u8],
        /// Whether CASCADE was given.
        cascade: bool,
        /// Whether RESTART IDENTITY was given.
        restart_identity: bool,
    },
    /// A logical message (`pg_logical_emit_message`).
    Logical {
        /// Whether it belongs to the open transaction.
        transactional: bool,
        /// Its place in the log.
        lsn: Lsn,
        /// Its prefix.
        prefix: &'a str,
        /// Where its content starts in the message.
        content: &'a [u8],
    },
    /// The end of a transaction.
    Commit {
        /// The LSN of the commit record.
        commit_lsn: Lsn,
        /// The first byte after it.
        end_lsn: Lsn,
        /// When it committed.
        commit_time: Timestamp,
    },
    /// About a transaction that is sent before it commits. PostgreSQL 18 can send a
    /// [`StreamMessage::Abort`] although nothing is streamed.
    Stream(StreamMessage),
    /// About a transaction that is prepared before it commits.
    Prepared(PreparedMessage<'a>),
}

/// The body of a Relation message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationMessage<'a> {
    /// The table's object identifier.
    pub oid: Oid,
    /// Its schema; empty means `pg_catalog`.
    pub schema: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its `relreplident`.
    pub replica_identity: u8,
    /// How many columns follow.
    pub column_count: u16,
    columns: &'a [u8],
}

/// A column of a Relation message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn<'a> {
    /// Whether it is part of the replica identity.
    pub in_identity: bool,
    /// Its name.
    pub name: &'a str,
    /// Its type.
    pub type_oid: Oid,
    /// Its type modifier.
    pub type_modifier: i32,
}

/// How much of an old row was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OldKind {
    /// The columns of the replica identity; the others are NULL.
    Key,
    /// All columns.
    Full,
}

/// Which fields of the batch's vector make up a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TupleSpan {
    /// The first one.
    pub first: usize,
    /// How many.
    pub count: usize,
}

impl<'a> Message<'a> {
    /// Read the message in `bytes`, which starts `base` bytes into its chunk; the columns of rows
    /// are appended to `fields`.
    #[inline]
    pub fn parse(
        bytes: &'a [u8],
        base: usize,
        fields: &mut Vec<Field>,
    ) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let tag = reader.u8("message tag")?;
        Self::body(tag, reader, base, fields)
    }

    /// The same for a message inside a stream block, with the (sub)transaction it names; `None` for
    /// an Origin, which names none.
    pub fn parse_streamed(
        bytes: &'a [u8],
        base: usize,
        fields: &mut Vec<Field>,
    ) -> Result<(Option<u32>, Self), DecodeError> {
        let xid = streamed_xid(bytes)?;
        let mut reader = Reader::new(bytes);
        let tag = reader.u8("message tag")?;
        if xid.is_some() {
            reader.u32("streamed message xid")?;
        }
        Ok((xid, Self::body(tag, reader, base, fields)?))
    }

    #[inline]
    fn body(
        tag: u8,
        mut reader: Reader<'a>,
        base: usize,
        fields: &mut Vec<Field>,
    ) -> Result<Self, DecodeError> {
        let message = match tag {
            b'I' => Self::insert(&mut reader, base, fields)?,
            b'U' => Self::update(&mut reader, base, fields)?,
            b'D' => Self::delete(&mut reader, base, fields)?,
            b'B' => Self::Begin {
                commit_lsn: reader.lsn("Begin commit LSN")?,
                commit_time: reader.timestamp("Begin commit time")?,
                xid: reader.u32("Begin xid")?,
            },
            b'C' => Self::commit(&mut reader)?,
            b'O' => Self::Origin {
                commit_lsn: reader.lsn("Origin commit LSN")?,
                name: reader.text("Origin name")?,
            },
            b'R' => Self::Relation(RelationMessage::parse(&mut reader)?),
            b'Y' => Self::Type {
                oid: Oid::new(reader.u32("Type oid")?),
                schema: reader.text("Type schema")?,
                name: reader.text("Type name")?,
            },
            b'T' => Self::truncate(&mut reader)?,
            b'M' => Self::logical(&mut reader)?,
            tag @ (b'S' | b'E' | b'c' | b'A') => {
                Self::Stream(StreamMessage::parse(tag, &mut reader)?)
            }
            tag @ (b'b' | b'P' | b'K' | b'r' | b'p') => {
                Self::Prepared(PreparedMessage::parse(tag, &mut reader)?)
            }
            tag => return Err(DecodeError::UnknownTag { field: "pgoutput message", tag }),
        };
        reader.finish("the pgoutput message")?;
        Ok(message)
    }

    #[inline]
    fn insert(
        reader: &mut Reader<'a>,
        base: usize,
        fields: &mut Vec<Field>,
    ) -> Result<Self, DecodeError> {
        let relation = Oid::new(reader.u32("Insert relation")?);
        match reader.u8("Insert tuple tag")? {
            b'N' => Ok(Self::Insert { relation, new: span(reader, base, fields)? }),
            tag => Err(DecodeError::UnknownTag { field: "Insert tuple", tag }),
        }
    }

    fn update(
        reader: &mut Reader<'a>,
        base: usize,
        fields: &mut Vec<Field>,
    ) -> Result<Self, DecodeError> {
        let relation = Oid::new(reader.u32("Update relation")?);
        let mut tag = reader.u8("Update tuple tag")?;
        let mut old = None;
        if let Some(kind) = OldKind::from_tag(tag) {
            old = Some((kind, span(reader, base, fields)?));
            tag = reader.u8("Update tuple tag")?;
        }
        match tag {
            b'N' => Ok(Self::Update { relation, old, new: span(reader, base, fields)? }),
            tag => Err(DecodeError::UnknownTag { field: "Update tuple", tag }),
        }
    }

    fn delete(
        reader: &mut Reader<'a>,
        base: usize,
        fields: &mut Vec<Field>,
    ) -> Result<Self, DecodeError> {
        let relation = Oid::new(reader.u32("Delete relation")?);
        let tag = reader.u8("Delete tuple tag")?;
        let kind =
            OldKind::from_tag(tag).ok_or(DecodeError::UnknownTag { field: "Delete tuple", tag })?;
        Ok(Self::Delete { relation, kind, old: span(reader, base, fields)? })
    }

    fn commit(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match reader.u8("Commit flags")? {
            0 => Ok(Self::Commit {
                commit_lsn: reader.lsn("Commit LSN")?,
                end_lsn: reader.lsn("Commit end LSN")?,
                commit_time: reader.timestamp("Commit time")?,
            }),
            tag => Err(DecodeError::UnknownTag { field: "Commit flags", tag }),
        }
    }

    fn truncate(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let count = reader.length("Truncate relation count")?;
        let flags = reader.u8("Truncate flags")?;
        if flags & !3 != 0 {
            return Err(DecodeError::UnknownTag { field: "Truncate flags", tag: flags });
        }
        Ok(Self::Truncate {
            relations: reader.take("Truncate relations", count.saturating_mul(4))?,
            cascade: flags & 1 != 0,
            restart_identity: flags & 2 != 0,
        })
    }

    fn logical(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let flags = reader.u8("Message flags")?;
        if flags & !1 != 0 {
            return Err(DecodeError::UnknownTag { field: "Message flags", tag: flags });
        }
        let lsn = reader.lsn("Message LSN")?;
        let prefix = reader.text("Message prefix")?;
        let length = reader.length("Message content length")?;
        let content = reader.take("Message content", length)?;
        Ok(Self::Logical { transactional: flags & 1 != 0, lsn, prefix, content })
    }
}

impl<'a> RelationMessage<'a> {
    fn parse(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let oid = Oid::new(reader.u32("Relation oid")?);
        let schema = reader.text("Relation schema")?;
        let name = reader.text("Relation name")?;
        let replica_identity = reader.u8("Relation replica identity")?;
        let column_count = reader.u16("Relation column count")?;
        let columns = reader.rest();
        let message = Self { oid, schema, name, replica_identity, column_count, columns };
        let mut walk = Reader::new(columns);
        for _ in 0..column_count {
            RelationColumn::parse(&mut walk)?;
        }
        walk.finish("Relation")?;
        Ok(message)
    }

    /// The columns, in the order rows have them.
    pub fn columns(&self) -> impl Iterator<Item = RelationColumn<'a>> + use<'a> {
        let mut reader = Reader::new(self.columns);
        (0..self.column_count).map_while(move |_| RelationColumn::parse(&mut reader).ok())
    }
}

impl<'a> RelationColumn<'a> {
    fn parse(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            in_identity: reader.u8("Relation column flags")? & 1 != 0,
            name: reader.text("Relation column name")?,
            type_oid: Oid::new(reader.u32("Relation column type")?),
            type_modifier: reader.i32("Relation column type modifier")?,
        })
    }
}

impl OldKind {
    fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            b'K' => Some(Self::Key),
            b'O' => Some(Self::Full),
            _ => None,
        }
    }
}

#[inline]
fn span(
    reader: &mut Reader<'_>,
    base: usize,
    fields: &mut Vec<Field>,
) -> Result<TupleSpan, DecodeError> {
    let first = fields.len();
    tuple(reader, base, fields).map(|count| TupleSpan { first, count })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn update_with_old_key() -> Vec<u8> {
        let mut bytes = vec![b'U', 0, 0, 0, 9, b'K', 0, 2];
        bytes.extend([b't', 0, 0, 0, 1, b'7', b'n']);
        bytes.extend([b'N', 0, 2, b'b', 0, 0, 0, 2, 1, 2, b'u']);
        bytes
    }

    #[test]
    fn an_update_carries_its_old_key_and_new_row() {
        let bytes = update_with_old_key();
        let mut fields = Vec::new();
        let Ok(Message::Update { relation, old: Some((kind, old)), new }) =
            Message::parse(&bytes, 0, &mut fields)
        else {
            panic!("not an update");
        };
        assert_eq!((relation, kind), (Oid::new(9), OldKind::Key));
        let values = |span: TupleSpan| -> Vec<_> {
            fields[span.first..span.first + span.count].iter().map(|f| f.value(&bytes)).collect()
        };
        use crate::event::Value::{Binary, Null, Text, Unchanged};
        assert_eq!(values(old), [Text(b"7"), Null]);
        assert_eq!(values(new), [Binary(&[1, 2]), Unchanged]);
    }

    #[test]
    fn every_cut_of_a_message_is_an_error() {
        let bytes = update_with_old_key();
        for cut in 0..bytes.len() {
            assert!(Message::parse(&bytes[..cut], 0, &mut Vec::new()).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn hostile_lengths_are_refused() {
        for length in [[0xff, 0xff, 0xff, 0xff], [0x7f, 0xff, 0xff, 0xff]] {
            let mut bytes = vec![b'I', 0, 0, 0, 9, b'N', 0, 1, b't'];
            bytes.extend(length);
            assert!(Message::parse(&bytes, 0, &mut Vec::new()).is_err());
            let mut bytes = vec![b'T'];
            bytes.extend(length);
            bytes.push(0);
            assert!(Message::parse(&bytes, 0, &mut Vec::new()).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::parse(&bytes, 0, &mut Vec::new());
        }

        #[test]
        fn no_flipped_byte_makes_it_panic(at in 0usize..26, byte in any::<u8>()) {
            let mut bytes = update_with_old_key();
            let at = at % bytes.len();
            bytes[at] = byte;
            let mut fields = Vec::new();
            if Message::parse(&bytes, 0, &mut fields).is_ok() {
                for field in fields {
                    field.value(&bytes);
                }
            }
        }
    }
}
