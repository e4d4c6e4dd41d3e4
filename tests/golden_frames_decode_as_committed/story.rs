//! The small workloads whose frames are kept: each kind of message that a server sends, in a few
//! rows, the same on every major version.

use tokio_postgres::Client;

use crate::support::{Primary, PrimaryBuilder, Server};

/// The last row of every story.
pub(super) const LAST: &str = "the last row";

/// A server that streams what exceeds 64 kB and prepares transactions.
pub(super) fn primary_on(server: Server) -> Primary {
    let builder: PrimaryBuilder = Primary::builder()
        .setting("logical_decoding_work_mem", "64kB")
        .setting("max_prepared_transactions", "10");
    let primary = builder.start_on(server);
    primary.sql(TABLES);
    if primary.major() >= 15 {
        primary
            .sql("create publication filtered for table item (id, note) where (id > 10), marker");
    }
    if primary.major() >= 18 {
        primary.sql(
            "create table made(id int primary key, doubled int generated always as (id * 2) stored);
             create publication generated for table made, marker
                with (publish_generated_columns = stored)",
        );
        primary.sql(include_str!("../../benches/workloads/w1.sql"));
        primary.sql("create publication bench for table w1, marker");
    }
    primary
}

/// `EXTERNAL` storage keeps a value out of the row without compressing it first, so that it goes
/// unsent where it does not change.
const TABLES: &str = "
    create table item(id int primary key, note text, amount numeric(12,2), doc jsonb,
        at timestamptz, tags text[]);
    create table plain_types(id int primary key, b bool, s int2, l int8, f float4, d float8,
        c bpchar(4), v varchar(9), n name, y bytea, day date, t time, tz timetz, ts timestamp,
        i interval, u uuid, j json, o oid, deep int[]);
    create table wide(id int primary key, body text, n int);
    alter table wide alter body set storage external;
    create table whole(id int primary key, body text, n int);
    alter table whole alter body set storage external;
    alter table whole replica identity full;
    create table coded(code text not null, n int);
    alter table coded alter code set storage external;
    create unique index coded_code on coded(code);
    alter table coded replica identity using index coded_code;
    create table parted(id int primary key, note text) partition by range (id);
    create table parted_low partition of parted for values from (0) to (100);
    create table parted_high partition of parted for values from (100) to (200);
    create table late(id int primary key, note text);
    create table touched(id int primary key, note text);
    create table marker(id int primary key, note text);
    create type mood as enum ('calm', 'wild');
    create domain score as int check (value >= 0);
    create table moods(id int primary key, mood mood, score score);
    create table others(id int primary key, p point, ip inet, bits varbit, r int4range, m money,
        words tsvector, moods mood[]);
    create table filler(body text);
    create publication everything for table item, plain_types, wide, whole, coded, parted, late,
        touched, marker, moods, others with (publish_via_partition_root = true);
    create publication plain for table item, plain_types, wide, whole, coded, parted, late,
        touched, marker with (publish_via_partition_root = true)";

/// Tables of `everything` that are not in `plain`; each is touched in transactions of its own.
pub(super) const NOT_PLAIN: [&str; 2] = ["moods", "others"];

async fn run(client: &Client, script: &str) {
    let done = client.batch_execute(script).await;
    done.unwrap_or_else(|error| panic!("{script}: {:?}", error.as_db_error()));
}

pub(super) async fn last(client: &Client, id: u32) {
    run(client, &format!("insert into marker values ({id}, '{LAST}')")).await;
}

/// Every kind of change, none of it large.
pub(super) async fn changes(primary: &Primary) {
    let client = &primary.client().await;
    run(client, "set timezone to 'UTC'").await;
    for script in [
        "insert into item values
            (1, 'first', 12.50, '{\"a\": [1, null, \"x\"]}', '2026-01-02 03:04:05.678901+00', '{a,NULL,\"b c\"}'),
            (2, NULL, NULL, NULL, 'infinity', '{}'), (3, '', 'NaN', '\"\\u00e9\"', '-infinity', NULL)",
        "insert into plain_types values (1, true, -32768, 9223372036854775807, 1.5, 1e300, 'ab',
            'var', 'name', '\\x00ff10', '2026-02-03', '04:05:06.7', '04:05:06.7+02',
            '2026-02-03 04:05:06',
            '1 year 2 mons -3 days 04:05:06.7', '01234567-89ab-cdef-0123-456789abcdef',
            '{\"k\" : 1}', 4294967295, '[2:3][1:2]={{1,NULL},{3,4}}')",
        "begin; update item set note = 'changed' where id = 1;
            update item set id = 20 where id = 2; delete from item where id = 3; commit",
        "begin; insert into wide values (1, repeat('w', 2100), 1);
            update wide set n = 2; update wide set id = 5; update wide set body = 'short';
            delete from wide; commit",
        "begin; insert into whole values (1, repeat('f', 2100), 1); update whole set n = 2;
            delete from whole; commit",
        "begin; insert into coded values (repeat('k', 2100), 1), ('c', 2);
            update coded set n = n + 10; update coded set code = 'd' where code = 'c';
            delete from coded; commit",
        "begin; insert into parted values (1, 'low'), (101, 'high');
            update parted set id = 102 where id = 1; delete from parted where id = 101; commit",
        "insert into moods values (1, 'calm', 7), (2, NULL, NULL)",
        "insert into others values (1, '(1,2)', '10.0.0.1/8', B'1011', '[1,5)', '12.34',
            'fat:2 cat:3', '{calm,wild}')",
        "begin; insert into late values (1, 'kept'); savepoint a;
            insert into late values (2, 'gone'); rollback to a;
            insert into late values (3, 'kept'); commit",
        "begin; insert into late values (4, 'rolled back'); rollback",
        "select pg_logical_emit_message(false, 'audit', 'of no transaction')",
        "begin; select pg_logical_emit_message(true, 'outbox', '\\x00ff'::bytea);
            insert into late values (5, 'beside a message'); commit",
        "begin; insert into late values (6, 'before'); alter table late add extra int default 7;
            update late set note = 'after' where id = 6; commit",
        "alter table late drop extra",
        "insert into late values (7, 'as before')",
        "begin; truncate item, plain_types restart identity cascade; truncate parted; commit",
    ] {
        run(client, script).await;
    }
    origin(client, "insert into late values (8, 'from elsewhere')").await;
    last(client, 1).await;
}

/// What another node is said to have written.
async fn origin(client: &Client, script: &str) {
    // The origin has to exist before the transaction that names it.
    run(
        client,
        "select pg_replication_origin_create('elsewhere') where not exists
            (select from pg_replication_origin where roname = 'elsewhere')",
    )
    .await;
    run(client, "select pg_replication_origin_session_setup('elsewhere')").await;
    let script = format!(
        "begin; select pg_replication_origin_xact_setup('0/ABCD', '2026-01-01 00:00:00+00');
         {script}; commit; select pg_replication_origin_session_reset()"
    );
    run(client, &script).await;
}

/// More than 64 kB in a table that is not published: what came before it is streamed, and little
/// goes over the wire.
const FILL: &str =
    "insert into filler select repeat(md5(g::text), 32) from generate_series(1, 70) g";

fn rows(table: &str, from: i32, to: i32) -> String {
    format!("insert into {table} select g, 'row ' || g from generate_series({from}, {to}) g")
}

/// Transactions that are sent while they run.
pub(super) async fn streamed(primary: &Primary) {
    let client = &primary.client().await;
    run(
        client,
        &format!(
            "begin; {}; {FILL}; savepoint a; {}; {FILL}; rollback to a; {}; commit",
            rows("late", 101, 105),
            rows("late", 106, 109),
            rows("late", 106, 107)
        ),
    )
    .await;
    nested(client).await;
    interleaved(primary).await;
    first_touch(client).await;
    everything(client).await;
    let moods = "insert into moods select g, 'wild', g from generate_series(11, 13) g";
    run(client, &format!("begin; {moods}; {FILL}; update moods set mood = 'calm'; commit")).await;
    origin(client, &format!("{}; {FILL}; {}", rows("late", 201, 202), rows("late", 203, 204)))
        .await;
    last(client, 2).await;
}

/// Subtransactions in subtransactions, every other one rolled back after it was streamed.
async fn nested(client: &Client) {
    let script = format!(
        "begin; savepoint a; {}; savepoint b; {}; {FILL}; savepoint c; {}; {FILL};
         rollback to b; {}; release a; savepoint d; {}; {FILL}; rollback to d; {}; commit",
        rows("late", 301, 302),
        rows("late", 303, 304),
        rows("late", 305, 306),
        rows("late", 307, 308),
        rows("late", 309, 310),
        rows("late", 311, 312)
    );
    run(client, &script).await;
}

/// Three at once, one rolled back, and a small one that commits in between.
async fn interleaved(primary: &Primary) {
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(primary.client().await);
    }
    for client in &clients {
        run(client, "begin").await;
    }
    for round in 0..2 {
        for (at, client) in clients.iter().enumerate() {
            let from = 1000 * (at as i32 + 1) + 100 * round;
            let inner = format!(
                "savepoint s; {}; {FILL}; rollback to s",
                rows("late", from + 50, from + 52)
            );
            run(client, &format!("{}; {FILL}; {inner}", rows("late", from, from + 2))).await;
        }
        let small = primary.client().await;
        run(&small, &format!("insert into late values ({}, 'small')", 500 + round)).await;
    }
    for (at, end) in [(2, "commit"), (1, "rollback"), (0, "commit")] {
        run(&clients[at], end).await;
    }
}

/// A table that is touched for the first time in what is rolled back.
async fn first_touch(client: &Client) {
    let script = format!(
        "begin; {}; {FILL}; savepoint a; {}; {FILL}; rollback to a; {}; commit",
        rows("late", 4000, 4001),
        rows("touched", 1, 4),
        rows("touched", 1, 2)
    );
    run(client, &script).await;
    run(client, "insert into touched values (6, 'later')").await;
}

/// Every kind of change in one transaction, with DDL and messages in between.
async fn everything(client: &Client) {
    let script = format!(
        "begin; {};
         select pg_logical_emit_message(false, 'audit', 'not of the transaction');
         select pg_logical_emit_message(true, 'outbox', 'in a block');
         insert into wide values (2, repeat('w', 2100), 1); {FILL};
         update wide set n = 2; insert into whole values (2, repeat('f', 2100), 1);
         update whole set n = 2; alter table late add column extra int default 7; {FILL};
         update late set note = 'with extra' where id = 5000;
         delete from late where id = 5001; delete from wide; delete from whole;
         savepoint b; {}; release b; truncate touched; {FILL};
         select pg_logical_emit_message(true, 'outbox', 'the last'); commit",
        rows("late", 5000, 5002),
        rows("touched", 50, 51)
    );
    run(client, &script).await;
}

/// Transactions that are prepared first: committed, rolled back, and streamed. A large one that is
/// rolled back is not among them: PostgreSQL 18 leaves its changes out where it knows in time.
pub(super) async fn prepared(primary: &Primary) {
    let client = &primary.client().await;
    for script in [
        "begin; insert into touched values (60, 'one'); prepare transaction 'one'".to_owned(),
        "insert into touched values (61, 'between')".to_owned(),
        "commit prepared 'one'".to_owned(),
        "begin; insert into touched values (62, 'two'); prepare transaction 'it''s two'".to_owned(),
        "rollback prepared 'it''s two'".to_owned(),
        format!(
            "begin; {}; {FILL}; savepoint a; {}; {FILL}; rollback to a; {};
             prepare transaction 'large'",
            rows("touched", 70, 72),
            rows("touched", 80, 82),
            rows("touched", 90, 92)
        ),
        "insert into touched values (63, 'between')".to_owned(),
        "commit prepared 'large'".to_owned(),
    ] {
        run(client, &script).await;
    }
    last(client, 3).await;
}

/// A column list and a row filter: updates that cross the filter become inserts and deletes.
pub(super) async fn filtered(primary: &Primary) {
    let client = &primary.client().await;
    for script in [
        "insert into item(id, note, amount) values (5, 'unseen', 1), (15, 'seen', 2), (25, 'seen', 3)",
        "begin; update item set id = 16 where id = 5; update item set note = 'new' where id = 15;
            update item set id = 6 where id = 15; delete from item where id = 25; commit",
    ] {
        run(client, script).await;
    }
    last(client, 4).await;
}

/// Stored generated columns.
pub(super) async fn generated(primary: &Primary) {
    let client = &primary.client().await;
    run(client, "insert into made values (4), (5)").await;
    run(client, "update made set id = 6 where id = 5").await;
    last(client, 5).await;
}

/// The workload W1 in small: what benches measure with.
pub(super) async fn w1(primary: &Primary) {
    let client = &primary.client().await;
    for call in ["gen_ins(100, 20)", "gen_upd(30, 10)", "gen_del(10, 10, 50)"] {
        run(client, &format!("call {call}")).await;
    }
    last(client, 6).await;
}
