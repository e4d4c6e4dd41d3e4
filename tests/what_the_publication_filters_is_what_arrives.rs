//! What a publication lets through is what arrives, as the server sends it: rows and columns,
//! partitions by themselves or as their root, generated columns, truncated tables. Each story is
//! read in text without streaming and in binary with it, and has to be the same both times.

use std::time::Duration;

use serde_json::Value;
use walcast::{Source, Streaming, WireFormat};

use crate::support::reading::read_until;
use crate::support::{History, Primary, Server, every_major};

/// The last row of every story, in a table that each publication has.
const LAST: &str = "the last row";

const MODES: [(Streaming, WireFormat); 2] =
    [(Streaming::Off, WireFormat::Text), (Streaming::On, WireFormat::Binary)];

/// A server of at least `major`, each with `tables` and what is published of them.
fn stages(major: u32, tables: &str) -> impl Iterator<Item = Primary> {
    let servers = every_major().into_iter().filter(move |server| server.major >= major);
    servers.map(move |server: Server| {
        let builder = Primary::builder().setting("logical_decoding_work_mem", "64kB");
        let primary = builder.start_on(server);
        primary.sql("create table done(note text primary key)");
        primary.sql(tables);
        primary
    })
}

/// Tells `story`, and reads it through each of `publications`: what came, a line per event.
async fn heard<const N: usize>(
    primary: &Primary,
    publications: [&str; N],
    story: &str,
) -> [Vec<String>; N] {
    let slot = |publication: &str, mode: usize| format!("{publication}_{mode}");
    for publication in publications {
        for mode in 0..MODES.len() {
            let slot = slot(publication, mode);
            primary
                .sql(&format!("select pg_create_logical_replication_slot('{slot}', 'pgoutput')"));
        }
    }
    let client = primary.client().await;
    // Each line by itself: statements sent together are one transaction.
    for line in story.split(";\n") {
        client.batch_execute(line).await.unwrap();
    }
    client.batch_execute(&format!("insert into done values ('{LAST}')")).await.unwrap();
    let mut all = [const { Vec::new() }; N];
    for (publication, heard) in publications.into_iter().zip(&mut all) {
        let mut readings = Vec::new();
        for (mode, (streaming, format)) in MODES.into_iter().enumerate() {
            let slot = slot(publication, mode);
            let source = Source::new(&primary.url(), &slot, [publication]).unwrap();
            let source = source.status_interval(Duration::from_secs(1));
            readings.push(read(source.streaming(streaming).format(format)).await);
        }
        let what = format!("PostgreSQL {} {publication}", primary.major());
        assert!(readings[0] == readings[1], "{what}: {readings:#?}");
        let history = History::parse(&readings[0]).unwrap_or_else(|why| panic!("{what}: {why}"));
        *heard = history.events().filter(|event| event["table"] != "done").map(said).collect();
    }
    all
}

/// Everything up to the last row, as lines of JSON.
async fn read(source: Source) -> String {
    read_until(source, LAST).await.0
}

/// `insert table new`, `update table old new`, `delete table old`, `truncate table flags`.
fn said(event: &Value) -> String {
    let parts = match event["op"].as_str().unwrap() {
        "truncate" => ["cascade", "restart_identity"]
            .into_iter()
            .filter(|flag| event[*flag] == true)
            .map(str::to_owned)
            .collect(),
        _ => ["old", "new"]
            .into_iter()
            .filter(|part| !event[*part].is_null())
            .map(|part| event[part].to_string().replace('"', ""))
            .collect::<Vec<_>>(),
    };
    let head = format!("{} {}", event["op"].as_str().unwrap(), event["table"].as_str().unwrap());
    [vec![head], parts].concat().join(" ")
}

/// An update across the bounds of a filter is sent as an insert or a delete.
#[tokio::test(flavor = "multi_thread")]
async fn rows() {
    let tables = "
        create table part(area text, id int primary key, note text);
        alter table part replica identity full;
        create publication here for table part where (area = 'here'), done;
        create publication everywhere for table part, done;
        create publication wide for table part where (id > 1000 or area = 'here'), done";
    let story = "
        insert into part values ('here', 1, 'a'), ('there', 2, 'b'), ('here', 3, 'c');
        update part set note = 'stays' where id = 1;
        update part set note = 'unseen' where id = 2;
        update part set area = 'here' where id = 2;
        update part set area = 'there' where id = 1;
        delete from part where id in (1, 2);
        begin;
        insert into part select case g % 2 when 0 then 'here' else 'there' end, g, repeat('x', 100)
            from generate_series(1001, 3000) g;
        savepoint a; update part set area = 'here' where id > 1000; rollback to a;
        update part set area = 'there' where id > 1000;
        commit;
        truncate part";
    for primary in stages(15, tables) {
        let what = format!("PostgreSQL {}", primary.major());
        let [here, everywhere, wide] = heard(&primary, ["here", "everywhere", "wide"], story).await;
        let small = [
            "insert part {area:here,id:1,note:a}",
            "insert part {area:here,id:3,note:c}",
            "update part {area:here,id:1,note:a} {area:here,id:1,note:stays}",
            "insert part {area:here,id:2,note:unseen}",
            "delete part {area:here,id:1,note:stays}",
            "delete part {area:here,id:2,note:unseen}",
        ];
        assert_eq!(here[..small.len()], small, "{what}");
        let (large, truncate) = here[small.len()..].split_at(2000);
        assert!(large[..1000].iter().all(|said| said.starts_with("insert part {area:here,")));
        assert!(large[1000..].iter().all(|said| said.starts_with("delete part {area:here,")));
        assert_eq!(truncate, ["truncate part"], "{what}");
        assert_eq!(everywhere.len(), 9 + 4000 + 1, "{what}");
        assert_eq!(wide.len(), small.len() + 4000 + 1, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns() {
    let tables = "
        create table wide(area text, id int primary key, note text, secret point);
        create table full_row(a int, b text);
        alter table full_row replica identity full;
        create publication few for table wide (note, id), full_row, done;
        create publication narrow for table wide (id, area) where (id > 1), done";
    let story = "
        insert into wide values ('here', 1, 'a', '(1,2)'), ('there', 2, 'b', '(3,4)');
        update wide set secret = '(5,6)' where id = 1;
        update wide set id = 5 where id = 2;
        insert into full_row values (1, 'x');
        update full_row set b = 'y';
        delete from wide where id = 1;
        alter table wide add column later int default 7;
        update wide set later = 8;
        alter table wide drop column secret;
        update wide set note = 'end'";
    for primary in stages(15, tables) {
        let what = format!("PostgreSQL {}", primary.major());
        let [few, narrow] = heard(&primary, ["few", "narrow"], story).await;
        assert_eq!(
            few,
            [
                "insert wide {id:1,note:a}",
                "insert wide {id:2,note:b}",
                "update wide {id:1,note:a}",
                "update wide {id:2} {id:5,note:b}",
                "insert full_row {a:1,b:x}",
                "update full_row {a:1,b:x} {a:1,b:y}",
                "delete wide {id:1}",
                "update wide {id:5,note:b}",
                "update wide {id:5,note:end}",
            ],
            "{what}"
        );
        assert_eq!(
            narrow,
            [
                "insert wide {area:there,id:2}",
                "update wide {id:2} {area:there,id:5}",
                "update wide {area:there,id:5}",
                "update wide {area:there,id:5}",
            ],
            "{what}"
        );
    }
}

/// A partition whose columns lie in another order comes in the order of the root when it is sent as
/// such.
#[tokio::test(flavor = "multi_thread")]
async fn partitions() {
    let tables = "
        create table area(area text, id int, note text, primary key (id, area))
            partition by list (area);
        create table north partition of area for values in ('north');
        create table south(gone int, note text, id int not null, area text not null);
        alter table south drop column gone;
        alter table area attach partition south for values in ('south');
        create publication roots for table area, done with (publish_via_partition_root = true);
        create publication leaves for table area, done";
    let story = "
        insert into area values ('north', 1, 'a'), ('south', 2, 'b');
        insert into south(area, id, note) values ('south', 3, 'c');
        update area set note = 'd' where id = 2;
        update area set area = 'north' where id = 3;
        delete from area where id = 1;
        begin;
        insert into area select case g % 2 when 0 then 'north' else 'south' end, g,
            repeat('x', 100)
            from generate_series(1001, 3000) g;
        commit;
        truncate south;
        truncate area";
    for primary in stages(14, tables) {
        let what = format!("PostgreSQL {}", primary.major());
        let [roots, leaves] = heard(&primary, ["roots", "leaves"], story).await;
        let from_roots = [
            "insert area {area:north,id:1,note:a}",
            "insert area {area:south,id:2,note:b}",
            "insert area {area:south,id:3,note:c}",
            "update area {area:south,id:2,note:d}",
            "delete area {area:south,id:3}",
            "insert area {area:north,id:3,note:c}",
            "delete area {area:north,id:1}",
        ];
        assert_eq!(roots[..from_roots.len()], from_roots, "{what}");
        let (large, truncates) = roots[from_roots.len()..].split_at(2000);
        assert!(large.iter().all(|said| said.starts_with("insert area {area:")), "{what}");
        // A truncated partition is nothing that its root could say.
        assert_eq!(truncates, ["truncate area"], "{what}");
        let from_leaves = [
            "insert north {area:north,id:1,note:a}",
            "insert south {area:south,id:2,note:b}",
            "insert south {area:south,id:3,note:c}",
            "update south {area:south,id:2,note:d}",
            "delete south {area:south,id:3}",
            "insert north {area:north,id:3,note:c}",
            "delete north {area:north,id:1}",
        ];
        assert_eq!(leaves[..from_leaves.len()], from_leaves, "{what}");
        let (large, truncates) = leaves[from_leaves.len()..].split_at(2000);
        assert_eq!(large.iter().filter(|said| said.starts_with("insert north")).count(), 1000);
        assert_eq!(truncates, ["truncate south", "truncate north", "truncate south"], "{what}");
    }
}

/// Stored ones are published by 18 where the publication asks for them, and as ordinary columns
/// where its column list names them; virtual ones never are.
#[tokio::test(flavor = "multi_thread")]
async fn generated_columns() {
    let tables = "
        create table made(id int primary key, n int,
            twice int generated always as (n * 2) stored);
        create publication as_ever for table made, done";
    let story = "
        insert into made values (1, 2);
        update made set n = 3;
        delete from made";
    for primary in stages(14, tables) {
        let what = format!("PostgreSQL {}", primary.major());
        let without = ["insert made {id:1,n:2}", "update made {id:1,n:3}", "delete made {id:1}"];
        if primary.major() < 18 {
            let [as_ever] = heard(&primary, ["as_ever"], story).await;
            assert_eq!(as_ever, without, "{what}");
            continue;
        }
        primary.sql(
            "alter table made add column vast int generated always as (n * 1000) virtual;
             create publication stored for table made, done
                with (publish_generated_columns = stored);
             create publication none for table made, done with (publish_generated_columns = none);
             create publication listed for table made (id, twice), done",
        );
        let [as_ever, none, stored, listed] =
            heard(&primary, ["as_ever", "none", "stored", "listed"], story).await;
        assert_eq!(as_ever, without, "{what}");
        assert_eq!(none, without, "{what}");
        assert_eq!(
            stored,
            [
                "insert made {id:1,n:2,twice:4}",
                "update made {id:1,n:3,twice:6}",
                "delete made {id:1}",
            ]
        );
        assert_eq!(
            listed,
            ["insert made {id:1,twice:4}", "update made {id:1,twice:6}", "delete made {id:1}"]
        );
    }
}

/// One event for each table of the publication, with the flags of the command.
#[tokio::test(flavor = "multi_thread")]
async fn truncated_tables() {
    let tables = "
        create table parent(id int generated always as identity primary key);
        create table child(id int primary key references parent);
        create table other(id int primary key);
        create publication p for table parent, child, other, done;
        create publication fewer for table child, done;
        create publication rows_only for table parent, child, done with (publish = 'insert')";
    let story = "
        truncate other;
        truncate other restart identity;
        truncate parent cascade;
        truncate parent, other restart identity cascade;
        begin; truncate other; rollback;
        begin; insert into other select g from generate_series(1, 3000) g; truncate other; commit;
        begin; savepoint a; truncate child; rollback to a; insert into parent default values; commit";
    for primary in stages(14, tables) {
        let what = format!("PostgreSQL {}", primary.major());
        let [all, fewer, rows_only] = heard(&primary, ["p", "fewer", "rows_only"], story).await;
        let (large, rest): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|said| said.starts_with("insert other"));
        assert_eq!(large.len(), 3000, "{what}");
        assert_eq!(
            rest,
            [
                "truncate other",
                "truncate other restart_identity",
                "truncate parent cascade",
                "truncate child cascade",
                "truncate parent cascade restart_identity",
                "truncate other cascade restart_identity",
                "truncate child cascade restart_identity",
                "truncate other",
                "insert parent {id:1}",
            ],
            "{what}"
        );
        assert_eq!(
            fewer,
            ["truncate child cascade", "truncate child cascade restart_identity"],
            "{what}"
        );
        assert_eq!(rows_only, ["insert parent {id:1}"], "{what}");
    }
}
