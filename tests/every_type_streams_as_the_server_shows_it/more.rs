//! Types that have no way from text to binary, and those that a database defines, one in another.

use crate::json_of_every_common_type_equals_to_jsonb::others::Other;

/// Beside those that the transcoder is tested with.
pub(super) const MORE: &[Other] = &[
    Other(
        "tsquery",
        &[
            "",
            "a",
            "!a",
            "!!a",
            "a & b & c",
            "a & (b & c)",
            "a | b & !c",
            "(a | b) & !(c | d)",
            "a <-> b <-> c",
            "a <-> (b <-> c)",
            "a <3> (b | !c) <-> d",
            "!(a <-> b) <-> (c & d)",
            "a:* & b:AB & c:*D & d:ABCD",
            "'it''s' & 'x\\\\y' & 'ä \"'",
            "(a <-> b) | (c <-> (d <0> e))",
        ],
        "(select string_agg((array['', '!'])[1 + (random())::int] \
          || (array['a', 'b:*', 'c:AB', '(d | e)', '(f <2> (g & h))'])[1 + (random() * 4)::int] \
          || case g when 5 then '' \
            else (array[' & ', ' | ', ' <-> '])[1 + (random() * 2)::int] end, '') \
          from generate_series(1, 5) g)::tsquery",
    ),
    Other(
        "regclass",
        &["pg_class", "public.done", "information_schema.columns"],
        "(4e9 * (random() * 1.07)::int)::bigint::regclass",
    ),
    Other("regtype", &["int4", "text[]", "public.mood", "\"char\""], "'numeric'::regtype"),
    Other("regprocedure", &["now()", "abs(int)", "-"], "'now()'::regprocedure"),
    Other("regproc", &["now", "-"], "'now'::regproc"),
    Other("regoperator", &["+(int4,int4)"], "'-(int4,int4)'::regoperator"),
    Other("regrole", &["pg_monitor"], "'pg_monitor'::regrole"),
    Other("regnamespace", &["public", "pg_catalog"], "'public'::regnamespace"),
    Other("regconfig", &["simple"], "'english'::regconfig"),
    Other("regcollation", &["\"C\""], "'\"C\"'::regcollation"),
    Other("aclitem", &["pg_monitor=r/pg_monitor"], "'=r/pg_monitor'::aclitem"),
    Other("int8multirange", &["{}", "{[1,3),[5,)}"], "'{[7,9)}'::int8multirange"),
    Other(
        "nummultirange",
        &["{[1.50,3),[NaN,NaN]}"],
        "nummultirange(numrange(0, random()::numeric))",
    ),
    Other("tsmultirange", &["{[2000-01-01 10:00:00.5,),(,1999-01-01)}"], "'{}'::tsmultirange"),
    Other("textmultirange", &["{[\"\",\"a\"\"b\\\\c, \"),[q,z]}"], "'{}'::textmultirange"),
    Other(
        "intsrange",
        &["[\"{}\",\"{1,NULL,3}\")", "[\"[0:1]={1,2}\",)"],
        "intsrange(array[1], array[2, (random() * 9)::int])",
    ),
    Other(
        "pairrange",
        &["[\"(1,fine,x)\",\"(2,,\"\"a \"\"\"\"b\"\"\"\"\"\")\")"],
        "'empty'::pairrange",
    ),
    Other("span", &["[1,5)", "empty"], "int4range(1, 2 + (random() * 9)::int)"),
    Other("pricelist", &["{1.5,NULL}", "[5:6]={1,2}"], "array[random()::numeric, 7]::pricelist"),
    Other("pricelists", &["{1.5,NULL}"], "array[random()::numeric]::pricelists"),
    Other("paired", &["(1,fine,x)", "(,,)"], "row(1, 'fine', md5(random()::text))::pair::paired"),
    Other(
        "wide",
        &[
            "(,,,,,,,,)",
            "(\"2000-01-01 10:00:00.5+03\",\"\\\\x00ff22\",\"{(2,2),(1,1);(0,0),(1,1)}\",\"[1,5)\",\
              \"{\"\"a\"\": [1.50]}\",\"[ 1,\n2 ]\",\
              \"(\"\"{\"\"\"\"(1,fine,)\"\"\"\",NULL}\"\",)\",\
              t,-0)",
        ],
        "row(now(), decode(md5(random()::text), 'hex'), array[box(point(random(), 1), point(0, 0))],
          int4range(1, 9), '{\"k\": null}', '[]',
          row(array[row(1, 'fine', '\"')::pair], null)::pairs, random() > 0.5, random())::wide",
    ),
    Other(
        "\"Odd \"\"type\"\"\"",
        &["(1,2)", "(,)"],
        "row((random() * 9)::int, 3)::\"Odd \"\"type\"\"\"",
    ),
    Other("less", &["(1,x)"], "row((random() * 9)::int, 'y')::less"),
    Other(
        "labelled",
        &["($1.50,pg_class)", "(,)"],
        "row(random()::numeric::money, 'pg_type')::labelled",
    ),
];

/// What extensions add, where they are.
pub(crate) const EXTENSIONS: &[(&str, Other)] = &[
    (
        "hstore",
        Other(
            "hstore",
            &["", "a=>1, b=>NULL", "\"a \\\"q\\\" \\\\\"=>\"=>, {}\"", "NULL=>\"NULL\"", "é=>\"\""],
            "hstore(array['k', md5(random()::text)], array['v', null])",
        ),
    ),
    (
        "hstore",
        Other(
            "tagged",
            &["(1,\"\"\"a\"\"=>\"\"1\"\"\")", "(,)"],
            "row(1, hstore('k', random()::text))::tagged",
        ),
    ),
    ("citext", Other("citext", &["", "Ä \"x\"", "NULL"], "md5(random()::text)::citext")),
    (
        "ltree",
        Other("ltree", &["", "a.b.c", "Top.Science"], "('a.' || md5(random()::text))::ltree"),
    ),
    ("ltree", Other("lquery", &["a.*{1,2}.b|c"], "'*.x'::lquery")),
    ("ltree", Other("ltxtquery", &["a & !b@*"], "'x | y'::ltxtquery")),
    (
        "vector",
        Other("vector(3)", &["[1,-2.5,1e-30]"], "format('[%s,2,%s]', random(), random())::vector"),
    ),
    (
        "vector",
        Other(
            "halfvec",
            &["[1,-2.5]", "[65504,0.00006103515625,-5.9604645e-08,0]"],
            "format('[%s,%s]', random(), random() * 1e4)::halfvec",
        ),
    ),
    (
        "vector",
        Other(
            "sparsevec",
            &["{}/3", "{1:1.5,1000:-2e10}/16000"],
            "format('{2:%s}/5', random() + 1)::sparsevec",
        ),
    ),
    (
        "postgis",
        Other(
            "geometry",
            &[
                "POINT EMPTY",
                "SRID=3857;POINT ZM(1 2 3 4)",
                "GEOMETRYCOLLECTION(LINESTRING(0 0,1 1.5),POLYGON((0 0,1 0,1 1,0 0)))",
            ],
            "st_setsrid(st_makepoint(random(), random() * 90), 4326)",
        ),
    ),
    (
        "postgis",
        Other(
            "geography",
            &["POINT(1 2)", "MULTIPOINT((1 2),(3 4))"],
            "st_makepoint(random(), random() * 90)::geography",
        ),
    ),
    ("cube", Other("cube", &["(1,2)", "(0),(3.5)"], "cube(random(), 1)")),
    ("isn", Other("isbn13", &["978-0-393-04002-9"], "'978-0-393-04002-9'::isbn13")),
];

/// Types whose text the binary form does not tell.
pub(crate) const TEXT_ONLY: &[&str] = &[
    "money",
    "regclass",
    "regtype",
    "regprocedure",
    "regproc",
    "regoperator",
    "regrole",
    "regnamespace",
    "regconfig",
    "regcollation",
    "aclitem",
    "labelled",
    "cube",
    "isbn13",
];

/// What [`MORE`] needs beyond what its neighbours do.
pub(super) const DEFINED: &str = "
    create type intsrange as range (subtype = int[]);
    create type pairrange as range (subtype = pair);
    create domain span as int4range;
    create domain pricelist as price[];
    create domain pricelists as pricelist check (value is null or cardinality(value) < 9);
    create domain paired as pair;
    create type wide as (t timestamptz, b bytea, boxes box[], r int4range, j jsonb, o json,
        p pairs, bool bool, f float8);
    create type \"Odd \"\"type\"\"\" as (\"a \"\"b\"\" \\ \u{e4}\" int, \"select\" int);
    create type less as (a int, gone int, b text);
    alter type less drop attribute gone;
    create type labelled as (m money, r regclass)";
