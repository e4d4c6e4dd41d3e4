//! What a JSON lines file has to be: the source's history, judged without walcast's own code.
//!
//! [`History::read`] takes the file apart and holds it to the form of a history (each change once,
//! in commit order, numbered from 1, the last of a transaction marked). [`History::fold`] replays
//! it into tables, which are then compared with the source's, and with the log that the load wrote
//! of itself.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use walcast::Lsn;

use super::primary::Primary;

/// Everything a file says, by transactions.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) transactions: Vec<Transaction>,
    /// What it says of changed shapes, each before an event of its table.
    pub(crate) schema_changes: Vec<Value>,
}

/// One transaction, or one message outside of any.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) commit_lsn: Lsn,
    pub(crate) end_lsn: Lsn,
    pub(crate) xid: Option<u64>,
    pub(crate) events: Vec<Value>,
}

/// Tables by name, rows by key; a table without a key holds its rows by themselves, counted.
pub(crate) type Tables = BTreeMap<String, BTreeMap<String, Row>>;

/// A row and how often it is there.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Row {
    pub(crate) columns: Value,
    pub(crate) copies: usize,
}

impl History {
    /// Reads the file at `path`, which ends with a whole transaction.
    #[track_caller]
    pub(crate) fn read(path: &Path) -> History {
        let text = std::fs::read_to_string(path).unwrap();
        History::parse(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
    }

    /// What is wrong with `text`, if anything.
    pub(crate) fn parse(text: &str) -> Result<History, String> {
        let mut history = History::default();
        let mut open: Option<Transaction> = None;
        let mut announced: Option<Value> = None;
        let mut ids = HashSet::new();
        if !text.is_empty() && !text.ends_with('\n') {
            return Err("it ends inside a line".into());
        }
        for (number, line) in text.lines().enumerate() {
            let at = |why: String| format!("line {}: {why}: {line:.400}", number + 1);
            let event: Value = serde_json::from_str(line).map_err(|error| at(error.to_string()))?;
            let id = event["id"].as_str().unwrap_or_default().to_owned();
            if !ids.insert(id.clone()) {
                return Err(at("its id came before".into()));
            }
            let commit_lsn = lsn(&event["commit_lsn"]).ok_or_else(|| at("no commit_lsn".into()))?;
            let free = event["seq"] == 0;
            let transaction = open.get_or_insert_with(|| Transaction {
                commit_lsn,
                end_lsn: commit_lsn,
                xid: event["xid"].as_u64(),
                events: Vec::new(),
            });
            if transaction.commit_lsn != commit_lsn {
                let was = transaction.commit_lsn;
                return Err(at(format!("transaction {was} has no last event")));
            }
            let seq = if free { 0 } else { transaction.events.len() as u64 + 1 };
            if event["seq"].as_u64() != Some(seq) {
                return Err(at(format!("seq should be {seq}")));
            }
            if event["op"] == "schema" {
                let base = id.strip_suffix(":s").filter(|_| announced.is_none());
                announced = Some(event);
                if base.is_none_or(|base| !base.ends_with(&format!(":{seq}"))) {
                    return Err(at("a change of shape out of place".into()));
                }
                continue;
            }
            if let Some(change) = announced.take() {
                if ["schema", "table", "xid"].iter().any(|it| change[*it] != event[*it]) {
                    return Err(at("a change of shape of another table came before".into()));
                }
                history.schema_changes.push(change);
            }
            let before = history.transactions.last().map(|before| before.commit_lsn);
            if before.is_some_and(|before| before >= commit_lsn) {
                return Err(at(format!("it follows commit {}", before.unwrap_or(commit_lsn))));
            }
            let last = event["last"] == true;
            let end = lsn(&event["end_lsn"]);
            if last != end.is_some() {
                return Err(at("last and end_lsn go together".into()));
            }
            transaction.events.push(event);
            if let (Some(end), Some(mut transaction)) = (end, open.take_if(|_| last)) {
                transaction.end_lsn = end;
                history.transactions.push(transaction);
            }
        }
        match open {
            None => Ok(history),
            Some(open) => Err(format!("transaction {} has no last event", open.commit_lsn)),
        }
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = &Value> {
        self.transactions.iter().flat_map(|transaction| &transaction.events)
    }

    /// Where the file stands.
    pub(crate) fn end_lsn(&self) -> Option<Lsn> {
        self.transactions.last().map(|transaction| transaction.end_lsn)
    }

    /// The tables that the changes make of nothing.
    #[track_caller]
    pub(crate) fn fold(&self) -> Tables {
        self.fold_onto(Tables::new())
    }

    /// The tables that the changes make of `tables`.
    #[track_caller]
    pub(crate) fn fold_onto(&self, mut tables: Tables) -> Tables {
        for event in self.events() {
            if let Err(why) = apply(&mut tables, event) {
                panic!("{why}: {event}");
            }
        }
        tables
    }

    /// Compares with the source: every one of `names` holds what the changes made of it.
    #[track_caller]
    pub(crate) fn assert_agrees(&self, primary: &Primary, names: &[&str]) {
        self.assert_agrees_from(Tables::new(), primary, names);
    }

    /// [`assert_agrees`](Self::assert_agrees) for tables that held something before.
    #[track_caller]
    pub(crate) fn assert_agrees_from(&self, before: Tables, primary: &Primary, names: &[&str]) {
        let mut folded = self.fold_onto(before);
        for name in names {
            let have = folded.remove(*name).unwrap_or_default();
            let want = table(primary, name);
            if have != want {
                panic!("{name} differs from the source:\n{}", differences(&have, &want));
            }
        }
    }

    /// Every transaction has as many events as it noted in `txlog` (itself included), and every
    /// transaction noted there is in the file.
    #[track_caller]
    pub(crate) fn assert_matches_log(&self, primary: &Primary) {
        let query = "select coalesce(jsonb_object_agg(xid, changes), '{}')::text from txlog";
        let log = primary.query_one_text(query).unwrap();
        let mut log: BTreeMap<String, u64> = serde_json::from_str(&log).unwrap();
        for transaction in &self.transactions {
            let noted = transaction.events.iter().find(|event| event["table"] == "txlog");
            let Some(noted) = noted else { continue };
            let (xid, changes) = (&noted["new"]["xid"], &noted["new"]["changes"]);
            // 32 bits of it are in the stream; the harness's servers never wrap them.
            assert_eq!(xid.as_u64(), transaction.xid, "{noted}");
            assert_eq!(log.remove(&xid.to_string()), changes.as_u64(), "{noted}");
            assert_eq!(changes.as_u64(), Some(transaction.events.len() as u64), "{noted}");
        }
        assert!(log.is_empty(), "transactions that never came: {log:?}");
    }
}

fn lsn(value: &Value) -> Option<Lsn> {
    value.as_str()?.parse().ok()
}

fn apply(tables: &mut Tables, event: &Value) -> Result<(), String> {
    let name = event["table"].as_str().unwrap_or_default();
    let rows = tables.entry(name.to_owned()).or_default();
    let op = event["op"].as_str().unwrap_or_default();
    let key = |row: &Value| match &event["key"] {
        Value::Null => row.to_string(),
        Value::Object(key) => {
            let columns = key.keys().map(|column| (column.clone(), row[column].clone()));
            Value::Object(columns.collect()).to_string()
        }
        other => other.to_string(),
    };
    match op {
        "message" => {}
        "truncate" => rows.clear(),
        "insert" => {
            let row = rows.entry(key(&event["new"])).or_default();
            if row.copies > 0 && !event["key"].is_null() {
                return Err("the row is there already".into());
            }
            *row = Row { columns: event["new"].clone(), copies: row.copies + 1 };
        }
        "update" => {
            let at = if event["old"].is_null() { key(&event["new"]) } else { key(&event["old"]) };
            let before = rows.remove(&at).ok_or("no such row")?;
            let mut columns = event["new"].clone();
            for column in event["unchanged"].as_array().into_iter().flatten() {
                let column = column.as_str().unwrap_or_default();
                columns[column] = before.columns[column].clone();
            }
            rows.insert(key(&columns), Row { columns, copies: 1 });
        }
        "delete" => {
            rows.remove(&key(&event["old"])).ok_or("no such row")?;
        }
        other => return Err(format!("op {other:?}")),
    }
    Ok(())
}

/// The table as the source has it.
#[track_caller]
pub(crate) fn table(primary: &Primary, name: &str) -> BTreeMap<String, Row> {
    let query = format!(
        "select coalesce(jsonb_agg(a.attname order by a.attname), '[]')::text
         from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
         where i.indrelid = '{name}'::regclass and case
            when exists (select from pg_index r where r.indrelid = i.indrelid and r.indisreplident)
            then i.indisreplident else i.indisprimary end"
    );
    let key: Vec<String> = serde_json::from_str(&primary.query_one_text(&query).unwrap()).unwrap();
    let query = format!(
        "set timezone = 'UTC'; select coalesce(jsonb_agg(to_jsonb(t)), '[]')::text from {name} t"
    );
    let rows: Vec<Value> = serde_json::from_str(&primary.query_one_text(&query).unwrap()).unwrap();
    let mut found = BTreeMap::<String, Row>::new();
    for columns in rows {
        let at = match key.as_slice() {
            [] => columns.to_string(),
            key => {
                let pairs = key.iter().map(|column| (column.clone(), columns[column].clone()));
                Value::Object(pairs.collect()).to_string()
            }
        };
        let row = found.entry(at).or_default();
        *row = Row { columns, copies: row.copies + 1 };
    }
    found
}

fn differences(have: &BTreeMap<String, Row>, want: &BTreeMap<String, Row>) -> String {
    let mut text = format!("{} rows, the source has {}\n", have.len(), want.len());
    let keys = have.keys().chain(want.keys().filter(|key| !have.contains_key(*key)));
    for key in keys.filter(|key| have.get(*key) != want.get(*key)).take(5) {
        let _ = writeln!(text, "{key}:\n  have {:?}\n  want {:?}", have.get(key), want.get(key));
    }
    text
}

#[test]
fn the_oracle_sees_what_is_wrong() {
    let line = |commit: u32, seq: u32, id: u32, last: bool| {
        let end = if last {
            format!(r#","end_lsn":"0/{:X}","last":true"#, commit + 8)
        } else {
            String::new()
        };
        format!(
            r#"{{"id":"1:1:0/{commit:X}:{seq}","op":"insert","table":"t","key":{{"id":{id}}},"old":null,"new":{{"id":{id}}},"unchanged":[],"commit_lsn":"0/{commit:X}","seq":{seq}{end},"xid":7}}"#
        ) + "\n"
    };
    let good = [line(16, 1, 1, false), line(16, 2, 2, true), line(32, 1, 3, true)];
    let history = History::parse(&good.concat()).unwrap();
    assert_eq!(history.fold()["t"].len(), 3);
    let wrong = [
        (vec![&good[0]], "no last event"),
        (vec![&good[1]], "seq should be 1"),
        (vec![&good[0], &good[0], &good[1]], "its id came before"),
        (vec![&good[2], &good[0], &good[1]], "it follows commit"),
        (vec![&good[0], &good[2]], "no last event"),
    ];
    for (lines, why) in wrong {
        let text: String = lines.into_iter().map(String::as_str).collect();
        let error = History::parse(&text).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    assert!(History::parse("{").unwrap_err().contains("inside a line"));
}
