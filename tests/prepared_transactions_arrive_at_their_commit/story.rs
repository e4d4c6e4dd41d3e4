//! What a server does while transactions are prepared, committed and rolled back on it.

use tokio_postgres::Client;

use crate::support::{Desk, Primary, Server};

/// The last row, which ends a reading.
pub(crate) const LAST: &str = "the last row";

/// A server that takes prepared transactions, and streams whatever exceeds 64 kB.
pub(crate) fn primary_on(server: Server) -> Primary {
    let builder = Primary::builder().setting("logical_decoding_work_mem", "64kB");
    let primary = builder.setting("max_prepared_transactions", "20").start_on(server);
    primary.sql(
        "create table t(id int primary key, note text);
         create table first(id int primary key, note text);
         create table other(id int primary key, note text);
         alter table other replica identity full;
         create publication p for all tables;
         create publication plain for table t, first, other",
    );
    primary
}

/// The one that tests use that need no particular major version.
pub(crate) fn primary() -> Primary {
    primary_on(Server::wanted().unwrap_or_else(|missing| panic!("{missing}")))
}

/// The program with two-phase decoding.
pub(super) fn desk(primary: &Primary) -> Desk {
    let desk = Desk::with_publication(&primary.url(), "[pipeline]\nstatus_interval = \"1s\"\n");
    let path = desk.path("walcast.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let config = config.replace("[[sink]]", "two_phase = true\n[[sink]]");
    std::fs::write(&path, config).unwrap();
    desk
}

async fn run(client: &Client, statements: &[&str]) {
    for statement in statements {
        client.batch_execute(statement).await.unwrap_or_else(|why| panic!("{statement}: {why:?}"));
    }
}

/// `count` rows from `from` in a transaction that is prepared.
pub(crate) async fn prepare(client: &Client, gid: &str, from: i32, count: i32) {
    let to = from + count - 1;
    let gid = gid.replace('\'', "''");
    let insert =
        format!("insert into t select g, repeat('x', 200) from generate_series({from}, {to}) g");
    run(client, &["begin", &insert, &format!("prepare transaction '{gid}'")]).await;
}

pub(crate) async fn end(client: &Client) {
    run(client, &[&format!("insert into t values (1000000, '{LAST}')")]).await;
}

/// Every kind of change and every end, with others in between.
pub(crate) async fn tell(primary: &Primary) {
    let client = &primary.client().await;
    small(client).await;
    large(client).await;
    descriptions(client).await;
    nothing(client).await;
    origins(client).await;
    end(client).await;
}

/// Prepared ones that commit in another order than they were prepared in, and rolled back ones.
async fn small(client: &Client) {
    run(
        client,
        &[
            "begin",
            "insert into t values (1, 'a'), (2, 'b')",
            "select pg_logical_emit_message(true, 'outbox', 'with it')",
            "select pg_logical_emit_message(false, 'outbox', 'by itself')",
            "savepoint a",
            "insert into t values (3, 'gone')",
            "rollback to a",
            "update t set note = 'c' where id = 1",
            "prepare transaction 'one'",
            "begin",
            "insert into other values (1, 'a')",
            "update other set note = 'b'",
            "prepare transaction 'two'",
            "insert into t values (4, 'between')",
            "begin",
            "insert into t values (5, 'gone')",
            "prepare transaction 'three'",
            "commit prepared 'two'",
            "rollback prepared 'three'",
            "commit prepared 'one'",
            "begin",
            "truncate other",
            "delete from t where id = 2",
            "prepare transaction 'one'",
            "commit prepared 'one'",
        ],
    )
    .await;
}

/// Some that are streamed where that is asked for, with subtransactions that are rolled back.
async fn large(client: &Client) {
    let rows = |table: &str, from: i32, count: i32, note: &str| {
        let to = from + count - 1;
        format!(
            "insert into {table} select g, '{note}' || repeat('x', 200)
             from generate_series({from}, {to}) g"
        )
    };
    run(
        client,
        &[
            "begin",
            &rows("t", 1000, 500, "a"),
            "savepoint a",
            &rows("t", 2000, 500, "gone"),
            &rows("first", 1, 500, "gone"),
            "rollback to a",
            &rows("first", 1, 5, "b"),
            "savepoint b",
            &rows("t", 3000, 5, "c"),
            "release b",
            "prepare transaction 'large'",
            "begin",
            &rows("t", 4000, 1000, "gone"),
            "prepare transaction 'rolled back'",
            "insert into first values (6, 'between')",
            "commit prepared 'large'",
            "rollback prepared 'rolled back'",
            "insert into first values (7, 'after')",
        ],
    )
    .await;
}

/// Tables that are described in what is prepared, or only before it, and change around it.
async fn descriptions(client: &Client) {
    run(
        client,
        &[
            "create table made(id int primary key, note text)",
            "create type mood as enum ('calm', 'wild')",
            "create table moods(id int primary key, mood mood)",
            "begin",
            "insert into made values (1, 'first')",
            "insert into moods values (1, 'wild')",
            "prepare transaction 'first touch'",
            "insert into made values (2, 'second')",
            "insert into moods values (2, 'calm')",
            "commit prepared 'first touch'",
            "begin",
            "insert into made values (3, 'third')",
            "alter table made add column extra int default 7",
            "insert into made values (4, 'fourth', 8)",
            "prepare transaction 'altered'",
            "begin",
            "insert into moods values (3, 'wild')",
            "prepare transaction 'known'",
            "commit prepared 'altered'",
            "insert into made values (5, 'fifth', 9)",
            "alter table made drop column note",
            "commit prepared 'known'",
            "insert into made values (6, 10)",
            "insert into moods values (4, 'calm')",
        ],
    )
    .await;
}

/// Prepared transactions without a change, which the server may tell of at their commit alone.
async fn nothing(client: &Client) {
    run(
        client,
        &[
            "begin",
            "select from t where id = 4 for update",
            "prepare transaction 'locks'",
            "begin",
            "select pg_current_xact_id()",
            "prepare transaction 'id'",
            "begin",
            "savepoint a",
            "insert into t values (7, 'gone')",
            "rollback to a",
            "prepare transaction 'rolled back inside'",
            "begin",
            "create table later(id int primary key)",
            "prepare transaction 'catalogue'",
            "begin",
            "insert into t values (8, 'gone')",
            "delete from t where id = 8",
            "update t set note = 'one' where id = 1",
            "prepare transaction 'some'",
            "commit prepared 'rolled back inside'",
            "commit prepared 'id'",
            "rollback prepared 'some'",
            "commit prepared 'locks'",
            "commit prepared 'catalogue'",
            "insert into later values (1)",
        ],
    )
    .await;
}

/// What another node is said to have written.
async fn origins(client: &Client) {
    run(
        client,
        &[
            "select pg_replication_origin_create('elsewhere')",
            "select pg_replication_origin_session_setup('elsewhere')",
            "begin",
            "insert into t values (9, 'from elsewhere')",
            "prepare transaction 'from elsewhere'",
            "commit prepared 'from elsewhere'",
            "select pg_replication_origin_session_reset()",
        ],
    )
    .await;
}
