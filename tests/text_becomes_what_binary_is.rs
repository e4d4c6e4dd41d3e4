//! The transcoder makes of a value's text exactly the bytes that the server sends in binary: for
//! edge cases and seeded random values of every type that has a way, alone, in arrays, in ranges
//! and in what a database defines, on every server version found.

use postgres_types::{FromSql, Type};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_postgres::{Client, SimpleQueryMessage};
use walcast::codec::transcode;

use crate::every_type_streams_as_the_server_shows_it::more::{EXTENSIONS, TEXT_ONLY};
use crate::json_of_every_common_type_equals_to_jsonb::TYPES;
use crate::json_of_every_common_type_equals_to_jsonb::literals::{array_literals, scalar_literals};
use crate::json_of_every_common_type_equals_to_jsonb::others::{DEFINED, OTHERS, Other};
use crate::support::{Primary, Server, count, seed};

const SESSION: &str = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; \
    SET IntervalStyle = 'postgres'; SET extra_float_digits = 1; SET bytea_output = 'hex'; \
    SET client_encoding = 'UTF8'; SET lc_monetary = 'C'";

#[tokio::test]
async fn for_common_types_and_arrays_of_them() {
    let seed = seed();
    for server in Server::installed() {
        let primary = Primary::builder().unix_socket_only().start_on(server.clone());
        let client = session(&primary).await;
        for sql_type in TYPES {
            let mut rng = StdRng::seed_from_u64(seed);
            let singles = scalar_literals(sql_type, server.major, count(2000), &mut rng);
            let arrays = array_literals(&singles, count(1000), &mut rng);
            fill(&client, sql_type, &singles).await;
            assert_same(&client, "x").await;
            fill(&client, &format!("{sql_type}[]"), &arrays).await;
            assert_same(&client, "x").await;
        }
    }
}

#[tokio::test]
async fn for_every_other_type_and_arrays_of_it() {
    let seed = seed();
    for server in Server::installed() {
        let primary = Primary::builder().unix_socket_only().start_on(server.clone());
        let client = session(&primary).await;
        client.batch_execute(DEFINED).await.unwrap();
        let mut rng = StdRng::seed_from_u64(seed);
        for Other(sql_type, edges, random) in OTHERS {
            if *sql_type == "xml" && client.batch_execute("SELECT '<a/>'::xml").await.is_err() {
                continue;
            }
            let edges: Vec<String> = edges.iter().map(ToString::to_string).collect();
            fill(&client, sql_type, &edges).await;
            let more = format!(
                "SELECT setseed({}); INSERT INTO v SELECT 1000 + g, {random} \
                 FROM generate_series(1, {}) g",
                rng.random_range(-1.0..1.0),
                count(300),
            );
            client.batch_execute(&more).await.unwrap_or_else(|e| panic!("{sql_type}: {e:?}"));
            assert_same(&client, "x").await;
            assert_same(&client, "array_fill(x, array[2, 3], array[-1, 5])").await;
            assert_same(&client, "array[x, null, x]").await;
        }
    }
}

/// Where the extension is; which servers have it, the suite of types in streams says.
#[tokio::test]
async fn for_the_types_of_extensions() {
    let seed = seed();
    for server in Server::installed() {
        let primary = Primary::builder().unix_socket_only().start_on(server.clone());
        let client = session(&primary).await;
        let mut rng = StdRng::seed_from_u64(seed);
        for (extension, other) in EXTENSIONS {
            let Other(sql_type, edges, random) = other;
            let make = format!("CREATE EXTENSION IF NOT EXISTS {extension}");
            if TEXT_ONLY.contains(sql_type) || client.batch_execute(&make).await.is_err() {
                continue;
            }
            if *sql_type == "tagged" {
                client.batch_execute("CREATE TYPE tagged AS (n int, tags hstore)").await.unwrap();
            }
            let edges: Vec<String> = edges.iter().map(ToString::to_string).collect();
            fill(&client, sql_type, &edges).await;
            let more = format!(
                "SELECT setseed({}); INSERT INTO v SELECT 1000 + g, {random} \
                 FROM generate_series(1, {}) g",
                rng.random_range(-1.0..1.0),
                count(300),
            );
            client.batch_execute(&more).await.unwrap_or_else(|e| panic!("{sql_type}: {e:?}"));
            assert_same(&client, "x").await;
            assert_same(&client, "array_fill(x, array[2, 3], array[-1, 5])").await;
            assert_same(&client, "array[x, null, x]").await;
        }
    }
}

async fn session(primary: &Primary) -> Client {
    let client = primary.client().await;
    client.batch_execute(SESSION).await.unwrap();
    client
}

async fn fill(client: &Client, sql_type: &str, literals: &[String]) {
    let table = format!("DROP TABLE IF EXISTS v; CREATE TEMP TABLE v (n int, x {sql_type})");
    client.batch_execute(&table).await.unwrap_or_else(|e| panic!("{sql_type}: {e:?}"));
    let fill = format!(
        "INSERT INTO v SELECT n, t::{sql_type} FROM unnest($1::text[]) WITH ORDINALITY u(t, n)"
    );
    client.execute(&fill, &[&literals]).await.unwrap_or_else(|e| panic!("{sql_type}: {e:?}"));
}

/// Both forms of `expression` over the rows of `v`.
async fn assert_same(client: &Client, expression: &str) {
    let query = format!("SELECT {expression} FROM v ORDER BY n");
    let messages = client.simple_query(&query).await.unwrap();
    let text: Vec<_> = messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap().to_owned()),
            _ => None,
        })
        .collect();
    let rows = client.query(&query, &[]).await.unwrap();
    assert_eq!(rows.len(), text.len());
    assert!(!rows.is_empty());
    for (text, row) in std::iter::zip(text, rows) {
        let Raw(expected) = row.get(0);
        let ty = row.columns()[0].type_();
        let mut out = Vec::new();
        let done = transcode(ty, text.as_bytes(), &mut out);
        assert_eq!(done, Ok(()), "{ty} {text:?}");
        assert_eq!(out, expected, "{ty} {text:?}");
    }
}

/// A value's bytes as they came, whatever its type.
struct Raw(Vec<u8>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(
        _: &Type,
        bytes: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(bytes.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
