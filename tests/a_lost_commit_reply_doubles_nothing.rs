//! The connection to a PostgreSQL target is lost at the worst moments: when its COMMIT has landed
//! and nobody was told, when its COMMIT is still under way, and at random ones. No transaction is
//! missing or doubled.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_postgres::Client;
use walcast::sinks::PostgresSink;

use crate::support::pipeline::{Place, Running, SOON, source, start};
use crate::support::twins::{connect, rows};
use crate::support::{Load, Proxy, Server, Twins, count, every_major, seed};

/// A table without a key, where a doubled row would show, and one whose rows wait at their commit
/// until nobody holds the lock 42.
const TABLES: &str = "
    create table doubled(n int);
    create table waits(n int)";
const WAIT_AT_COMMIT: &str = "
    create function wait() returns trigger language plpgsql as
        $$ begin perform pg_advisory_xact_lock_shared(42); return null; end $$;
    create constraint trigger late after insert on waits deferrable initially deferred
        for each row execute function wait();
    alter table waits enable always trigger late";
const AT_COMMIT: &str = "exists (select from pg_stat_activity where application_name = 'walcast'
        and wait_event_type = 'Lock' and wait_event = 'advisory')";

/// A pipeline that reaches its target through a proxy.
struct Link {
    twins: Twins,
    proxy: Proxy,
    running: Running,
    holder: Client,
    place: Place,
}

impl Link {
    async fn start_on(server: &Server) -> Link {
        let twins = Twins::start_on(server);
        twins.both(TABLES);
        twins.target.sql(WAIT_AT_COMMIT);
        twins.source.sql("create publication p for all tables");
        let proxy = Proxy::to(twins.target.port());
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres", proxy.port());
        let place = Place::new();
        let pipeline = place.pipeline(source(&twins.source.url()));
        let sink = PostgresSink::new(connect(&url));
        let running = start(pipeline.sink("replica", sink).unwrap());
        running.streams().await;
        let holder = twins.target.client().await;
        Link { twins, proxy, running, holder, place }
    }

    /// Has a transaction applied up to its COMMIT, which waits.
    async fn reach_commit(&self, n: u32) {
        self.holder.batch_execute("select pg_advisory_lock(42)").await.unwrap();
        self.twins.source.sql(&format!(
            "begin; insert into doubled values ({n}); insert into waits values ({n}); commit"
        ));
        self.twins.target.wait_for_sql(AT_COMMIT, SOON).await;
    }

    async fn let_go(&self) {
        self.holder.batch_execute("select pg_advisory_unlock(42)").await.unwrap();
    }

    async fn finish(self) {
        self.twins.finish(self.running).await;
        self.twins.assert_same(&["doubled", "waits"]);
        drop(self.place);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_it_landed_and_when_it_did_not() {
    for server in every_major() {
        let link = Link::start_on(&server).await;
        // It lands, and the answer is on its way when the connection goes.
        link.reach_commit(1).await;
        link.proxy.stall();
        link.let_go().await;
        let landed = "exists (select from waits where n = 1)";
        link.twins.target.wait_for_sql(landed, SOON).await;
        link.proxy.reset();
        link.proxy.flow();
        // It does not land: the session that is still at it is ended by the next one.
        link.reach_commit(2).await;
        link.proxy.reset();
        let again = format!(
            "{AT_COMMIT} and (select count(*) = 1 from pg_stat_activity
            where application_name = 'walcast')"
        );
        link.twins.target.wait_for_sql(&again, SOON).await;
        link.let_go().await;
        // The backend is killed in the middle.
        link.reach_commit(3).await;
        link.holder
            .batch_execute(
                "select pg_terminate_backend(pid) from pg_stat_activity
                    where application_name = 'walcast'",
            )
            .await
            .unwrap();
        link.let_go().await;
        link.finish().await;
    }
}

/// The target refuses a change after others of its group, and takes them once it can.
#[tokio::test(flavor = "multi_thread")]
async fn when_statements_and_savepoints_fail_before_it() {
    for server in every_major() {
        let link = Link::start_on(&server).await;
        let transaction = "begin; insert into doubled values (1); savepoint a;
            insert into doubled values (2); rollback to a; insert into doubled values (3); commit";
        link.twins.source.sql(transaction);
        link.twins.source.sql("begin; insert into doubled values (4); rollback");
        let applied = "(select array_agg(n order by n) = '{1,3}' from doubled)";
        link.twins.target.wait_for_sql(applied, SOON).await;
        // A lock that is held too long makes a statement fail, which passes.
        let place = Place::new();
        link.holder.batch_execute("begin; lock table doubled").await.unwrap();
        link.twins.source.sql("insert into doubled values (5)");
        let waiting = "exists (select from pg_stat_activity where application_name = 'walcast'
            and wait_event_type = 'Lock')";
        link.twins.target.wait_for_sql(waiting, SOON).await;
        let cancel = "select pg_cancel_backend(pid) from pg_stat_activity
            where application_name = 'walcast'";
        link.holder.batch_execute(cancel).await.unwrap();
        link.holder.batch_execute("commit").await.unwrap();
        drop(place);
        assert_eq!(rows(&link.twins.source, "doubled").len(), 3);
        link.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_it_is_cut_at_any_moment() {
    let mut random = StdRng::seed_from_u64(seed());
    let link = Link::start_on(&Server::wanted().unwrap()).await;
    let load = Load::on(&link.twins.source)
        .clients(3)
        .rate(300)
        .seconds(3600)
        .script("insert into doubled values (:client_id);")
        .start();
    for _ in 0..count(200) {
        tokio::time::sleep(Duration::from_millis(random.random_range(1..120))).await;
        match random.random_range(0..3) {
            0 => link.proxy.cut(),
            _ => link.proxy.reset(),
        }
    }
    load.stop();
    link.finish().await;
}
