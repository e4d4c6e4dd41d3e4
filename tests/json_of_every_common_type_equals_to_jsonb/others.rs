//! Types beyond the common ones, with their edges and SQL for random values.

/// A type, its edges, and SQL for a random value of it.
pub(crate) struct Other(
    pub(crate) &'static str,
    pub(crate) &'static [&'static str],
    pub(crate) &'static str,
);

pub(crate) const OTHERS: &[Other] = &[
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
    Other("frame", &["(2,2),(1,1)"], "box(point(random(), 0), point(1, random()))::frame"),
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

/// What the last of them need.
pub(crate) const DEFINED: &str = "CREATE TYPE mood AS ENUM ('fine', 'so \"so\", \\'); \
    CREATE DOMAIN price AS numeric(12,2); CREATE DOMAIN frame AS box; \
    CREATE TYPE pair AS (n int, m mood, t text); \
    CREATE TYPE pairs AS (list pair[], one pair); \
    CREATE TYPE textrange AS RANGE (subtype = text)";
