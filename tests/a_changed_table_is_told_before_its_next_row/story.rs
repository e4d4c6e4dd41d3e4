//! What happens to a table, and what is to be told of it.

use serde_json::Value;

use crate::support::Primary;

/// The last row, which ends a reading.
pub(super) const LAST: &str = "the last row";

/// One change of a table; `{}` stands for its name with the schema, `{s}` for its schema.
#[derive(Debug)]
pub(super) struct Step {
    /// What is done.
    sql: &'static str,
    /// What the table is called from then on.
    table: &'static str,
    /// What is told of columns and key, before the next row; nothing where nothing can be seen.
    told: Option<&'static str>,
    /// The same where the catalogue is asked while it still agrees, and so tells more.
    in_time: Option<&'static str>,
}

/// When the table's rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Before the table changes again.
    InTime,
    /// Afterwards.
    Late,
}

const fn step(sql: &'static str, told: &'static str) -> Step {
    Step { sql, table: "t", told: Some(told), in_time: Some(told) }
}

const fn known(sql: &'static str, told: Option<&'static str>, in_time: &'static str) -> Step {
    Step { sql, table: "t", told, in_time: Some(in_time) }
}

/// The table starts as `t (id int primary key, note text)`.
pub(super) const STEPS: [Step; 21] = [
    step("alter table {} add column extra int default 7", "+extra - ~"),
    known("alter table {} rename note to remark", Some("+remark -note ~"), "+ - ~ note>remark"),
    step("alter table {} alter extra type text using extra || '!'", "+ - ~extra"),
    step("alter table {} alter extra type varchar(20)", "+ - ~extra"),
    step("alter table {} alter extra type varchar(30)", "+ - ~extra"),
    step("alter table {} alter id type bigint", "+ - ~id"),
    step("alter table {} drop remark, add remark text default 'new'", "+remark -remark ~"),
    known(
        "alter table {} drop remark, add remark int default 1",
        Some("+ - ~remark"),
        "+remark -remark ~",
    ),
    known("alter table {} drop remark, add remark int default 2", None, "+remark -remark ~"),
    step("alter table {} drop extra", "+ -extra ~"),
    step("alter table {} drop remark, add much numeric(10,2) default 1", "+much -remark ~"),
    Step {
        sql: "alter table {} rename to u",
        table: "u",
        told: Some("+ - ~"),
        in_time: Some("+ - ~"),
    },
    Step {
        sql: "alter table {s}.u rename to t; alter table {} drop much",
        table: "t",
        told: Some("+ -much ~"),
        in_time: Some("+ -much ~"),
    },
    step(
        "drop table {}; create table {}(id int primary key, other int not null default 3)",
        "+other - ~id recreated",
    ),
    step(
        "drop table {}; create table {}(id int primary key, other int default 3)",
        "+ - ~ recreated",
    ),
    step("alter table {} drop constraint t_pkey, add primary key (id, other)", "+ - ~ key"),
    known("alter table {} replica identity full", Some("+ - ~ key"), "+ - ~"),
    step(
        "alter table {} replica identity default, drop other, add primary key (id)",
        "+ -other ~ key",
    ),
    // Nothing that a row shows: no change of shape.
    Step {
        sql: "alter table {} alter id set statistics 100",
        table: "t",
        told: None,
        in_time: None,
    },
    Step {
        sql: "create index on {}(id); comment on table {} is 'same'",
        table: "t",
        told: None,
        in_time: None,
    },
    step("alter table {} add column a int, add column b int, add column c int", "+a,b,c - ~"),
];

/// A table's way through [`STEPS`].
pub(super) struct Story {
    schema: &'static str,
    table: &'static str,
    rows: usize,
}

pub(super) fn tables(primary: &Primary) {
    primary.sql(
        "create table written(row jsonb);
         create table filler(id int, note text);
         create schema within;
         create table t(id int primary key, note text);
         create table within.t(id int primary key, note text);
         create publication p for all tables",
    );
}

impl Story {
    pub(super) fn new(schema: &'static str) -> Self {
        Self { schema, table: "t", rows: 0 }
    }

    /// A row, and what the server says of it.
    fn row(&mut self) -> String {
        self.rows += 1;
        let (Self { schema, table, rows }, filler) = (&self, self.rows * 1000);
        format!(
            "insert into filler select g, repeat('x', 200)
                from generate_series({filler}, {filler} + 300) g;
             insert into {schema}.{table}(id) values ({rows});
             insert into written select to_jsonb(x) from {schema}.{table} x where id = {rows};"
        )
    }

    pub(super) fn first_row(&mut self) -> String {
        self.row()
    }

    /// What changes the table, and a row after it.
    pub(super) fn step(&mut self, step: &Step) -> (String, String) {
        let before = format!("{}.{}", self.schema, self.table);
        let change = step.sql.replace("{}", &before).replace("{s}", self.schema);
        let change = if step.table == self.table {
            change
        } else {
            step.sql.replace("{}", &format!("{}.t", self.schema)).replace("{s}", self.schema)
        };
        self.table = step.table;
        (change, self.row())
    }

    /// What is told of the step that was made last.
    pub(super) fn told(&self, step: &Step, reading: Reading) -> Option<String> {
        let (schema, now) = (self.schema, step.table);
        let renames = step.sql.contains("rename to");
        let before = match now {
            "u" => "t",
            _ if renames => "u",
            _ => now,
        };
        let told = if reading == Reading::InTime { step.in_time } else { step.told };
        told.map(|told| format!("{schema}.{before}->{schema}.{now} {told}"))
    }
}

/// Each statement in a transaction of its own.
pub(super) fn between_transactions(primary: &Primary) -> Vec<String> {
    let mut story = Story::new("public");
    primary.sql(&story.first_row());
    let mut told = Vec::new();
    for step in &STEPS {
        let (change, row) = story.step(step);
        primary.sql(&change);
        primary.sql(&row);
        told.extend(story.told(step, Reading::Late));
    }
    told
}

/// All of it in one transaction, larger than what the server decodes in memory.
pub(super) fn in_one_transaction(primary: &Primary) -> Vec<String> {
    let mut story = Story::new("within");
    let mut script = format!("begin; {}", story.first_row());
    let mut told = Vec::new();
    for step in &STEPS {
        let (change, row) = story.step(step);
        script += &format!("{change}; {row}");
        told.extend(story.told(step, Reading::Late));
    }
    primary.sql(&(script + "commit"));
    told
}

/// Changes that are rolled back with the rows that had them: nothing is told of any.
pub(super) fn rolled_back(primary: &Primary) {
    let mut story = Story { schema: "public", table: "t", rows: 100 };
    let more = "alter table t add column gone int default 1, drop column b";
    let mut script = format!("begin; {}", story.row());
    for _ in 0..2 {
        script += &format!("savepoint s; {more}; {}", story.row());
        script += &format!("rollback to s; {}", story.row());
    }
    primary.sql(&(script + "commit"));
    primary.sql(&format!("begin; {more}; {} rollback", story.row()));
    primary.sql(&story.row());
}

/// A change of shape in one line.
pub(super) fn change_of(event: &Value) -> String {
    let names = |list: &str| {
        let names = event[list].as_array().unwrap().iter();
        names.map(|name| name.as_str().unwrap()).collect::<Vec<_>>().join(",")
    };
    let table = |shape: &Value| {
        [&shape["schema"], &shape["table"]].map(|name| name.as_str().unwrap()).join(".")
    };
    let (old, new) = (&event["old"], &event["new"]);
    assert_eq!((&event["schema"], &event["table"]), (&new["schema"], &new["table"]));
    let (added, dropped, retyped) = (names("added"), names("dropped"), names("retyped"));
    let mut text = format!("{}->{} +{added} -{dropped} ~{retyped}", table(old), table(new));
    if !event["key"].is_null() {
        text += " key";
    }
    if event["recreated"] == true {
        text += " recreated";
    }
    for renamed in event["renamed"].as_array().unwrap() {
        let [old, new] = ["old", "new"].map(|name| renamed[name].as_str().unwrap());
        text += &format!(" {old}>{new}");
    }
    text
}
