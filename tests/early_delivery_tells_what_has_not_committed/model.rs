//! A reader of the native JSON that takes what has not committed: keeps it by transaction, drops
//! what is void, and has it at the commit.

use std::collections::BTreeMap;

use serde_json::Value;

/// What of an event is the same whether it is told early or not.
const ESSENCE: [&str; 14] = [
    "op",
    "schema",
    "table",
    "key",
    "old",
    "new",
    "unchanged",
    "prefix",
    "content",
    "cascade",
    "restart_identity",
    "lsn",
    "xid",
    "origin",
];

#[derive(Debug, Default)]
pub(super) struct Model {
    /// By transaction: the subtransaction and the event.
    pub(super) open: BTreeMap<u64, Vec<(u64, Value)>>,
    /// By commit LSN, in the order they came; a message of no transaction by itself.
    pub(super) committed: Vec<(Value, Vec<Value>)>,
    /// The commit LSNs of those that were told early.
    pub(super) told_early: Vec<Value>,
    /// What was void: transaction and subtransaction.
    pub(super) aborts: Vec<(u64, u64)>,
    /// The most transactions that were open at once.
    pub(super) most_open: usize,
}

impl Model {
    pub(super) fn of(lines: &str) -> Model {
        let mut model = Model::default();
        lines.lines().for_each(|line| model.line(line));
        model
    }

    pub(super) fn line(&mut self, line: &str) {
        let event: Value = serde_json::from_str(line).unwrap();
        let id = |name: &str| event[name].as_u64().unwrap_or_else(|| panic!("no {name}: {line}"));
        if event.get("committed").is_none() {
            return self.committed(&event);
        }
        assert!(event.get("id").is_none() && event.get("seq").is_none(), "{line}");
        match event["op"].as_str().unwrap() {
            "abort" => {
                let (xid, subxid) = (id("xid"), id("subxid"));
                let open = self.open.get_mut(&xid).unwrap_or_else(|| panic!("not open: {line}"));
                open.retain(|(of, _)| *of != subxid);
                if xid == subxid {
                    self.open.remove(&xid);
                }
                self.aborts.push((xid, subxid));
            }
            "commit" => {
                let rows = self.open.remove(&id("xid")).expect(line).into_iter();
                let rows = rows.map(|(_, event)| essence(&event)).collect();
                self.told_early.push(event["commit_lsn"].clone());
                self.committed.push((event["commit_lsn"].clone(), rows));
            }
            _ => {
                let open = self.open.entry(id("xid")).or_default();
                let before = open.last().map_or(0, |(_, last)| last["ordinal"].as_u64().unwrap());
                assert!(id("ordinal") > before, "{line} after {before}");
                open.push((id("subxid"), event));
                self.most_open = self.most_open.max(self.open.len());
            }
        }
    }

    fn committed(&mut self, event: &Value) {
        if event["op"] == "schema" {
            return;
        }
        let at = &event["commit_lsn"];
        let goes_on = self.committed.last().is_some_and(|(lsn, _)| lsn == at);
        if !goes_on || event["seq"] == 0 {
            self.committed.push((at.clone(), Vec::new()));
        }
        self.committed.last_mut().unwrap().1.push(essence(event));
    }

    /// How many changes are told of and not committed.
    pub(super) fn open_changes(&self) -> usize {
        self.open.values().map(Vec::len).sum()
    }

    /// Whether a row of this id has committed.
    pub(super) fn has(&self, id: i64) -> bool {
        let mut rows = self.committed.iter().rev().flat_map(|(_, rows)| rows);
        rows.any(|row| row["new"]["id"] == id)
    }

    #[track_caller]
    pub(super) fn assert_same(&self, other: &Model, what: &str) {
        let both = self.committed.iter().zip(&other.committed);
        for ((lsn, rows), (other_lsn, other_rows)) in both {
            assert_eq!(lsn, other_lsn, "{what}");
            let first = rows.iter().zip(other_rows).find(|(row, other)| row != other);
            assert!(first.is_none(), "{what}: {lsn}: {first:#?}");
            assert_eq!(rows.len(), other_rows.len(), "{what}: {lsn}");
        }
        assert_eq!(self.committed.len(), other.committed.len(), "{what}");
    }
}

fn essence(event: &Value) -> Value {
    let kept =
        ESSENCE.iter().filter_map(|name| Some(((*name).to_owned(), event.get(*name)?.clone())));
    Value::Object(kept.collect())
}
