//! A walsender that decodes for long what nobody asked for says nothing and answers nothing, and
//! where it has no timeout, nothing makes it: its process is stopped here, which looks the same.
//! Giving it up for each such silence would begin its work again and again.

use std::time::{Duration, Instant};

use crate::support::pipeline::{Place, SOON, caught_up, source, start};
use crate::support::{History, Primary};

const SILENCE: Duration = Duration::from_secs(3);

/// The walsender of our slot.
fn walsender(primary: &Primary) -> Option<i32> {
    let pid = primary.query_one_text(
        "select active_pid from pg_replication_slots where slot_name = 's' and active",
    )?;
    Some(pid.parse().unwrap())
}

fn signal(primary: &Primary, name: &str, pid: i32) {
    primary.sql(&format!("copy (select 1) to program 'cat > /dev/null; kill -s {name} {pid}'"));
}

#[tokio::test(flavor = "multi_thread")]
async fn by_the_next_connection_longer_than_by_the_last() {
    let (primary, place) =
        (Primary::builder().setting("wal_sender_timeout", "0").start(), Place::new());
    primary.sql("create table t(id int primary key); create publication p for table t");
    let running = start(place.to_file(source(&primary.url()).silence_timeout(SILENCE)));
    running.streams().await;
    primary.sql("insert into t values (1)");
    caught_up(&primary, SOON).await;

    let first = walsender(&primary).unwrap();
    signal(&primary, "STOP", first);
    running.wait_for_status("it is given up", SOON, |status| status.reconnects > 0).await;
    // It still holds the slot, so that there is no other to be found while it sleeps.
    assert_eq!(walsender(&primary), Some(first));
    signal(&primary, "CONT", first);
    let other =
        format!("exists (select from pg_replication_slots where active and active_pid <> {first})");
    primary.wait_for_sql(&other, SOON).await;
    let (second, reconnects) = (walsender(&primary).unwrap(), running.status().await.reconnects);

    let begin = Instant::now();
    signal(&primary, "STOP", second);
    tokio::time::sleep(SILENCE * 3 / 2).await;
    signal(&primary, "CONT", second);
    let silent = begin.elapsed();
    primary.sql("insert into t values (2)");
    caught_up(&primary, SOON).await;
    if silent < SILENCE * 2 {
        assert_eq!(walsender(&primary), Some(second));
        assert_eq!(running.status().await.reconnects, reconnects);
    }
    running.drain().await.unwrap();
    let history = History::read(&place.file("out.jsonl"));
    assert_eq!(history.transactions.len(), 2);
}
