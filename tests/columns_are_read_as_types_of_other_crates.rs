//! Columns as the types that other crates have for them, by `get` and by serde, from binary and
//! from text: what PostgreSQL stored, to the last digit, or an error that names everything.

use std::net::IpAddr;
use std::time::Duration;

use futures::StreamExt;
use postgres_types::FromSql;
use rust_decimal::Decimal;
use serde::Deserialize;
use uuid::Uuid;
use walcast::event::{Batch, Event, Row};
use walcast::row::{Column, RowFault};
use walcast::{ReplicationStream, Source, WireFormat};

use crate::support::Primary;

const DEADLINE: Duration = Duration::from_secs(30);

/// Reads until a batch has a row.
async fn rows(stream: &mut ReplicationStream) -> Batch {
    loop {
        let next = tokio::time::timeout(DEADLINE, stream.next()).await;
        let batch = next.expect("changes in time").expect("the stream goes on").unwrap();
        if batch.events().any(|event| matches!(event, Event::Change(_))) {
            return batch;
        }
    }
}

fn row(batch: &Batch) -> Row<'_> {
    let row = batch.events().find_map(|event| match event {
        Event::Change(change) => change.new_row(),
        _ => None,
    });
    row.unwrap()
}

/// The row that `insert` makes, in binary and in text.
async fn each_way(tables: &str, insert: &str, check: impl Fn(Row<'_>, WireFormat)) {
    let primary = Primary::start();
    primary.sql(tables);
    primary.sql("create publication p for all tables");
    for format in [WireFormat::Binary, WireFormat::Text] {
        let source = Source::new(&primary.url(), "s", ["p"]).unwrap().create_slot(true);
        let mut stream = ReplicationStream::connect(source.format(format)).await.unwrap();
        primary.sql(insert);
        let batch = rows(&mut stream).await;
        check(row(&batch), format);
        stream.confirmer().vouch_durable(batch.end()).unwrap();
        stream.finish().await;
    }
}

#[derive(Debug, PartialEq, FromSql)]
#[postgres(name = "mood")]
enum Mood {
    #[postgres(name = "fine")]
    Fine,
    #[postgres(name = "so so")]
    SoSo,
}

#[derive(Debug, PartialEq, FromSql)]
#[postgres(name = "pair")]
struct Pair {
    price: Decimal,
    note: Option<String>,
    moods: Vec<Mood>,
}

const TABLE: &str = "
    create type mood as enum ('fine', 'so so');
    create type pair as (price numeric, note text, moods mood[]);
    create domain amount as numeric(20,4);
    create table t(d date, t time, ts timestamp, tz timestamptz, id uuid, n numeric, a amount,
        ns numeric[], j json, jb jsonb, ip inet, m mood, p pair, ps pair[], none date);";

const INSERT: &str = "
    insert into t values ('2026-11-23', '22:22:05.123456', '2026-11-23 22:22:05.123456',
        '2026-11-23 22:22:05.123456+02', '6ba7b810-9dad-11d1-80b4-00c04fd430c8',
        -79228162514264337593543950335, 1234567890123456.7891, '{1.10,NULL}', '{\"k\": [1.50]}',
        '{\"k\": [1.50]}', '10.0.0.1', 'so so', (1.5, 'it''s', '{\"so so\",fine}'),
        array[(2, null, '{}')::pair], null)";

#[tokio::test(flavor = "multi_thread")]
async fn one_at_a_time() {
    each_way(TABLE, INSERT, |row, format| {
        let what = format!("{format:?}");
        let utc = "2026-11-23T20:22:05.123456Z";
        // chrono.
        let date: chrono::NaiveDate = row.get("d").unwrap();
        assert_eq!(date.to_string(), "2026-11-23", "{what}");
        let time: chrono::NaiveTime = row.get("t").unwrap();
        assert_eq!(time.to_string(), "22:22:05.123456", "{what}");
        let stamp: chrono::NaiveDateTime = row.get("ts").unwrap();
        assert_eq!(stamp.to_string(), "2026-11-23 22:22:05.123456", "{what}");
        let stamp: chrono::DateTime<chrono::Utc> = row.get("tz").unwrap();
        assert_eq!(stamp, utc.parse::<chrono::DateTime<chrono::Utc>>().unwrap(), "{what}");
        // time.
        let date: time::Date = row.get("d").unwrap();
        assert_eq!(date, time::macros::date!(2026 - 11 - 23), "{what}");
        let time: time::Time = row.get("t").unwrap();
        assert_eq!(time, time::macros::time!(22:22:05.123456), "{what}");
        let stamp: time::OffsetDateTime = row.get("tz").unwrap();
        assert_eq!(stamp, time::macros::datetime!(2026-11-23 20:22:05.123456 UTC), "{what}");
        // jiff.
        let date: jiff::civil::Date = row.get("d").unwrap();
        assert_eq!(date.to_string(), "2026-11-23", "{what}");
        let stamp: jiff::Timestamp = row.get("tz").unwrap();
        assert_eq!(stamp.to_string(), utc, "{what}");
        // The others.
        assert_eq!(
            row.get::<Uuid>("id").unwrap().to_string(),
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
        );
        assert_eq!(row.get::<Decimal>("n").unwrap(), Decimal::MIN, "{what}");
        let amount = row.get::<Decimal>("a").unwrap();
        assert_eq!(amount.to_string(), "1234567890123456.7891", "{what}");
        let ns = row.get::<Vec<Option<Decimal>>>("ns").unwrap();
        assert_eq!(ns[0].unwrap().to_string(), "1.10", "{what}");
        assert_eq!(ns[1], None, "{what}");
        let expected = serde_json::json!({"k": [1.5]});
        for column in ["j", "jb"] {
            assert_eq!(row.get::<serde_json::Value>(column).unwrap(), expected, "{what}");
        }
        assert_eq!(row.get::<IpAddr>("ip").unwrap(), IpAddr::from([10, 0, 0, 1]), "{what}");
        assert_eq!(row.get::<Mood>("m").unwrap(), Mood::SoSo, "{what}");
        let price = |text: &str| text.parse::<Decimal>().unwrap();
        let pair = Pair {
            price: price("1.5"),
            note: Some("it's".to_owned()),
            moods: vec![Mood::SoSo, Mood::Fine],
        };
        assert_eq!(row.get::<Pair>("p").unwrap(), pair, "{what}");
        let pair = Pair { price: price("2"), note: None, moods: vec![] };
        assert_eq!(row.get::<Vec<Pair>>("ps").unwrap(), [pair], "{what}");
        assert_eq!(row.get::<Option<jiff::civil::Date>>("none").unwrap(), None, "{what}");
        assert_eq!(row.get::<Column<chrono::NaiveDate>>("none").unwrap(), Column::Null, "{what}");
    })
    .await;
}

#[derive(Debug, Deserialize)]
struct Read<'a> {
    d: chrono::NaiveDate,
    t: chrono::NaiveTime,
    ts: jiff::civil::DateTime,
    tz: chrono::DateTime<chrono::Utc>,
    id: Uuid,
    n: Decimal,
    a: Decimal,
    ns: Vec<Option<Decimal>>,
    #[serde(borrow)]
    jb: &'a serde_json::value::RawValue,
    ip: IpAddr,
    none: Column<time::Date>,
}

#[tokio::test(flavor = "multi_thread")]
async fn and_as_fields_of_a_struct() {
    each_way(TABLE, INSERT, |row, format| {
        let read: Read<'_> = row.deserialize().unwrap_or_else(|why| panic!("{format:?}: {why}"));
        assert_eq!(read.d.to_string(), "2026-11-23");
        assert_eq!(read.t.to_string(), "22:22:05.123456");
        assert_eq!(read.ts.to_string(), "2026-11-23T22:22:05.123456");
        assert_eq!(read.tz.to_rfc3339(), "2026-11-23T20:22:05.123456+00:00");
        assert_eq!(read.id, row.get::<Uuid>("id").unwrap());
        assert_eq!(read.n, Decimal::MIN);
        assert_eq!(read.a.to_string(), "1234567890123456.7891");
        assert_eq!(read.ns[0].unwrap().to_string(), "1.10");
        assert_eq!(read.jb.get(), "{\"k\": [1.50]}");
        assert_eq!(read.ip, IpAddr::from([10, 0, 0, 1]));
        assert_eq!(read.none, Column::Null);
    })
    .await;
}

/// What a type of Rust has no room for is refused, and never another value.
#[tokio::test(flavor = "multi_thread")]
async fn but_never_as_something_else() {
    let table = "create table t(tz timestamptz, d date, n numeric, big numeric, t time)";
    let insert = "insert into t values ('infinity', '4714-11-24 BC', 'NaN',
        repeat('9', 60)::numeric, '24:00')";
    each_way(table, insert, |row, format| {
        let refused = |error: walcast::row::RowError| {
            let known = ["tz", "d", "n", "big", "t"];
            assert!(known.contains(&error.column().unwrap()), "{format:?}: {error}");
            assert!(matches!(error.fault(), RowFault::Refused(_)), "{format:?}: {error}");
        };
        refused(row.get::<chrono::DateTime<chrono::Utc>>("tz").unwrap_err());
        refused(row.get::<time::OffsetDateTime>("tz").unwrap_err());
        refused(row.get::<jiff::Timestamp>("tz").unwrap_err());
        refused(row.get::<Decimal>("n").unwrap_err());
        refused(row.get::<Decimal>("big").unwrap_err());
        // As text each of them has all it has.
        let all: (String, String, String, String, String) = row.deserialize().unwrap();
        let big = "9".repeat(60);
        let expected = ["infinity", "4714-11-24 BC", "NaN", &big, "24:00:00"];
        assert_eq!([all.0, all.1, all.2, all.3, all.4], expected, "{format:?}");
    })
    .await;
}

/// A string is the same text, however the value came.
#[tokio::test(flavor = "multi_thread")]
async fn and_as_one_text_from_either_form() {
    let table = "create extension hstore;
        create type mood as enum ('fine', 'so so'); create type pair as (a int, b text);
        create domain later as timestamptz; create domain truth as bool;
        create table t(b bool, bs bool[], tz timestamptz, l later, d truth, i int[], p pair,
            h hstore, by bytea, v int2vector, f float8, n numeric, iv interval, r tstzrange, m mood,
            c \"char\", o oid, jb jsonb, u uuid, x xid8, pt point, ch char(4))";
    let insert = "insert into t values (true, '{t,f}', '2000-01-01 10:00+02', '2000-01-01 10:00+02',
        false, '{1,NULL}', (1, 'x y'), 'a=>1', '\\x00ff', '1 2', 'Infinity', 1.50, '1 day 02:03',
        '[2000-01-01 10:00+02,)', 'so so', 'c', 26, '{\"a\": [1]}', '6ba7b810-9dad-11d1-80b4-00c04fd430c8',
        '5', '(1,2)', 'ab')";
    let texts = std::sync::Mutex::new(Vec::new());
    each_way(table, insert, |row, _| {
        let each = row.relation().columns.iter().map(|column| {
            let one = row.columns([column.name.as_str()]).unwrap();
            format!("{}: {:?}", column.name, one.deserialize::<(String,)>().map(|it| it.0))
        });
        texts.lock().unwrap().push(each.collect::<Vec<_>>());
    })
    .await;
    let texts = texts.into_inner().unwrap();
    assert_eq!(texts[0], texts[1]);
    assert_eq!(texts[0][0], "b: Ok(\"true\")");
}

/// Types that say in binary less than their text does: they come as text where nothing else is
/// insisted on, and are that to serde.
#[tokio::test(flavor = "multi_thread")]
async fn and_names_and_amounts_are_text() {
    let primary = Primary::start();
    primary.sql(
        "create table t(m money, c regclass, a aclitem, f regproc, cs regclass[]);
         create publication p for table t",
    );
    let source = Source::new(&primary.url(), "s", ["p"]).unwrap().create_slot(true);
    let mut stream = ReplicationStream::connect(source).await.unwrap();
    primary.sql(
        "set lc_monetary = 'C'; insert into t values ('-1234.50', 'pg_class',
            'pg_monitor=r/pg_monitor', 'now', '{pg_class,NULL}')",
    );
    let batch = rows(&mut stream).await;
    let row = row(&batch);
    let (m, c, a, f, cs): (&str, &str, &str, &str, Vec<Option<String>>) =
        row.deserialize().unwrap();
    assert_eq!((m, c, a, f), ("-$1,234.50", "pg_class", "pg_monitor=r/pg_monitor", "now"));
    assert_eq!(cs, [Some("pg_class".to_owned()), None]);
    // A type that reads what the binary form would be.
    #[derive(Debug)]
    struct Raw(#[allow(dead_code, reason = "shown in a failure")] Vec<u8>);
    impl<'a> FromSql<'a> for Raw {
        fn from_sql(
            _: &postgres_types::Type,
            bytes: &'a [u8],
        ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
            Ok(Raw(bytes.to_vec()))
        }
        fn accepts(_: &postgres_types::Type) -> bool {
            true
        }
    }
    assert_eq!(row.get::<Raw>("m").unwrap().0, (-123_450_i64).to_be_bytes());
    for (column, of_type) in [("c", "regclass"), ("a", "aclitem"), ("f", "regproc")] {
        let error = row.get::<Raw>(column).unwrap_err();
        assert!(matches!(error.fault(), RowFault::Transcode(_)), "{error}");
        let text = error.to_string();
        let wanted = format!("column {column:?} ({of_type}) of public.t as ");
        assert!(text.starts_with(&wanted) && text.contains("Raw: the text of type"), "{text}");
    }
    stream.finish().await;
}
