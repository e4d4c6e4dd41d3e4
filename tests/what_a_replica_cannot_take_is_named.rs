//! What the target refuses, and who else applies to it: each has an error that names table, key and
//! position, and nothing after it is applied.

use std::time::Duration;

use walcast::net::ConnectConfig;
use walcast::sink::{OpenContext, Resume, Sink, SinkErrorKind};
use walcast::sinks::PostgresSink;
use walcast::testing::Feed;
use walcast::{ErrorKind, Lsn, SinkName, SlotName};

use crate::support::pipeline::{Place, SOON};
use crate::support::twins::{connect, rows};
use crate::support::{Primary, Twins, every_major};

/// Tells the source `then`, which the target cannot take, and answers what the pipeline says.
async fn refusal(twins: &Twins, then: &str) -> String {
    let place = Place::new();
    let running = twins.apply(&place).await;
    twins.source.sql(then);
    let error = running.end(SOON).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Sink, "{error}");
    let drop_slot = "select pg_drop_replication_slot('s')";
    twins
        .source
        .wait_for_sql("not exists (select from pg_replication_slots where active)", SOON)
        .await;
    twins.source.sql(drop_slot);
    error.to_string()
}

#[track_caller]
fn assert_names(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_tables_and_columns() {
    let twins = Twins::start();
    twins.both(
        "create table t(id int primary key, note text);
         create table good(id int primary key);
         create table view_here(id int primary key)",
    );
    twins.source.sql(
        "create table missing(id int primary key); create publication p for all tables;
         insert into t values (1, 'a'), (2, 'b')",
    );
    twins.target.sql("drop table view_here; create view view_here as select 1 as id");
    // The target has row 1, and not row 2.
    twins.target.sql("insert into t values (1, 'a')");
    let bad = [
        ("update t set note = 'c' where id = 2", vec!["update of public.t (id=2)", "found 0"]),
        ("delete from t where id = 2", vec!["delete from public.t (id=2)", "has 0 such rows"]),
        ("insert into missing values (7)", vec!["public.missing (id=7)", "no such table"]),
        ("insert into view_here values (7)", vec!["public.view_here (id=7)", "is no table"]),
    ];
    for (then, mut parts) in bad {
        let before = rows(&twins.target, "good").len();
        let transaction = format!(
            "begin; insert into good values (1 + (select count(*) from good)); {then}; commit"
        );
        let said = refusal(&twins, &transaction).await;
        parts.retain(|part| *part != "found 0");
        parts.extend(["sink replica", " at 0/", "change 2 of the transaction at 0/"]);
        assert_names(&said, &parts);
        assert_eq!(rows(&twins.target, "good").len(), before, "half of it is there: {said}");
    }
    twins.source.sql("alter table t add more int default 3");
    let said = refusal(&twins, "insert into t values (9, 'x', 4)").await;
    assert_names(&said, &["public.t (id=9)", "no column more"]);
    twins.source.sql("alter table t drop more");
    twins.target.sql("alter table t add check (note <> 'bad'), add unique (note)");
    let said = refusal(&twins, "insert into t values (10, 'bad')").await;
    assert_names(&said, &["insert into public.t (id=10)", "23514", "t_note_check"]);
    let said = refusal(&twins, "insert into t values (1000, 'a')").await;
    assert_names(&said, &["insert into public.t (id=1000)", "23505", "(note)=(a)"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_constraint_that_speaks_at_commit_names_its_transaction() {
    let twins = Twins::start();
    twins.both("create table t(id int primary key, n int)");
    twins.target.sql(
        "create function no() returns trigger language plpgsql as
            $$ begin if new.n < 0 then raise exception 'below zero'; end if; return null; end $$;
         create constraint trigger late after insert on t deferrable initially deferred
            for each row execute function no();
         alter table t enable always trigger late",
    );
    twins.source.sql("create publication p for all tables");
    let place = Place::new();
    let running = twins.apply(&place).await;
    // They come together: one transaction of the target for all three.
    twins.source.sql("insert into t values (1, 1)");
    let client = twins.source.client().await;
    client
        .batch_execute("begin; insert into t values (2, -1); commit; insert into t values (3, 3)")
        .await
        .unwrap();
    let error = running.end(SOON).await.unwrap_err().to_string();
    assert_names(&error, &["commit of the transaction at 0/", "below zero"]);
    assert_eq!(rows(&twins.target, "t"), ["(1,1)"]);
}

fn context(feed: &Feed) -> OpenContext {
    let (sink, slot) = (SinkName::new("replica").unwrap(), SlotName::new("s").unwrap());
    OpenContext::new(sink, slot, feed.lineage().clone())
}

fn target_with_t() -> (Primary, ConnectConfig) {
    let target = Primary::start();
    target.sql("create table t(id int, note text)");
    let connect = connect(&target.url());
    (target, connect)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_applier_fences_the_first() {
    let (target, connect) = target_with_t();
    let mut feed = Feed::after(Lsn::new(0));
    let context = context(&feed);
    let (mut one, mut two) = (PostgresSink::new(connect.clone()), PostgresSink::new(connect));
    assert_eq!(one.open(&context).await.unwrap(), Resume::After(Lsn::new(0)));
    let first = feed.transaction(100, &["a"]).batch();
    one.write(first).await.unwrap();
    one.flush().await.unwrap();
    // Not committed yet when the other comes.
    let second = feed.transaction(200, &["b"]).batch();
    one.write(second.clone()).await.unwrap();
    assert_eq!(two.open(&context).await.unwrap(), Resume::After(Lsn::new(108)));
    one.flush().await.unwrap_err();
    assert_eq!(one.open(&context).await.unwrap_err().kind(), SinkErrorKind::Fenced);
    two.write(second).await.unwrap();
    two.flush().await.unwrap();
    assert_eq!(rows(&target, "t").len(), 2);
    // Its own sessions do not fence each other.
    assert_eq!(two.open(&context).await.unwrap(), Resume::After(Lsn::new(208)));
    // Nor does another sink.
    let mut other = context.clone();
    other.sink = SinkName::new("other").unwrap();
    assert_eq!(one.open(&other).await.unwrap(), Resume::After(Lsn::new(0)));
    two.write(feed.transaction(300, &["c"]).batch()).await.unwrap();
    two.flush().await.unwrap();
    two.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_lost_its_client_cannot_commit_any_more() {
    let (target, connect) = target_with_t();
    let mut feed = Feed::after(Lsn::new(0));
    let context = context(&feed);
    let mut sink = PostgresSink::new(connect);
    sink.open(&context).await.unwrap();
    sink.write(feed.transaction(100, &["a"]).batch()).await.unwrap();
    sink.flush().await.unwrap();
    // What an applier without a client would do next.
    let zombie = target.client().await;
    let epoch: i64 =
        zombie.query_one("select epoch from walcast.progress", &[]).await.unwrap().get(0);
    zombie.batch_execute("begin; insert into t values (77, 'late')").await.unwrap();
    assert_eq!(sink.open(&context).await.unwrap(), Resume::After(Lsn::new(108)));
    let store = "update walcast.progress set end_lsn = '0/FFFF' where epoch = $1";
    assert_eq!(zombie.execute(store, &[&epoch]).await.unwrap(), 0);
    drop(zombie);
    // One that has stored its progress already commits first, and that is what is resumed from.
    let zombie = target.client().await;
    zombie.batch_execute("begin; update walcast.progress set end_lsn = '0/D0'").await.unwrap();
    let (opened, ()) = tokio::join!(sink.open(&context), async {
        let waits = "exists (select from pg_stat_activity where wait_event_type = 'Lock')";
        target.wait_for_sql(waits, Duration::from_secs(30)).await;
        zombie.batch_execute("commit").await.unwrap();
    });
    assert_eq!(opened.unwrap(), Resume::After(Lsn::new(0xD0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_are_missing_are_told_and_those_that_can_be_are_done_without() {
    let twins = Twins::start();
    twins.both("create table t(id int primary key, note text)");
    twins.source.sql("create publication p for all tables");
    twins.target.sql("create role plain login; grant all on t to plain");
    let as_plain = || PostgresSink::new(connect(&twins.target.url_for("plain", "", "postgres")));
    let feed = Feed::after(Lsn::new(0));
    let refused = as_plain().open(&context(&feed)).await.unwrap_err();
    assert_eq!(refused.kind(), SinkErrorKind::Fatal);
    assert_names(&refused.to_string(), &["GRANT CREATE ON DATABASE \"postgres\" TO \"plain\""]);
    twins.target.sql("grant create on database postgres to plain");
    let place = Place::new();
    let pipeline = place.pipeline(crate::support::pipeline::source(&twins.source.url()));
    let running = crate::support::pipeline::start(pipeline.sink("replica", as_plain()).unwrap());
    running.streams().await;
    twins.source.sql("insert into t values (1, 'a'); update t set note = 'b'");
    twins.finish(running).await;
    twins.assert_same(&["t"]);
}

/// What is committed carries the source's mark and time, and an origin's own progress, which moves
/// on with what is rolled back, is not touched.
#[tokio::test(flavor = "multi_thread")]
async fn commits_carry_their_origin_and_nothing_else_moves_it() {
    for server in every_major() {
        let major = server.major;
        let start = || {
            let builder = Primary::builder().setting("track_commit_timestamp", "on");
            builder.start_on(server.clone())
        };
        let twins = Twins { source: start(), target: start() };
        twins.both("create table t(id int primary key, note text)");
        twins.source.sql("create publication p for all tables");
        let place = Place::new();
        let running = twins.apply(&place).await;
        twins.source.sql("insert into t values (7, 'a')");
        twins.finish(running).await;
        let time = "select (pg_xact_commit_timestamp(xmin) at time zone 'UTC')::text from t";
        assert_eq!(twins.source.query_one_text(time), twins.target.query_one_text(time), "{major}");
        let marked = "select exists (select from pg_replication_origin o, t
            where (pg_xact_commit_timestamp_origin(t.xmin)).roident = o.roident)";
        assert_eq!(twins.target.query_one_text(marked).as_deref(), Some("t"), "{major}");
        // Sent but for its COMMIT, and rolled back with its session.
        let feed = &mut Feed::after(Lsn::new(0));
        let mut sink = twins.sink();
        sink.open(&context(feed)).await.unwrap();
        let large = "b".repeat(2 * 1024 * 1024);
        sink.write(feed.transaction(100, &[&large]).batch()).await.unwrap();
        let open = "exists (select from pg_stat_activity where state like 'idle in transaction')";
        twins.target.wait_for_sql(open, SOON).await;
        drop(sink);
        let gone = "not exists (select from pg_stat_activity where application_name = 'walcast')";
        twins.target.wait_for_sql(gone, SOON).await;
        let moved = "select count(*) from pg_replication_origin_status where remote_lsn <> '0/0'";
        assert_eq!(twins.target.query_one_text(moved).as_deref(), Some("0"), "{major}");
    }
}
