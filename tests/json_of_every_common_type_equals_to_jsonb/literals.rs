//! Input literals for every type: the edges first, then random ones from a seed.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// Literals of a single value of `sql_type` that a server of `major` takes.
pub(crate) fn scalar_literals(
    sql_type: &str,
    major: u32,
    random: usize,
    rng: &mut StdRng,
) -> Vec<String> {
    let mut literals: Vec<String> = edges(sql_type).iter().map(ToString::to_string).collect();
    match sql_type {
        "float4" => literals.extend((-149..128).map(|e| format!("{:e}", 2f32.powi(e)))),
        "float8" => literals.extend((-1074..1024).map(|e| format!("{:e}", 2f64.powi(e)))),
        "text" => literals.extend((1..128).map(|byte| format!("a{}b", char::from(byte)))),
        "\"char\"" => literals.extend((1..128).map(|byte| char::from(byte).to_string())),
        _ => {}
    }
    if sql_type.starts_with("float") {
        let (low, high) = if sql_type == "float4" { (-44, 38) } else { (-322, 308) };
        literals.extend((low..=high).map(|exponent| format!("1e{exponent}")));
    }
    if sql_type == "\"char\"" && major >= 16 {
        literals.extend([r"\200", r"\351", r"\377"].map(String::from));
    }
    if sql_type == "interval" && major >= 15 {
        literals.extend(["2562047788:00:54.775807", "-2562047788:00:54.775807"].map(String::from));
    }
    if sql_type == "interval" && major >= 17 {
        literals.extend(["infinity", "-infinity"].map(String::from));
    }
    literals.extend((0..random).map(|_| random_literal(sql_type, rng)));
    literals
}

fn edges(sql_type: &str) -> &'static [&'static str] {
    match sql_type {
        "bool" => &["t", "f"],
        "int2" => &["0", "-1", "32767", "-32768"],
        "int4" => &["0", "-1", "2147483647", "-2147483648"],
        "int8" => &["0", "-1", "9223372036854775807", "-9223372036854775808"],
        "oid" => &["0", "4294967295"],
        "float4" => &[
            "0",
            "-0",
            "NaN",
            "Infinity",
            "-Infinity",
            "999999",
            "999999.94",
            "1000000",
            "9.9e-5",
            "0.00010000001",
            "3.4028235e38",
            "1.1754944e-38",
            "-1.5",
            "16777216",
            "33554432",
        ],
        "float8" => &[
            "0",
            "-0",
            "NaN",
            "Infinity",
            "-Infinity",
            "999999999999999",
            "1e15",
            "9.99999e-5",
            "0.0001",
            "1.7976931348623157e308",
            "2.2250738585072014e-308",
            "9007199254740993",
            "18014398509481984",
            "9e22",
            "1e23",
            "-1e23",
            "0.1",
            "0.30000000000000004",
        ],
        _ => decimal_and_text_edges(sql_type),
    }
}

fn decimal_and_text_edges(sql_type: &str) -> &'static [&'static str] {
    match sql_type {
        "numeric" => &[
            "0",
            "0.00",
            "-0.5",
            "1.500",
            "10000",
            "100000000",
            "0.0001",
            "0.00010",
            "0.00001",
            "9999.9999",
            "12345678901234567890.123456789",
            "1e131071",
            "1e-16383",
            "NaN",
            "Infinity",
            "-Infinity",
            "-12340000.0000567800",
            "1e20",
            "0e-30",
        ],
        "text" | "varchar(12)" | "bpchar(12)" | "name" => &[
            "",
            " ",
            "a  ",
            "NULL",
            "null",
            "{}",
            "a,b",
            "\"",
            "\\",
            "ä€😀",
            "\u{7f}",
            "\n\t\u{1}",
        ],
        "\"char\"" => &["", "NULL"],
        "bytea" => &["\\x", "\\x00", "\\xdeadbeef5c22"],
        _ => time_edges(sql_type),
    }
}

fn time_edges(sql_type: &str) -> &'static [&'static str] {
    match sql_type {
        "date" => &[
            "infinity",
            "-infinity",
            "4714-11-24 BC",
            "0001-12-31 BC",
            "0001-01-01",
            "2000-02-29",
            "1900-03-01",
            "1999-12-31",
            "9999-12-31",
            "10000-01-01",
            "5874897-12-31",
        ],
        "time" => &["00:00:00", "24:00:00", "23:59:59.999999", "12:00:00.5", "00:00:00.000001"],
        "timetz" => &[
            "00:00:00+00",
            "24:00:00-12",
            "10:00:00.5+05:30",
            "10:00:00-00:30",
            "10:00:00+15:59:59",
            "10:00:00-15:59:59",
            "01:02:03+00:00:01",
            "01:02:03-01:02:03",
        ],
        "timestamp" | "timestamptz" => &[
            "infinity",
            "-infinity",
            "4714-11-24 00:00:00 BC",
            "0001-12-31 23:59:59.9 BC",
            "0001-01-01 00:00:00",
            "1999-12-31 23:59:59.999999",
            "2000-01-01 00:00:00",
            "9999-12-31 23:59:59",
            "10000-01-01 00:00:00",
            "294276-12-31 23:59:59.999999",
            "1883-11-18 12:03:58",
            "2026-03-29 01:30:00.120000",
        ],
        _ => other_edges(sql_type),
    }
}

fn other_edges(sql_type: &str) -> &'static [&'static str] {
    match sql_type {
        "interval" => &[
            "0",
            "1 year",
            "-1 year",
            "2 years -1 mon",
            "-1 year +1 mon",
            "1 mon -1 day 00:00:01",
            "-1 day 00:00:00",
            "1 day",
            "-00:00:00.000001",
            "596523:14:07.5",
            "-178956970 years -8 mons",
            "2147483647 days",
            "99:59:59.9",
        ],
        "uuid" => &["00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"],
        "json" | "jsonb" => &[
            "null",
            "true",
            "\"\"",
            " [1, 2.50, 1e5] ",
            "{}",
            "[]",
            "{\"a\": {\"b\": [null]}}",
            "{\n\t\"a\" : 1,\r\n \"a\":2}",
            "\"\\\"\\\\\\u00e9\\n\"",
            "-0.00",
            "\"NULL\"",
        ],
        _ => unreachable!("{sql_type} has no edges"),
    }
}

fn random_literal(sql_type: &str, rng: &mut StdRng) -> String {
    let shift = rng.random_range(0..64u32);
    match sql_type {
        "bool" => rng.random::<bool>().to_string(),
        "int2" => rng.random::<i16>().to_string(),
        "int4" => (rng.random::<i32>() >> (shift / 2)).to_string(),
        "int8" => (rng.random::<i64>() >> shift).to_string(),
        "oid" => rng.random::<u32>().to_string(),
        "float4" => match rng.random_range(0..4) {
            3 => half_way(24, rng),
            0 => format!("{:e}", f32::from_bits(rng.random())),
            1 => format!("{}e{}", rng.random_range(1..100_000), rng.random_range(-40..30)),
            _ => format!("{:e}", (rng.random::<u32>() >> (shift / 2)) as f32),
        },
        "float8" => match rng.random_range(0..4) {
            3 => half_way(53, rng),
            0 => format!("{:e}", f64::from_bits(rng.random())),
            1 => format!("{}e{}", rng.random_range(1..1_000_000), rng.random_range(-300..300)),
            _ => format!("{:e}", (rng.random::<u64>() >> shift) as f64),
        },
        "numeric" => random_numeric(rng),
        "text" => random_text(rng, 60),
        "varchar(12)" | "bpchar(12)" | "name" => random_text(rng, 12),
        "\"char\"" => char::from(rng.random_range(32..127u8)).to_string(),
        "bytea" => {
            let hex = (0..rng.random_range(0..40)).map(|_| format!("{:02x}", rng.random::<u8>()));
            format!("\\x{}", hex.collect::<String>())
        }
        "date" => random_date(rng, 5_874_000),
        "time" => random_time(rng),
        "timetz" => format!("{}{}", random_time(rng), random_offset(rng)),
        "timestamp" | "timestamptz" => random_timestamp(sql_type, rng),
        "interval" => random_interval(rng),
        "uuid" => format!("{:032x}", rng.random::<u128>()),
        "json" | "jsonb" => random_json(rng, 3),
        _ => unreachable!("{sql_type} has no random values"),
    }
}

/// A short decimal exactly between two neighbouring floats of `bits` binary digits, where the
/// server's shortest form differs from other people's.
fn half_way(bits: u32, rng: &mut StdRng) -> String {
    let exponent = rng.random_range(1..=if bits == 24 { 10 } else { 22 });
    let (low, power) = (1u64 << bits, 5u64.pow(exponent));
    let odd = rng.random_range(low / power..2 * low / power) | 1;
    format!("{}e{exponent}", odd << rng.random_range(0..3))
}

fn random_numeric(rng: &mut StdRng) -> String {
    let mut digits = |most: usize| -> String {
        let count = rng.random_range(0..=most);
        (0..count)
            .map(|_| if rng.random_ratio(1, 2) { '0' } else { rng.random_range('0'..='9') })
            .collect()
    };
    let (whole, fraction) = (digits(30), digits(30));
    let sign = if rng.random() { "-" } else { "" };
    format!("{sign}{whole}0.{fraction}")
}

fn random_text(rng: &mut StdRng, most: usize) -> String {
    const ODD: &[char] =
        &['"', '\\', '\'', '\n', '\t', '\r', '\u{8}', '\u{1f}', '{', '}', ',', ' ', 'ä', '€', '😀'];
    let odd = rng.random_range(0..4);
    (0..rng.random_range(0..=most))
        .map(|_| match rng.random_range(0..10) < odd {
            true => *ODD.choose(rng).unwrap(),
            false => rng.random_range('!'..='~'),
        })
        .collect()
}

fn random_date(rng: &mut StdRng, year_max: i32) -> String {
    let year = match rng.random_range(0..3) {
        0 => rng.random_range(1900..2100),
        1 => rng.random_range(-4712..10_000),
        _ => rng.random_range(1..year_max),
    };
    let (month, day) = (rng.random_range(1..=12), rng.random_range(1..=28));
    match year {
        1.. => format!("{year:04}-{month:02}-{day:02}"),
        _ => format!("{:04}-{month:02}-{day:02} BC", 1 - year),
    }
}

fn random_time(rng: &mut StdRng) -> String {
    let micros = rng.random_range(0..1_000_000u32) / 10u32.pow(rng.random_range(0..7));
    let (hour, minute, second) =
        (rng.random_range(0..24), rng.random_range(0..60), rng.random_range(0..60));
    format!("{hour:02}:{minute:02}:{second:02}.{micros:06}")
}

fn random_offset(rng: &mut StdRng) -> String {
    let sign = if rng.random() { '+' } else { '-' };
    let (hour, minute) = (rng.random_range(0..15), *[0, 30, 45].choose(rng).unwrap());
    format!("{sign}{hour:02}:{minute:02}")
}

fn random_timestamp(sql_type: &str, rng: &mut StdRng) -> String {
    let date = random_date(rng, 294_000);
    let (date, era) = date.strip_suffix(" BC").map_or((date.as_str(), ""), |date| (date, " BC"));
    let offset = if sql_type == "timestamptz" { random_offset(rng) } else { String::new() };
    format!("{date} {}{offset}{era}", random_time(rng))
}

fn random_interval(rng: &mut StdRng) -> String {
    let mut part =
        |most: i32| if rng.random_ratio(1, 3) { 0 } else { rng.random_range(-most..=most) };
    let (years, months, days, seconds) = (part(200), part(11), part(400), part(400_000));
    let micros = part(999_999);
    format!("{years} years {months} mons {days} days {seconds} seconds {micros} microseconds")
}

fn random_json(rng: &mut StdRng, depth: u32) -> String {
    let blank = if rng.random_ratio(1, 4) { "\n " } else { "" };
    let children = |rng: &mut StdRng, keyed: bool| {
        let children: Vec<String> = (0..rng.random_range(0..4))
            .map(|_| {
                let key = format!("{}:", serde_json::to_string(&random_text(rng, 5)).unwrap());
                format!("{}{}", if keyed { key.as_str() } else { "" }, random_json(rng, depth - 1))
            })
            .collect();
        children.join(&format!("{blank},"))
    };
    match rng.random_range(0..if depth == 0 { 4 } else { 6 }) {
        0 => format!("{}.{}0", rng.random::<i32>(), rng.random::<u16>()),
        1 => serde_json::to_string(&random_text(rng, 20)).unwrap(),
        2 => "null".into(),
        3 => rng.random::<bool>().to_string(),
        4 => format!("[{}{blank}]", children(rng, false)),
        _ => format!("{{{}{blank}}}", children(rng, true)),
    }
}

/// Array literals over `elements`: empty, with NULLs, of several dimensions, with own bounds.
pub(crate) fn array_literals(elements: &[String], random: usize, rng: &mut StdRng) -> Vec<String> {
    let quoted: Vec<String> = elements.iter().map(|element| quote(element)).collect();
    let mut literals = vec![
        "{}".into(),
        "{NULL}".into(),
        "{{NULL,NULL}}".into(),
        format!("{{{}}}", quoted.join(",")),
    ];
    literals.extend((0..random).map(|_| random_array(&quoted, rng)));
    literals
}

fn random_array(quoted: &[String], rng: &mut StdRng) -> String {
    let lengths: Vec<usize> =
        (0..rng.random_range(1..=4)).map(|_| rng.random_range(1..=3)).collect();
    let mut bounds = String::new();
    if rng.random_ratio(1, 3) {
        for length in &lengths {
            let low = rng.random_range(-3..=3);
            bounds.push_str(&format!("[{low}:{}]", low + *length as i32 - 1));
        }
        bounds.push('=');
    }
    bounds + &dimension(&lengths, quoted, rng)
}

fn dimension(lengths: &[usize], quoted: &[String], rng: &mut StdRng) -> String {
    let Some((&length, inner)) = lengths.split_first() else {
        return match rng.random_ratio(1, 6) {
            true => "NULL".into(),
            false => quoted.choose(rng).unwrap().clone(),
        };
    };
    let items: Vec<String> = (0..length).map(|_| dimension(inner, quoted, rng)).collect();
    format!("{{{}}}", items.join(","))
}

fn quote(element: &str) -> String {
    format!("\"{}\"", element.replace('\\', "\\\\").replace('"', "\\\""))
}
