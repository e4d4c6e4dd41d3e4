//! The messages of `pgoutput` about transactions that are sent before they commit.
//!
//! Protocol 2 streams a large transaction while it runs, in blocks from Stream Start to Stream Stop
//! ([`StreamMessage`]); what lies in a block carries the id of its (sub)transaction
//! ([`streamed_xid`]). Protocol 4 adds where a rollback lies in the log. Protocol 3 sends a
//! transaction when it is prepared ([`PreparedMessage`]). As
//! [documented](https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html);
//! what order they may come in is not known here.

use super::{DecodeError, Reader};
use crate::lsn::Lsn;
use crate::timestamp::Timestamp;

/// A message about a streamed transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamMessage {
    /// A block of a transaction begins.
    Start {
        /// The top-level transaction.
        xid: u32,
        /// Whether it is the transaction's first block.
        first: bool,
    },
    /// The block ends.
    Stop,
    /// The transaction committed; everything of it was sent.
    Commit {
        /// The top-level transaction.
        xid: u32,
        /// The LSN of the commit record.
        commit_lsn: Lsn,
        /// The first byte after it.
        end_lsn: Lsn,
        /// When it committed.
        commit_time: Timestamp,
    },
    /// The transaction, or a part of it, was rolled back.
    Abort {
        /// The top-level transaction.
        xid: u32,
        /// What was rolled back: a subtransaction, or `xid` itself.
        subxid: u32,
        /// Where and when; sent with `streaming = parallel` alone.
        at: Option<AbortPoint>,
    },
}

/// The place of a rollback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortPoint {
    /// Its LSN.
    pub lsn: Lsn,
    /// When it happened.
    pub time: Timestamp,
}

/// A message about a transaction that is prepared first and committed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreparedMessage<'a> {
    /// A prepared transaction follows.
    Begin(Prepared<'a>),
    /// It is prepared; everything of it was sent.
    Prepare(Prepared<'a>),
    /// It committed.
    Commit(Prepared<'a>),
    /// It was rolled back.
    Rollback {
        /// The first byte after its prepare record.
        prepare_end_lsn: Lsn,
        /// The first byte after its rollback record.
        end_lsn: Lsn,
        /// When it was prepared.
        prepare_time: Timestamp,
        /// When it was rolled back.
        time: Timestamp,
        /// The transaction.
        xid: u32,
        /// Its name.
        gid: &'a str,
    },
    /// A streamed transaction is prepared; everything of it was sent.
    StreamPrepare(Prepared<'a>),
}

/// The place and name of a prepared transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prepared<'a> {
    /// The LSN of the record that the message is about.
    pub lsn: Lsn,
    /// The first byte after it.
    pub end_lsn: Lsn,
    /// When it was written.
    pub time: Timestamp,
    /// The transaction.
    pub xid: u32,
    /// Its name, as PREPARE TRANSACTION gave it.
    pub gid: &'a str,
}

/// The (sub)transaction that a message inside a stream block belongs to, by the four bytes after
/// its tag; `None` for an Origin, which has none.
pub fn streamed_xid(payload: &[u8]) -> Result<Option<u32>, DecodeError> {
    let mut reader = Reader::new(payload);
    match reader.u8("message tag")? {
        b'I' | b'U' | b'D' | b'T' | b'M' | b'R' | b'Y' => {
            reader.u32("streamed message xid").map(Some)
        }
        b'O' => Ok(None),
        tag => Err(DecodeError::UnknownTag { field: "message inside a stream block", tag }),
    }
}

impl StreamMessage {
    /// Read the rest of a message whose `tag` was read.
    pub(super) fn parse(tag: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match tag {
            b'S' => Ok(Self::Start {
                xid: reader.u32("Stream Start xid")?,
                first: match reader.u8("Stream Start first segment flag")? {
                    flag @ (0 | 1) => flag == 1,
                    tag => {
                        let field = "Stream Start first segment flag";
                        return Err(DecodeError::UnknownTag { field, tag });
                    }
                },
            }),
            b'E' => Ok(Self::Stop),
            b'c' => {
                let xid = reader.u32("Stream Commit xid")?;
                no_flags(reader, "Stream Commit flags")?;
                Ok(Self::Commit {
                    xid,
                    commit_lsn: reader.lsn("Stream Commit LSN")?,
                    end_lsn: reader.lsn("Stream Commit end LSN")?,
                    commit_time: reader.timestamp("Stream Commit time")?,
                })
            }
            b'A' => {
                let xid = reader.u32("Stream Abort xid")?;
                let subxid = reader.u32("Stream Abort subxid")?;
                let at = match reader.remaining() {
                    0 => None,
                    _ => Some(AbortPoint {
                        lsn: reader.lsn("Stream Abort LSN")?,
                        time: reader.timestamp("Stream Abort time")?,
                    }),
                };
                Ok(Self::Abort { xid, subxid, at })
            }
            tag => Err(DecodeError::UnknownTag { field: "stream message", tag }),
        }
    }
}

impl<'a> PreparedMessage<'a> {
    /// Read the rest of a message whose `tag` was read.
    pub(super) fn parse(tag: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        if tag == b'b' {
            return Ok(Self::Begin(Prepared::parse(reader)?));
        }
        no_flags(reader, "prepared transaction flags")?;
        match tag {
            b'P' => Ok(Self::Prepare(Prepared::parse(reader)?)),
            b'K' => Ok(Self::Commit(Prepared::parse(reader)?)),
            b'p' => Ok(Self::StreamPrepare(Prepared::parse(reader)?)),
            b'r' => Ok(Self::Rollback {
                prepare_end_lsn: reader.lsn("Rollback Prepared prepare end LSN")?,
                end_lsn: reader.lsn("Rollback Prepared end LSN")?,
                prepare_time: reader.timestamp("Rollback Prepared prepare time")?,
                time: reader.timestamp("Rollback Prepared time")?,
                xid: reader.u32("Rollback Prepared xid")?,
                gid: reader.text("Rollback Prepared gid")?,
            }),
            tag => Err(DecodeError::UnknownTag { field: "prepared message", tag }),
        }
    }
}

impl<'a> Prepared<'a> {
    fn parse(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            lsn: reader.lsn("prepared transaction LSN")?,
            end_lsn: reader.lsn("prepared transaction end LSN")?,
            time: reader.timestamp("prepared transaction time")?,
            xid: reader.u32("prepared transaction xid")?,
            gid: reader.text("prepared transaction gid")?,
        })
    }
}

fn no_flags(reader: &mut Reader<'_>, field: &'static str) -> Result<(), DecodeError> {
    match reader.u8(field)? {
        0 => Ok(()),
        tag => Err(DecodeError::UnknownTag { field, tag }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::pgoutput::Message;
    use proptest::prelude::*;

    fn parse(bytes: &[u8]) -> Result<Message<'_>, DecodeError> {
        Message::parse(bytes, 0, &mut Vec::new())
    }

    fn numbers(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![tag];
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        bytes
    }

    /// One of each message, with every number another one.
    fn examples() -> Vec<(Vec<u8>, Message<'static>)> {
        let (xid, subxid) = (7u32.to_be_bytes(), 8u32.to_be_bytes());
        let [one, two, three] = [1u64, 2, 3].map(u64::to_be_bytes);
        let time = Timestamp::from_postgres_micros;
        let prepared =
            Prepared { lsn: Lsn::new(1), end_lsn: Lsn::new(2), time: time(3), xid: 7, gid: "g" };
        let body: [&[u8]; 5] = [&one, &two, &three, &xid, b"g\0"];
        let flagged: [&[u8]; 6] = [&[0], &one, &two, &three, &xid, b"g\0"];
        let rollback: [&[u8]; 7] = [&[0], &one, &two, &three, &one, &xid, b"g\0"];
        let stream = Message::Stream;
        let point = AbortPoint { lsn: Lsn::new(1), time: time(2) };
        vec![
            (numbers(b'S', &[&xid, &[1]]), stream(StreamMessage::Start { xid: 7, first: true })),
            (numbers(b'E', &[]), stream(StreamMessage::Stop)),
            (
                numbers(b'c', &[&xid, &[0], &one, &two, &three]),
                stream(StreamMessage::Commit {
                    xid: 7,
                    commit_lsn: Lsn::new(1),
                    end_lsn: Lsn::new(2),
                    commit_time: time(3),
                }),
            ),
            (
                numbers(b'A', &[&xid, &subxid]),
                stream(StreamMessage::Abort { xid: 7, subxid: 8, at: None }),
            ),
            (
                numbers(b'A', &[&xid, &subxid, &one, &two]),
                stream(StreamMessage::Abort { xid: 7, subxid: 8, at: Some(point) }),
            ),
            (numbers(b'b', &body), Message::Prepared(PreparedMessage::Begin(prepared))),
            (numbers(b'P', &flagged), Message::Prepared(PreparedMessage::Prepare(prepared))),
            (numbers(b'K', &flagged), Message::Prepared(PreparedMessage::Commit(prepared))),
            (numbers(b'p', &flagged), Message::Prepared(PreparedMessage::StreamPrepare(prepared))),
            (
                numbers(b'r', &rollback),
                Message::Prepared(PreparedMessage::Rollback {
                    prepare_end_lsn: Lsn::new(1),
                    end_lsn: Lsn::new(2),
                    prepare_time: time(3),
                    time: time(1),
                    xid: 7,
                    gid: "g",
                }),
            ),
        ]
    }

    #[test]
    fn each_message_is_read_as_it_was_written() {
        for (bytes, message) in examples() {
            assert_eq!(parse(&bytes), Ok(message));
        }
    }

    #[test]
    fn every_cut_and_every_byte_too_many_is_an_error() {
        for (mut bytes, message) in examples() {
            for cut in 0..bytes.len() {
                let whole_without_place = matches!(message, Message::Stream(_)) && cut == 9;
                let result = parse(&bytes[..cut]);
                assert!(result.is_err() || whole_without_place, "{message:?} cut at {cut}");
            }
            bytes.push(0);
            assert!(parse(&bytes).is_err(), "{message:?} and a byte");
        }
    }

    #[test]
    fn flags_that_mean_nothing_are_refused() {
        for tag in [b'c', b'P', b'K', b'p', b'r'] {
            let at = if tag == b'c' { 5 } else { 1 };
            for (mut bytes, _) in examples().into_iter().filter(|(bytes, _)| bytes[0] == tag) {
                bytes[at] = 1;
                assert!(matches!(parse(&bytes), Err(DecodeError::UnknownTag { .. })));
            }
        }
        assert!(parse(&[b'S', 0, 0, 0, 7, 2]).is_err());
    }

    #[test]
    fn what_may_lie_in_a_block_says_whose_it_is() {
        for tag in *b"IUDTMRY" {
            assert_eq!(streamed_xid(&[tag, 0, 0, 0, 9, 1]), Ok(Some(9)));
            assert!(streamed_xid(&[tag, 0, 0, 0]).is_err());
        }
        assert_eq!(streamed_xid(b"O"), Ok(None));
        for tag in *b"BCSEcA" {
            assert!(streamed_xid(&[tag, 0, 0, 0, 9]).is_err());
        }
        assert!(streamed_xid(&[]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            tag in prop::sample::select(&b"SEcAbPKrp"[..]),
            bytes in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let _ = parse(&numbers(tag, &[&bytes]));
            let _ = streamed_xid(&bytes);
        }
    }
}
