//! What a server does while it is read in every mode: transactions that exceed a small
//! `logical_decoding_work_mem`, rolled back in part, interleaved, with messages and DDL in them.

use tokio_postgres::Client;

use crate::support::{Primary, Server};

/// The last row, which ends a reading.
pub(crate) const LAST: &str = "the last row";

/// A server that streams whatever exceeds 64 kB.
pub(crate) fn primary() -> Primary {
    primary_on(Server::wanted().unwrap_or_else(|missing| panic!("{missing}")))
}

/// The same of these server programs.
pub(crate) fn primary_on(server: Server) -> Primary {
    let builder = Primary::builder().setting("logical_decoding_work_mem", "64kB");
    let primary = builder.start_on(server);
    primary.sql(
        "create table big(id int primary key, note text);
         create table late(id int primary key, note text);
         create table deep(id int primary key, note text);
         create table touched(id int primary key, note text);
         alter table big replica identity full;
         create type mood as enum ('calm', 'wild');
         create table moods(id int primary key, mood mood);
         create function nest(level int, from_id int) returns void language plpgsql as $$
            begin
                insert into deep values (from_id + level, repeat('d', 300));
                if level < 100 then perform nest(level + 1, from_id); end if;
                if level % 3 = 0 then raise exception 'level %', level; end if;
            exception when raise_exception then
                insert into deep values (from_id + level + 500, repeat('e', 300));
            end $$;
         create publication p for all tables;
         create publication plain for table big, late, deep, touched",
    );
    primary
}

/// Rows of about 200 bytes into `table`, so that 500 of them are streamed.
fn rows(table: &str, from: i32, count: i32) -> String {
    let to = from + count - 1;
    format!("insert into {table} select g, repeat('x', 200) from generate_series({from}, {to}) g")
}

/// 500 rows, 500 that are rolled back, 5 rows.
pub(super) async fn savepoint(client: &Client) {
    let [first, gone, kept] = [(1, 500), (501, 500), (501, 5)].map(|(f, n)| rows("big", f, n));
    let script = format!("begin; {first}; savepoint a; {gone}; rollback to a; {kept}; commit");
    client.batch_execute(&script).await.unwrap();
}

pub(crate) async fn tell(primary: &Primary) {
    let client = primary.client().await;
    savepoint(&client).await;
    nested(&client).await;
    interleaved(primary).await;
    first_touch(&client).await;
    everything(&client).await;
    origin(&client).await;
    end(&client).await;
}

pub(crate) async fn end(client: &Client) {
    let last = format!("insert into late values (1000000, '{LAST}')");
    client.batch_execute(&last).await.unwrap();
}

/// A message that is rolled back with its savepoint, once it was streamed.
pub(super) async fn messages_rolled_back(client: &Client) {
    let script = format!(
        "begin; {};
         select pg_logical_emit_message(true, 'outbox', 'stays');
         savepoint a;
         select pg_logical_emit_message(true, 'outbox', 'gone');
         {}; rollback to a; {}; commit",
        rows("big", 1, 500),
        rows("big", 501, 500),
        rows("big", 501, 500)
    );
    client.batch_execute(&script).await.unwrap();
}

/// Large ones with subtransactions that are rolled back before anyone reads them, and a small one
/// that commits.
pub(super) async fn rolled_back(client: &Client) {
    for _ in 0..3 {
        let [top, sub] = [(1, 500), (501, 2000)].map(|(from, count)| rows("big", from, count));
        let script = format!("begin; {top}; savepoint a; {sub}; rollback");
        client.batch_execute(&script).await.unwrap();
    }
    client.batch_execute(&rows("big", 1, 5)).await.unwrap();
}

/// A thousand exception blocks, a hundred deep, and a thousand beside each other.
async fn nested(client: &Client) {
    let script = "begin;
        select nest(1, from_id * 1000) from generate_series(1, 10) from_id;
        do $$ begin for i in 100001..101000 loop
            begin
                insert into deep values (i, repeat('f', 300));
                if i % 2 = 0 then raise exception 'no'; end if;
            exception when raise_exception then null;
            end;
        end loop; end $$;
        commit";
    client.batch_execute(script).await.unwrap();
}

/// How many exception blocks [`nested_deeply`] has inside each other.
pub(super) const DEPTH: i64 = 1000;

/// A server whose stack is large enough for [`nested_deeply`].
pub(super) fn deep_primary_on(server: Server) -> Primary {
    let builder = Primary::builder().setting("logical_decoding_work_mem", "64kB");
    let primary = builder.setting("max_stack_depth", "7MB").start_on(server);
    primary.sql(
        "create table deep(id int primary key, note text);
         create table late(id int primary key, note text);
         create function nest(level int, depth int) returns void language plpgsql as $$
            begin
                insert into deep values (level, repeat('d', 300));
                begin
                    insert into deep values (level + 2000, repeat('e', 300));
                    if level % 3 = 0 then raise exception 'beside'; end if;
                exception when raise_exception then null;
                end;
                if level < depth then perform nest(level + 1, depth); end if;
                if level = 700 then raise exception 'all from here on'; end if;
            exception when raise_exception then
                insert into deep values (level + 4000, 'handled');
            end $$;
         create publication p for all tables",
    );
    primary
}

/// Exception blocks inside each other, the innermost of which are rolled back by one of them; and
/// what is left of them, in order.
pub(super) async fn nested_deeply(client: &Client) -> Vec<i64> {
    client.batch_execute(&format!("select nest(1, {DEPTH})")).await.unwrap();
    end(client).await;
    let levels = (1..700).flat_map(|level| match level % 3 {
        0 => vec![level],
        _ => vec![level, level + 2000],
    });
    levels.chain([4700]).collect()
}

/// Four at once; one of them is rolled back, and small ones commit in between.
async fn interleaved(primary: &Primary) {
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(primary.client().await);
    }
    let small = primary.client().await;
    for client in &clients {
        client.batch_execute("begin").await.unwrap();
    }
    for round in 0..3 {
        for (at, client) in clients.iter().enumerate() {
            let from = 10_000 * (at as i32 + 1) + 1000 * round;
            let inner = format!("savepoint s; {}; rollback to s", rows("big", from + 500, 400));
            let script = format!("{}; {inner}", rows("big", from, 400));
            client.batch_execute(&script).await.unwrap();
        }
        let row = format!("insert into late values ({}, 'small')", 2000 + round);
        small.batch_execute(&row).await.unwrap();
    }
    for (at, end) in [(2, "commit"), (1, "rollback"), (0, "commit"), (3, "commit")] {
        clients[at].batch_execute(end).await.unwrap();
    }
}

/// A table that is touched for the first time in what is rolled back.
async fn first_touch(client: &Client) {
    let (gone, kept) = (rows("touched", 1, 500), rows("touched", 1, 5));
    let big = rows("big", 60_000, 500);
    let script = format!("begin; {big}; savepoint a; {gone}; rollback to a; {kept}; commit");
    client.batch_execute(&script).await.unwrap();
    client.batch_execute("insert into touched values (6, 'later')").await.unwrap();
}

/// Every kind of change in one transaction, with DDL and messages in between.
async fn everything(client: &Client) {
    let (first, more) = (rows("big", 70_000, 500), rows("big", 80_000, 500));
    let script = format!(
        "begin; {first};
         select pg_logical_emit_message(false, 'audit', 'not of the transaction');
         savepoint a; {more};
         update big set note = 'gone' where id < 71000; rollback to a;
         select pg_logical_emit_message(true, 'outbox', 'first ' || repeat('m', 500));
         insert into moods values (1, 'wild');
         alter table big add column extra int default 7;
         update big set note = note || 'y' where id between 70000 and 70400;
         alter type mood rename value 'calm' to 'quiet';
         insert into moods values (2, 'quiet');
         delete from big where id between 70100 and 70300;
         savepoint b; insert into late select g, 'b' from generate_series(5000, 5500) g; release b;
         truncate late, moods;
         {more};
         select pg_logical_emit_message(true, 'outbox', 'last');
         commit"
    );
    client.batch_execute(&script).await.unwrap();
}

/// What another node is said to have written.
async fn origin(client: &Client) {
    // The origin has to exist before the transaction that names it.
    for call in ["create", "session_setup"] {
        let call = format!("select pg_replication_origin_{call}('elsewhere')");
        client.batch_execute(&call).await.unwrap();
    }
    let script = format!(
        "begin; {}; savepoint a; {}; rollback to a; {}; commit;
         select pg_replication_origin_session_reset()",
        rows("late", 100_000, 500),
        rows("late", 110_000, 500),
        rows("late", 120_000, 5)
    );
    client.batch_execute(&script).await.unwrap();
}
