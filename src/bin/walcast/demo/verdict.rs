//! Whether anything was lost or doubled: the tables against each other, and the file against the
//! server's own list of what was committed.
//!
//! That list comes from a second slot which walcast never touches: the server decodes the same log
//! once more and says, in its own order, which rows of which tables each transaction changed.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use serde::Deserialize;
use walcast::net::SqlClient;
use walcast::{Error, Lsn};

use super::error::DemoError;
use super::pipeline::PUBLICATION;
use super::server::{run, sql_failed};
use super::shop::TABLES;

/// The slot that nobody reads until the end.
const WITNESS: &str = "witness";

/// One table on both servers.
#[derive(Debug)]
pub(super) struct TableVerdict {
    pub(super) table: &'static str,
    pub(super) source: TableSum,
    pub(super) target: TableSum,
}

/// All rows of a table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TableSum {
    pub(super) rows: i64,
    sum: String,
}

/// The file beside the server's list.
#[derive(Debug, Default)]
pub(super) struct FileVerdict {
    pub(super) changes: usize,
    pub(super) transactions: usize,
    pub(super) doubled: usize,
    pub(super) missing: usize,
    /// Changes that the server does not know.
    pub(super) unknown: usize,
    pub(super) in_order: bool,
}

impl TableVerdict {
    pub(super) fn same(&self) -> bool {
        self.source == self.target
    }
}

impl FileVerdict {
    pub(super) fn is_whole(&self) -> bool {
        self.doubled + self.missing + self.unknown == 0 && self.in_order
    }
}

/// From here on the server keeps the log for the list.
pub(super) async fn call_witness(source: &SqlClient) -> Result<(), Error> {
    let make = format!("select pg_create_logical_replication_slot('{WITNESS}', 'pgoutput')");
    run(source, &make).await
}

/// Every table, row by row, on both servers.
pub(super) async fn tables(
    source: &SqlClient,
    target: &SqlClient,
) -> Result<Vec<TableVerdict>, Error> {
    let mut verdicts = Vec::new();
    for table in TABLES {
        let (source, target) = (sum(source, table).await?, sum(target, table).await?);
        verdicts.push(TableVerdict { table, source, target });
    }
    Ok(verdicts)
}

async fn sum(sql: &SqlClient, table: &str) -> Result<TableSum, Error> {
    let query = format!(
        "select count(*), md5(string_agg(md5(t::text), '' order by md5(t::text))) from {table} t"
    );
    let row = sql.query_one(&query, &[]).await.map_err(sql_failed)?;
    Ok(TableSum { rows: row.get(0), sum: row.get::<_, Option<String>>(1).unwrap_or_default() })
}

/// A change, as both sides can name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Named {
    commit_lsn: Lsn,
    seq: u64,
    op: &'static str,
    table: String,
}

/// The lines of the file at `path` against the list of `source`.
pub(super) async fn file(source: &SqlClient, path: &Path) -> Result<FileVerdict, Error> {
    let truth = committed(source).await?;
    let (lines, ids) = written(path)?;
    let transactions: HashSet<Lsn> = truth.iter().map(|change| change.commit_lsn).collect();
    let (known, ours): (HashSet<&Named>, HashSet<&Named>) =
        (truth.iter().collect(), lines.iter().collect());
    Ok(FileVerdict {
        changes: lines.len(),
        transactions: transactions.len(),
        doubled: lines.len() - ids.len(),
        missing: known.difference(&ours).count(),
        unknown: ours.difference(&known).count(),
        in_order: lines == truth,
    })
}

/// What the server committed, in its order.
async fn committed(source: &SqlClient) -> Result<Vec<Named>, Error> {
    let names = "select oid, relname::text from pg_class where relkind = 'r'";
    let rows = source.query(names, &[]).await.map_err(sql_failed)?;
    let names: HashMap<u32, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    // The first bytes of a message say what it is: B with the commit's LSN, I, U, D with the table.
    let list = format!(
        "select substring(data from 1 for 9) from pg_logical_slot_peek_binary_changes('{WITNESS}',
           null, null, 'proto_version', '1', 'publication_names', '{PUBLICATION}')
         where get_byte(data, 0) in (ascii('B'), ascii('I'), ascii('U'), ascii('D'))"
    );
    let mut changes = Vec::new();
    let (mut commit_lsn, mut seq) = (Lsn::new(0), 0);
    for row in source.query(&list, &[]).await.map_err(sql_failed)? {
        let message: &[u8] = row.get(0);
        let op = match message.first() {
            Some(b'B') => {
                let lsn = message.get(1..9).and_then(|lsn| lsn.try_into().ok());
                commit_lsn = Lsn::new(u64::from_be_bytes(lsn.ok_or(DemoError::Truth)?));
                seq = 0;
                continue;
            }
            Some(b'I') => "insert",
            Some(b'U') => "update",
            Some(b'D') => "delete",
            _ => return Err(DemoError::Truth.into()),
        };
        seq += 1;
        let oid = message.get(1..5).and_then(|oid| oid.try_into().ok()).map(u32::from_be_bytes);
        let table = oid.and_then(|oid| names.get(&oid)).ok_or(DemoError::Truth)?.clone();
        changes.push(Named { commit_lsn, seq, op, table });
    }
    Ok(changes)
}

#[derive(Deserialize)]
struct Line {
    id: String,
    op: String,
    table: String,
    commit_lsn: Lsn,
    seq: u64,
}

/// What the file holds, in its order, and its ids.
fn written(path: &Path) -> Result<(Vec<Named>, HashSet<String>), DemoError> {
    let failed = |source| DemoError::File { operation: "read", path: path.to_owned(), source };
    let (mut changes, mut ids) = (Vec::new(), HashSet::new());
    for (index, line) in BufReader::new(File::open(path).map_err(failed)?).lines().enumerate() {
        let text = line.map_err(failed)?;
        let line: Line = serde_json::from_str(&text)
            .map_err(|source| DemoError::Line { line: index + 1, source })?;
        let op = match line.op.as_str() {
            "insert" => "insert",
            "update" => "update",
            "delete" => "delete",
            _ => "other",
        };
        let Line { id, table, commit_lsn, seq, .. } = line;
        changes.push(Named { commit_lsn, seq, op, table });
        ids.insert(id);
    }
    Ok((changes, ids))
}
