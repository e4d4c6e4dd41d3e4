//! Values of every type, edges and seeded random ones, inserted into a real server and read back
//! through the stream, in text and in binary: rows are what the server's own `to_jsonb` makes of
//! them, and each value's text is what its type's output function writes. The server does the
//! comparing.

pub(crate) mod more;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_postgres::Client;
use walcast::codec::value::{TypeRegistry, write_output};
use walcast::event::{Event, Row};
use walcast::{ReplicationStream, Source, WireFormat};

use crate::json_of_every_common_type_equals_to_jsonb::TYPES;
use crate::json_of_every_common_type_equals_to_jsonb::literals::{array_literals, scalar_literals};
use crate::json_of_every_common_type_equals_to_jsonb::others::{self, OTHERS, Other};
use crate::support::{Primary, Server, count, every_major, seed, skip};
pub(crate) use more::TEXT_ONLY;
use more::{EXTENSIONS, MORE};

/// As walcast pins them, so that both see the same text.
const SESSION: &str = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; \
    SET IntervalStyle = 'postgres'; SET extra_float_digits = 1; SET bytea_output = 'hex'; \
    SET client_encoding = 'UTF8'; SET search_path = pg_catalog, pg_temp";

#[tokio::test(flavor = "multi_thread")]
async fn in_text_and_in_binary() {
    let seed = seed();
    let mut missing: BTreeSet<&str> = EXTENSIONS.iter().map(|(name, _)| *name).collect();
    for server in every_major() {
        let primary = Primary::builder().unix_socket_only().start_on(server.clone());
        for extension in torture(&primary, &server, seed).await {
            missing.remove(extension);
        }
    }
    missing.iter().for_each(|name| skip(&format!("no server here has the extension {name}")));
}

/// The extensions whose types were among those that were tried.
async fn torture(primary: &Primary, server: &Server, seed: u64) -> BTreeSet<&'static str> {
    let client = primary.client().await;
    client.batch_execute("SET TimeZone = 'UTC'").await.unwrap();
    let tables = Tables::made(&client).await;
    let mut text = connect(primary, "every", WireFormat::Text).await;
    let mut binary = connect(primary, "decodable", WireFormat::Auto).await;
    assert_eq!(format!("{:?}", binary.format()), "Some(Binary)", "all of these have decoders");
    tables.fill(&client, server.major, &mut StdRng::seed_from_u64(seed)).await;
    client.batch_execute("insert into done values (0)").await.unwrap();
    client.batch_execute(SESSION).await.unwrap();
    for (stream, form) in [(&mut text, "text"), (&mut binary, "binary")] {
        let seen = read(stream).await;
        for (at, (sql_type, _)) in tables.types.iter().enumerate() {
            if form == "binary" && TEXT_ONLY.contains(sql_type) {
                continue;
            }
            let rows = seen.get(&format!("t{at}")).unwrap_or_else(|| panic!("no {sql_type}"));
            assert_server_agrees(&client, at, rows, &format!("{sql_type} in {form}")).await;
        }
    }
    text.finish().await;
    binary.finish().await;
    tables.extensions
}

async fn connect(primary: &Primary, publication: &str, format: WireFormat) -> ReplicationStream {
    let url = primary.socket_url();
    let source = Source::new(&url, publication, [publication]).unwrap();
    ReplicationStream::connect(source.create_slot(true).format(format)).await.unwrap()
}

/// A table `t0`, `t1` … for each type: values of it in `x`, arrays of them in `a`.
pub(crate) struct Tables {
    pub(crate) types: Vec<(&'static str, Option<&'static Other>)>,
    /// The extensions that are there.
    extensions: BTreeSet<&'static str>,
}

impl Tables {
    pub(crate) async fn made(client: &Client) -> Tables {
        client.batch_execute(others::DEFINED).await.unwrap();
        client.batch_execute("create table done(n int primary key)").await.unwrap();
        client.batch_execute(more::DEFINED).await.unwrap();
        let mut others: Vec<&'static Other> = OTHERS.iter().chain(MORE).collect();
        let mut extensions = BTreeSet::new();
        for (extension, other) in EXTENSIONS {
            let make = format!("create extension if not exists {extension}");
            if client.batch_execute(&make).await.is_ok() {
                others.push(other);
                extensions.insert(*extension);
            }
        }
        if client.batch_execute("create type tagged as (n int, tags hstore)").await.is_err() {
            others.retain(|other| other.0 != "tagged");
        }
        if client.batch_execute("select '<a/>'::xml").await.is_err() {
            others.retain(|other| other.0 != "xml");
        }
        let common = TYPES.iter().map(|sql_type| (*sql_type, None));
        let types = common.chain(others.into_iter().map(|other| (other.0, Some(other))));
        let types: Vec<_> = types.collect();
        let (mut every, mut decodable) = (vec!["done".to_owned()], vec!["done".to_owned()]);
        for (at, (sql_type, _)) in types.iter().enumerate() {
            let make =
                format!("create table t{at}(n int primary key, x {sql_type}, a {sql_type}[])");
            client.batch_execute(&make).await.unwrap_or_else(|e| panic!("{sql_type}: {e:?}"));
            every.push(format!("t{at}"));
            if !TEXT_ONLY.contains(sql_type) {
                decodable.push(format!("t{at}"));
            }
        }
        for (name, tables) in [("every", every), ("decodable", decodable)] {
            let make = format!("create publication {name} for table {}", tables.join(", "));
            client.batch_execute(&make).await.unwrap();
        }
        Tables { types, extensions }
    }

    pub(crate) async fn fill(&self, client: &Client, major: u32, rng: &mut StdRng) {
        for (at, (sql_type, other)) in self.types.iter().enumerate() {
            if let Some(Other(_, edges, random)) = other {
                let edges: Vec<String> = edges.iter().map(ToString::to_string).collect();
                insert(client, at, sql_type, &edges, &[]).await;
                insert_random(client, at, random, rng).await;
                insert_arrays(client, at, sql_type).await;
            } else {
                let singles = scalar_literals(sql_type, major, count(1000), rng);
                let arrays = array_literals(&singles, count(1000), rng);
                insert(client, at, sql_type, &singles, &arrays).await;
            }
        }
    }
}

async fn insert(client: &Client, at: usize, sql_type: &str, singles: &[String], arrays: &[String]) {
    let fill = format!(
        "insert into t{at} select n, x::{sql_type}, a::{sql_type}[] \
         from unnest($1::text[], $2::text[]) with ordinality u(x, a, n)"
    );
    client
        .execute(&fill, &[&singles, &arrays])
        .await
        .unwrap_or_else(|error| panic!("{sql_type}: {error:?}"));
}

async fn insert_random(client: &Client, at: usize, random: &str, rng: &mut StdRng) {
    let fill = format!(
        "select setseed({}); insert into t{at} select 100000 + g, {random} \
           from generate_series(1, {}) g; \
         insert into t{at} values (-1, null, null), (-2, null, '{{NULL}}')",
        rng.random_range(-1.0..1.0),
        count(300),
    );
    client.batch_execute(&fill).await.unwrap_or_else(|error| panic!("{random}: {error:?}"));
}

/// Arrays of what is there: with bounds of their own, with NULLs, empty.
async fn insert_arrays(client: &Client, at: usize, sql_type: &str) {
    let fill = match sql_type {
        // Of arrays no array can be made but in a domain, and that from its text alone.
        "pricelist" | "pricelists" => {
            format!("update t{at} set a = '[0:2]={{\"{{1.5,NULL}}\",NULL,\"{{}}\"}}'")
        }
        _ => format!(
            "update t{at} set a = case n % 4 when 0 then array_fill(x, array[2, 3], array[-1, 5]) \
               when 1 then array[x, null, x] when 2 then array[x] else '{{}}' end where n > 0"
        ),
    };
    client.batch_execute(&fill).await.unwrap_or_else(|error| panic!("{sql_type}: {error:?}"));
}

/// A row as it was last sent: its JSON, and the texts of its values.
struct Shown {
    json: String,
    x: Option<String>,
    a: Option<String>,
}

/// Reads rows, by table and number, until there is one of `done`.
async fn read(stream: &mut ReplicationStream) -> BTreeMap<String, BTreeMap<i32, Shown>> {
    let mut seen: BTreeMap<String, BTreeMap<i32, Shown>> = BTreeMap::new();
    while !seen.contains_key("done") {
        let next = tokio::time::timeout(Duration::from_secs(60), stream.next()).await;
        let batch = next.expect("changes in time").expect("the stream goes on").unwrap();
        for event in batch.events() {
            let Event::Change(change) = event else { continue };
            let row = change.new_row().unwrap();
            let json = row.to_json().unwrap_or_else(|error| panic!("{error}"));
            let shown = Shown { json, x: text_of(row, "x"), a: text_of(row, "a") };
            let table = seen.entry(row.relation().name.clone()).or_default();
            table.insert(row.get("n").unwrap(), shown);
        }
    }
    seen
}

fn text_of(row: Row<'_>, name: &str) -> Option<String> {
    let column = row.relation().columns.iter().find(|column| column.name == name)?;
    let value = row.value_of(name).filter(|value| !value.is_null())?;
    let value_type = row.relation().value_type(column.type_oid, &TypeRegistry::builtin());
    let mut text = Vec::new();
    write_output(&mut text, &value_type, value).unwrap_or_else(|error| panic!("{error}"));
    Some(String::from_utf8(text).unwrap())
}

async fn assert_server_agrees(client: &Client, at: usize, rows: &BTreeMap<i32, Shown>, what: &str) {
    let numbers: Vec<i32> = rows.keys().copied().collect();
    let json: Vec<&str> = rows.values().map(|row| row.json.as_str()).collect();
    let x: Vec<_> = rows.values().map(|row| row.x.as_deref()).collect();
    let a: Vec<_> = rows.values().map(|row| row.a.as_deref()).collect();
    // Of a composite IS NOT NULL would ask for its fields.
    let shown = |column: &str| {
        format!("case when t.{column} is distinct from null then format('%s', t.{column}) end")
    };
    let (shown_x, shown_a) = (shown("x"), shown("a"));
    // Its cast to `json` is not what is shown of a geometry.
    let row = match what.starts_with("geometry") {
        true => "(to_jsonb(t) || jsonb_build_object('x', t.x::text, 'a', t.a::text[]))",
        false => "to_jsonb(t)",
    };
    let query = format!(
        "select concat_ws(' ', n, 'server:', {row}, 'x:', {shown_x}, 'a:', {shown_a}, \
            'ours:', u.j, 'x:', u.x, 'a:', u.a) \
         from public.t{at} t full join unnest($1::int[], $2::text[], $3::text[], $4::text[]) \
            u(n, j, x, a) using (n) \
         where {row}::text is distinct from u.j::jsonb::text \
            or {shown_x} is distinct from u.x or {shown_a} is distinct from u.a"
    );
    let differing = client.query(&query, &[&numbers, &json, &x, &a]).await;
    let differing = differing.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let differing: Vec<String> = differing.iter().map(|row| row.get(0)).collect();
    assert!(differing.is_empty(), "{what}: {}", differing.join("\n"));
}
