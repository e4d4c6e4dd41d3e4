//! Batches for the tests of the formats, from frames as a server sends them.

use std::sync::Arc;

use crate::event::{Batch, Column, Lease, Oid, Relation, ReplicaIdentity, Value};
use crate::lineage::Lineage;
use crate::lsn::Lsn;
use crate::name::{ServerIdentity, SystemId, Timeline};
use crate::session::{Assembler, AssemblerOptions, HandedOut};
use crate::testing::Frames;

pub(super) const TABLE: Oid = Oid::new(9);

/// A table `pub"lic.orders` with columns of (name, type, whether it identifies a row).
pub(super) fn relation(identity: ReplicaIdentity, columns: &[(&str, u32, bool)]) -> Relation {
    let column = |&(name, type_oid, in_identity): &(&str, u32, bool)| Column {
        name: name.to_owned(),
        type_oid: Oid::new(type_oid),
        type_name: None,
        type_modifier: -1,
        in_identity,
    };
    Relation {
        oid: TABLE,
        schema: "pub\"lic".to_owned(),
        name: "orders".to_owned(),
        replica_identity: identity,
        columns: columns.iter().map(column).collect(),
        catalog: None,
    }
}

/// `(id int4, note text)`, identified by `id`.
pub(super) fn orders(identity: ReplicaIdentity) -> Relation {
    relation(identity, &[("id", 23, true), ("note", 25, identity == ReplicaIdentity::Full)])
}

pub(super) fn text(text: &str) -> Value<'_> {
    Value::Text(text.as_bytes())
}

/// What the frames make, on cluster 7, whose timeline 2 begins at 0/50.
pub(super) fn batch(frames: &mut Frames) -> Batch {
    let identity = ServerIdentity { system_id: SystemId::new(7), timeline: Timeline::new(2) };
    let history = "1\t0/50\tno reason\n";
    let lineage = Arc::new(Lineage::parse(identity, history).unwrap());
    let handed = HandedOut { end: Lsn::new(0), partial: None };
    let mut assembler = Assembler::new(lineage, handed, AssemblerOptions::everything());
    assembler.push(frames.chunk()).unwrap();
    assembler.take(|_| Lease::free()).unwrap()
}
