//! What decoding needs to know before the first frame.
//!
//! An [`Opening`] says where frames come from and how they were asked for. [`InForce`] follows the
//! frames that are written: the descriptions that hold, and up to where transactions are whole.
//! Both together open a segment, so that it can be read without those before it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::event::Oid;
use crate::lineage::Lineage;
use crate::lsn::Lsn;
use crate::wire::DecodeError;
use crate::wire::copy_both::{COPY_DATA, FRAME_HEADER_BYTES, ServerMessage, frame_bytes};
use crate::wire::pgoutput::Message;

/// Bytes of a length inside an opening's record.
const LENGTH_BYTES: usize = 4;

/// Where the frames that follow come from, and what their decoding needs.
///
/// They are in the form of protocol 1: each transaction whole and in the order of commits, however
/// it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// The cluster, its timeline and those before it.
    pub lineage: Lineage,
    /// The database whose changes they are.
    pub database: String,
    /// The slot they were read from.
    pub slot: String,
    /// Whose tables were asked for.
    pub publications: Vec<String>,
    /// How values were asked for.
    pub format: ValueFormat,
    /// Whether large transactions were sent while they ran: the server's word for it.
    pub streaming: String,
    /// Whether what came to the server from another node is left out.
    pub local_only: bool,
    /// Which logical messages are wanted: prefixes, or `*` for all.
    pub messages: Vec<String>,
    /// Where the server was asked to begin.
    pub start: Lsn,
    /// What came before, when this opens another segment of the same connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continued: Option<Continued>,
}

/// How values are written in frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueFormat {
    /// Each type's binary output.
    Binary,
    /// Each type's text output.
    Text,
}

/// Where a segment goes on that is not the first of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continued {
    /// Up to here transactions lie whole in the segments before.
    pub end: Lsn,
    /// The commit LSN of the transaction whose beginning lies there too.
    pub open: Option<Lsn>,
}

/// An opening with everything else that its record holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// See [`Opening`].
    pub opening: Opening,
    /// Relation and Type messages in force, as frames.
    pub described: Bytes,
    /// What the catalogue said of them.
    pub answers: Vec<Answer>,
}

/// What the catalogue said of a table that was described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The table.
    pub table: Oid,
    /// What it said; what form that has, the writer and the reader know.
    pub said: Bytes,
}

impl Answer {
    /// The payload of its record.
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = self.table.as_u32().to_le_bytes().to_vec();
        payload.extend_from_slice(&self.said);
        payload
    }

    /// Read the payload of its record.
    pub fn decode(mut payload: Bytes) -> Result<Self, serde_json::Error> {
        let table = payload.first_chunk::<4>().copied();
        let table = table.ok_or_else(|| serde::de::Error::custom("an answer is cut off"))?;
        let said = payload.split_off(table.len());
        Ok(Self { table: Oid::new(u32::from_le_bytes(table)), said })
    }
}

impl Opened {
    /// A connection that has described nothing yet.
    pub fn of(opening: Opening) -> Self {
        Self { opening, described: Bytes::new(), answers: Vec::new() }
    }

    /// The payload of its record.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let opening = serde_json::to_vec(&self.opening)?;
        let mut payload = Vec::with_capacity(opening.len() + self.described.len() + 64);
        for part in [opening.as_slice(), &self.described] {
            put(&mut payload, part);
        }
        self.answers.iter().for_each(|answer| put(&mut payload, &answer.encode()));
        Ok(payload)
    }

    /// Read the payload of its record.
    pub fn decode(payload: Bytes) -> Result<Self, serde_json::Error> {
        let mut rest = payload;
        let opening = take(&mut rest)?;
        let described = take(&mut rest)?;
        let mut answers = Vec::new();
        while !rest.is_empty() {
            answers.push(Answer::decode(take(&mut rest)?)?);
        }
        Ok(Self { opening: serde_json::from_slice(&opening)?, described, answers })
    }
}

fn put(payload: &mut Vec<u8>, part: &[u8]) {
    // A part that is too long makes a record that is refused as a whole.
    let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
    payload.extend_from_slice(&length.to_le_bytes());
    payload.extend_from_slice(part);
}

fn take(rest: &mut Bytes) -> Result<Bytes, serde_json::Error> {
    let short = || serde::de::Error::custom("a part is cut off");
    let length = rest.first_chunk::<LENGTH_BYTES>().ok_or_else(short)?;
    let length = u32::from_le_bytes(*length) as usize;
    let _ = rest.split_to(LENGTH_BYTES);
    if length > rest.len() {
        return Err(short());
    }
    Ok(rest.split_to(length))
}

/// What holds after the frames so far.
#[derive(Debug, Default)]
pub struct InForce {
    types: BTreeMap<[u8; 4], Bytes>,
    tables: BTreeMap<[u8; 4], Bytes>,
    /// The last of each table.
    answers: BTreeMap<u32, Answer>,
    /// Up to here transactions are whole.
    end: Option<Lsn>,
    /// The commit LSN of the transaction that is not.
    open: Option<Lsn>,
}

impl InForce {
    /// A connection begins: it describes everything anew.
    pub fn begin(&mut self, opened: &Opened) -> Result<(), DecodeError> {
        let end = match opened.opening.continued {
            Some(continued) => continued.end,
            None => opened.opening.start,
        };
        *self =
            Self { end: Some(self.end.map_or(end, |before| before.max(end))), ..Self::default() };
        self.open = opened.opening.continued.and_then(|continued| continued.open);
        self.observe(&opened.described)?;
        opened.answers.iter().for_each(|answer| self.answer(answer.clone()));
        Ok(())
    }

    /// The catalogue said something that is used from here on.
    pub fn answer(&mut self, answer: Answer) {
        self.answers.insert(answer.table.as_u32(), answer);
    }

    /// Frames were written.
    pub fn observe(&mut self, frames: &[u8]) -> Result<(), DecodeError> {
        let mut at = 0;
        while at < frames.len() {
            let length = frame_bytes(&frames[at..])?.filter(|length| *length <= frames.len() - at);
            let Some(length) = length.filter(|_| frames[at] == COPY_DATA) else {
                return Err(DecodeError::OutOfPlace {
                    message: "a message",
                    place: "that is not whole CopyData, among CopyData",
                });
            };
            let frame = &frames[at..at + length];
            match ServerMessage::parse(&frame[FRAME_HEADER_BYTES..])? {
                ServerMessage::XLogData { payload, .. } => self.message(payload, frame)?,
                // Whether it counts is for the journal's owner to say.
                ServerMessage::Keepalive { .. } => {}
            }
            at += length;
        }
        Ok(())
    }

    fn message(&mut self, payload: &[u8], frame: &[u8]) -> Result<(), DecodeError> {
        let parse = || Message::parse(payload, 0, &mut Vec::new());
        match payload.first() {
            Some(tag @ (b'R' | b'Y')) => {
                let oid = payload.get(1..).and_then(|rest| rest.first_chunk::<4>());
                let oid = *oid.ok_or(DecodeError::OutOfPlace {
                    message: "a description",
                    place: "that is cut off",
                })?;
                let described = if *tag == b'R' { &mut self.tables } else { &mut self.types };
                described.insert(oid, Bytes::copy_from_slice(frame));
            }
            Some(b'B' | b'C' | b'M') => match parse()? {
                Message::Begin { commit_lsn, .. } => self.open = Some(commit_lsn),
                Message::Commit { end_lsn, .. } => {
                    self.open = None;
                    self.reach(end_lsn);
                }
                Message::Logical { transactional: false, lsn, .. } => self.reach(lsn),
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    /// Everything up to `lsn` lies before.
    pub fn reach(&mut self, lsn: Lsn) {
        self.end = Some(self.end.map_or(lsn, |end| end.max(lsn)));
    }

    /// Up to where transactions are whole.
    pub fn end(&self) -> Option<Lsn> {
        self.end
    }

    /// What opens the next segment of the connection that `opening` began.
    pub fn opened(&self, opening: &Opening) -> Opened {
        let end = self.end.unwrap_or(opening.start);
        let continued = Some(Continued { end, open: self.open });
        // A table is described by names of types.
        let frames = self.types.values().chain(self.tables.values());
        let described: Vec<u8> = frames.flatten().copied().collect();
        Opened {
            opening: Opening { continued, ..opening.clone() },
            described: described.into(),
            answers: self.answers.values().cloned().collect(),
        }
    }
}
