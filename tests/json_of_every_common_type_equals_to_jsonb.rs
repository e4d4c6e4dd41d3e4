//! What walcast writes for a value is what the server's own `to_jsonb` makes of it: for edge cases
//! and seeded random values of every type with a decoder and for arrays of them, from text and from
//! binary alike, on every server version found. The server does the comparing.

pub(crate) mod literals;
pub(crate) mod others;

use postgres_types::{FromSql, Type};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio_postgres::{Client, SimpleQueryMessage};
use walcast::catalog::type_definitions;
use walcast::codec::value::{TypeRegistry, ValueError, ValueType, write_json};
use walcast::event::{Oid, Value};

use crate::support::{Primary, Server, count, seed};
use literals::{array_literals, scalar_literals};

const SESSION: &str = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; \
    SET IntervalStyle = 'postgres'; SET extra_float_digits = 1; SET bytea_output = 'hex'; \
    SET client_encoding = 'UTF8'";

pub(crate) const TYPES: &[&str] = &[
    "bool",
    "int2",
    "int4",
    "int8",
    "oid",
    "float4",
    "float8",
    "numeric",
    "text",
    "varchar(12)",
    "bpchar(12)",
    "name",
    "\"char\"",
    "bytea",
    "date",
    "time",
    "timetz",
    "timestamp",
    "timestamptz",
    "interval",
    "uuid",
    "json",
    "jsonb",
];

/// Types without a decoder, each with literals: their text is a JSON string, as `to_jsonb` has it.
const OTHERS: &[(&str, &[&str])] = &[
    ("money", &["12.50", "-1"]),
    ("regclass", &["pg_class"]),
    ("regtype", &["int4", "text[]"]),
    ("regprocedure", &["now()"]),
    ("regnamespace", &["pg_catalog"]),
];

#[tokio::test]
async fn of_single_values_and_arrays_from_text_and_binary() {
    let seed = seed();
    for server in Server::installed() {
        let primary = Primary::builder().unix_socket_only().start_on(server.clone());
        let client = primary.client().await;
        client.batch_execute(SESSION).await.unwrap();
        let random = count(2000);
        for sql_type in TYPES {
            let mut rng = StdRng::seed_from_u64(seed);
            let singles = scalar_literals(sql_type, server.major, random, &mut rng);
            let arrays = array_literals(&singles, random / 2, &mut rng);
            let array_type = format!("{sql_type}[]");
            for (sql_type, literals) in [(*sql_type, singles), (array_type.as_str(), arrays)] {
                let column = Column::filled(&client, sql_type, &literals).await;
                let (text, binary) = (column.text_json(), column.binary_json());
                for (index, (text, binary)) in std::iter::zip(&text, &binary).enumerate() {
                    assert_eq!(text, binary, "{sql_type} {:?}", literals[index]);
                }
                column.assert_server_agrees(&client, &text).await;
            }
        }
    }
}

#[tokio::test]
async fn of_types_without_a_decoder_as_their_text() {
    for server in Server::installed() {
        let primary = Primary::builder().unix_socket_only().start_on(server.clone());
        let client = primary.client().await;
        client.batch_execute(SESSION).await.unwrap();
        for (sql_type, literals) in OTHERS {
            let literals: Vec<String> = literals.iter().map(ToString::to_string).collect();
            let column = Column::filled(&client, sql_type, &literals).await;
            assert!(!column.value_type.has_binary_decoder(), "{sql_type}");
            column.assert_server_agrees(&client, &column.text_json()).await;
            let raw = column.json(Value::Binary(&column.binary[0])).unwrap();
            assert!(raw.starts_with("{\"oid\":"), "{raw}");
        }
    }
}

#[tokio::test]
async fn of_a_json_column_is_its_own_text_on_one_line() {
    let primary = Primary::builder().unix_socket_only().start();
    let client = primary.client().await;
    client.batch_execute(SESSION).await.unwrap();
    let literals = ["{ \"b\": 1.50,  \"a\":\t[1e5], \"a\":2 }", "{\n\"a\":\r\n\"x\\ny\"}"];
    let column = Column::filled(&client, "json", &literals.map(String::from)).await;
    let expected = [literals[0].into(), literals[1].replace(['\n', '\r'], " ")];
    assert_eq!(column.text_json(), expected);
    assert_eq!(column.binary_json(), expected);
}

#[tokio::test]
async fn of_a_domain_as_its_base_type() {
    let primary = Primary::builder().unix_socket_only().start();
    let client = primary.client().await;
    client.batch_execute("CREATE DOMAIN price AS numeric(8,2)").await.unwrap();
    let array: u32 = client.query_one("SELECT 'price[]'::regtype::oid", &[]).await.unwrap().get(0);
    let registry = type_definitions(&client, [Oid::new(array)]).await.unwrap();
    let row = client.query_one("SELECT '{1.5,NULL}'::price[]", &[]).await.unwrap();
    let mut out = Vec::new();
    let raw = row.get::<_, Raw>(0).0;
    write_json(&mut out, &registry.value_type(Oid::new(array)), Value::Binary(&raw)).unwrap();
    assert_eq!(out, b"[1.50,null]");
}

/// A table's column `x`, numbered by `n`, as the server sends it in both forms.
struct Column {
    sql_type: String,
    value_type: ValueType,
    text: Vec<String>,
    binary: Vec<Vec<u8>>,
}

impl Column {
    async fn filled(client: &Client, sql_type: &str, literals: &[String]) -> Column {
        let table = format!("DROP TABLE IF EXISTS v; CREATE TEMP TABLE v (n int, x {sql_type})");
        client.batch_execute(&table).await.unwrap();
        let fill = format!(
            "INSERT INTO v SELECT n, t::{sql_type} FROM unnest($1::text[]) WITH ORDINALITY u(t, n)"
        );
        client.execute(&fill, &[&literals]).await.unwrap_or_else(|e| panic!("{sql_type}: {e:?}"));
        let query = "SELECT x FROM v ORDER BY n";
        let messages = client.simple_query(query).await.unwrap();
        let text = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap().to_owned()),
            _ => None,
        });
        let rows = client.query(query, &[]).await.unwrap();
        let oid = rows[0].columns()[0].type_().oid();
        Column {
            sql_type: sql_type.into(),
            value_type: TypeRegistry::builtin().value_type(Oid::new(oid)),
            text: text.collect(),
            binary: rows.iter().map(|row| row.get::<_, Raw>(0).0).collect(),
        }
    }

    fn text_json(&self) -> Vec<String> {
        let json = |text: &String| self.json(Value::Text(text.as_bytes())).unwrap();
        self.text.iter().map(json).collect()
    }

    fn binary_json(&self) -> Vec<String> {
        self.binary.iter().map(|bytes| self.json(Value::Binary(bytes)).unwrap()).collect()
    }

    fn json(&self, value: Value<'_>) -> Result<String, ValueError> {
        let mut out = Vec::new();
        write_json(&mut out, &self.value_type, value)
            .inspect_err(|error| println!("{}: {value:?}: {error}", self.sql_type))?;
        Ok(String::from_utf8(out).unwrap())
    }

    async fn assert_server_agrees(&self, client: &Client, ours: &[String]) {
        let query = "SELECT x::text, to_jsonb(x)::text, (j::jsonb)::text \
            FROM v JOIN unnest($1::text[]) WITH ORDINALITY u(j, n) USING (n) \
            WHERE to_jsonb(x)::text IS DISTINCT FROM (j::jsonb)::text";
        let rows = client.query(query, &[&ours]).await;
        let rows = rows.unwrap_or_else(|error| panic!("{}: {error:?}", self.sql_type));
        let differing: Vec<_> = rows
            .iter()
            .map(|row| [0, 1, 2].map(|column| row.get::<_, String>(column)))
            .map(|[value, server, ours]| format!("{value}: to_jsonb {server}, ours {ours}"))
            .collect();
        assert!(differing.is_empty(), "{}:\n{}", self.sql_type, differing.join("\n"));
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
