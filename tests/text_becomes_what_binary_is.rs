//! The transcoder makes of a value's text exactly the bytes that the server sends in binary: for
//! edge cases and seeded random values of every type that has a way, alone, in arrays, in ranges
//! and in what a database defines, on every server version found.

use postgres_types::{FromSql, Type};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_postgres::{Client, SimpleQueryMessage};
use walcast::codec::transcode;

use crate::json_of_every_common_type_equals_to_jsonb::literals::{array_literals, scalar_literals};
use crate::support::{Primary, Server, count, seed};

const SESSION: &str = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; \
    SET IntervalStyle = 'postgres'; SET extra_float_digits = 1; SET bytea_output = 'hex'; \
    SET client_encoding = 'UTF8'; SET lc_monetary = 'C'";

const COMMON: &[&str] = &[
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

/// A type, its edges, and SQL for a random value of it.
struct Other(&'static str, &'static [&'static str], &'static str);

const OTHERS: &[Other] = &[
    Other(
        "money",
        &["0", "-0.05", "92233720368547758.07", "-92233720368547758.08"],
        "((random() - 0.5) * 10 ^ (random() * 14))::numeric::money",
    ),
    Other("bit(11)", &["00000000000", "11111111111"], "(random() * 2047)::int::bit(11)"),
    Other(
        "varbit",
        &["", "1", "10101010", "101010101"],
        "substring((random() * 1e9)::int::bit(40)::varbit from 1 for (random() * 40)::int)",
    ),
    Other(
        "inet",
        &[
            "0.0.0.0",
            "10.0.0.1/8",
            "255.255.255.255/0",
            "::",
            "::1/128",
            "fe80::1/64",
            "::ffff:1.2.3.4",
            "1:2:3:4:5:6:7:8/3",
        ],
        "set_masklen('1.0.0.0'::inet + (random() * 1e9)::int, (random() * 32)::int)",
    ),
    Other(
        "cidr",
        &["0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/32", "fe80::/10", "::/0"],
        "network(set_masklen('a::'::inet + (random() * 1e9)::int, (random() * 128)::int))",
    ),
    Other("macaddr", &["08:00:2b:01:02:ff"], "substr(md5(random()::text), 1, 12)::macaddr"),
    Other("macaddr8", &["08:00:2b:01:02:03:04:ff"], "substr(md5(random()::text), 1, 16)::macaddr8"),
    Other(
        "pg_lsn",
        &["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"],
        "'0/0'::pg_lsn + (random() * 1e15)::numeric",
    ),
    Other("xid", &["0", "4294967295"], "(random() * 1e9)::int::text::xid"),
    Other("cid", &["0", "4294967295"], "(random() * 1e9)::int::text::cid"),
    Other("xid8", &["0", "18446744073709551615"], "(random() * 1e15)::bigint::text::xid8"),
    Other(
        "tid",
        &["(0,0)", "(4294967295,65535)"],
        "format('(%s,%s)', (random() * 1e9)::int, (random() * 60000)::int)::tid",
    ),
    Other(
        "pg_snapshot",
        &["1:1:", "10:20:10,14,15"],
        "format('10:%s:11,12', 20 + (random() * 1e9)::int)::pg_snapshot",
    ),
    Other("txid_snapshot", &["1:1:", "10:20:10,14,15"], "'3:4:3'::txid_snapshot"),
    Other(
        "point",
        &["(0,-0)", "(NaN,Infinity)", "(1e300,-1e-300)"],
        "point(random() * 1e10, -random())",
    ),
    Other("line", &["{1,-1,0}", "{0,1,2.5}"], "line(point(0, random()), point(1, random()))"),
    Other("lseg", &["[(0,0),(1,1)]"], "lseg(point(random(), 0), point(1, random()))"),
    Other("box", &["(2,2),(1,1)", "(0,0),(3,4.5)"], "box(point(random(), 0), point(1, random()))"),
    Other(
        "path",
        &["((0,0),(1,1))", "[(0,0),(1,1),(2,0)]", "[(1,2)]"],
        "path(polygon(2 + (random() * 9)::int, circle(point(0, 0), random())))",
    ),
    Other(
        "polygon",
        &["((0,0))", "((0,0),(1,1),(2,0))"],
        "polygon(2 + (random() * 9)::int, circle(point(0, 0), random()))",
    ),
    Other("circle", &["<(0,0),0>", "<(1.5,-2),3>"], "circle(point(random(), 0), random())"),
    Other("int2vector", &["1", "1 -2 32767"], "format('%s 2', (random() * 9)::int)::int2vector"),
    Other("oidvector", &["1", "1 2 4294967295"], "format('%s', (random() * 9)::int)::oidvector"),
    Other(
        "tsvector",
        &["", "a:1A,2B,3C,4 'it''s \\\\ \"x\"':16383 b", "é:5"],
        "to_tsvector('simple', repeat(md5(random()::text) || ' ', (random() * 5)::int))",
    ),
    Other("jsonpath", &["$", "strict $.a[*] ? (@.b > 1)"], "'$.x'::jsonpath"),
    Other("xml", &["<a b=\"c\">&amp;</a>"], "format('<a>%s</a>', random())::xml"),
    Other("refcursor", &["c"], "md5(random()::text)::refcursor"),
    Other("regclass", &[], "(4e9 * (random() * 1.07)::int)::bigint::regclass"),
    Other(
        "int4range",
        &["empty", "(,)", "[1,5)", "(,-3]", "[2147483640,)"],
        "int4range((random() * 100)::int, 100 + (random() * 100)::int)",
    ),
    Other(
        "int8range",
        &["empty", "[-9223372036854775808,5]"],
        "int8range((random() * 100)::int, 100 + (random() * 1e9)::int, '[]')",
    ),
    Other(
        "numrange",
        &["empty", "(1.50,2.5]", "[NaN,NaN]", "[-Infinity,1]"],
        "numrange(-random()::numeric, random()::numeric, '()')",
    ),
    Other(
        "daterange",
        &["empty", "[2000-01-01,infinity]", "(4714-11-24 BC,)"],
        "daterange('2000-01-01', '2001-01-01'::date + (random() * 1e6)::int)",
    ),
    Other(
        "tsrange",
        &["(,2000-01-01 10:00:00.5]", "[-infinity,infinity)"],
        "tsrange('2000-01-01', '2001-01-01'::timestamp + random() * interval '1000 years')",
    ),
    Other(
        "tstzrange",
        &["(,2000-01-01 10:00:00.5+03]", "empty"],
        "tstzrange('2000-01-01', '2001-01-01'::timestamptz + random() * interval '1000 years')",
    ),
    Other(
        "textrange",
        &["[a,z)", "[\"\",\"a\"\"b\\\\c, \")", "(,\"x y\"]"],
        "textrange('a', 'b' || md5(random()::text))",
    ),
    Other(
        "int4multirange",
        &["{}", "{[1,3),[5,)}", "{(,)}"],
        "int4multirange(int4range(1, 5), int4range(7, 8 + (random() * 1e6)::int))",
    ),
    Other("datemultirange", &["{[2000-01-01,2000-01-03)}"], "'{}'::datemultirange"),
    Other(
        "tstzmultirange",
        &["{[2000-01-01 10:00:00.5+03,),(,1999-01-01)}"],
        "'{}'::tstzmultirange",
    ),
    Other("mood", &["fine", "so \"so\", \\"], "'fine'::mood"),
    Other("price", &["1.5", "-0.05"], "random()::numeric::price"),
    Other(
        "pair",
        &["(1,fine,)", "(,,\"a \"\"b\"\", \\\\ (c)\")", "(,,\"\")", "(-1,,é)"],
        "row((random() * 9)::int, 'fine', md5(random()::text))::pair",
    ),
    Other(
        "pairs",
        &["(\"{\"\"(1,fine,)\"\",NULL}\",\"(2,,x)\")", "(,)", "({},)"],
        "row(array[row(1, 'fine', md5(random()::text))::pair], null)::pairs",
    ),
];

const DEFINED: &str = "CREATE TYPE mood AS ENUM ('fine', 'so \"so\", \\'); \
    CREATE DOMAIN price AS numeric(12,2); \
    CREATE TYPE pair AS (n int, m mood, t text); \
    CREATE TYPE pairs AS (list pair[], one pair); \
    CREATE TYPE textrange AS RANGE (subtype = text)";

#[tokio::test]
async fn for_common_types_and_arrays_of_them() {
    let seed = seed();
    for server in Server::installed() {
        let primary = Primary::builder().unix_socket_only().start_on(server.clone());
        let client = session(&primary).await;
        for sql_type in COMMON {
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
