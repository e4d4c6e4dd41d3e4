//! Values with known output, and properties over values of any shape. What the server itself makes
//! of them is compared in `tests/json_of_every_type_equals_to_jsonb.rs`.

use super::*;
use crate::event::Oid;

fn json(value_type: ValueType, value: Value<'_>) -> Result<String, ValueError> {
    let mut out = b"before".to_vec();
    let result = write_json(&mut out, &value_type, value);
    let written = out.split_off(6);
    assert_eq!(out, b"before");
    assert!(result.is_ok() || written.is_empty(), "an error leaves the buffer as it was");
    result.map(|()| String::from_utf8(written).unwrap())
}

fn text(value_type: ValueType, text: &str) -> String {
    json(value_type, Value::Text(text.as_bytes())).unwrap()
}

fn binary(value_type: ValueType, bytes: &[u8]) -> String {
    json(value_type, Value::Binary(bytes)).unwrap()
}

#[test]
fn null_is_null_and_an_unchanged_value_is_refused() {
    for value_type in [Scalar::Text.into(), ValueType::Array(Scalar::Int4), other()] {
        assert_eq!(json(value_type.clone(), Value::Null).unwrap(), "null");
        assert_eq!(json(value_type, Value::Unchanged), Err(ValueError::Unchanged));
    }
}

#[test]
fn a_type_without_decoder_shows_its_text_and_its_binary_form_raw() {
    assert_eq!(text(other(), "(1,\"a\")"), r#""(1,\"a\")""#);
    assert_eq!(binary(other(), b"x"), r#"{"oid":790,"binary":"\\x78"}"#);
    let list = TypeRegistry::builtin().value_type(Oid::new(791));
    assert_eq!(text(list.clone(), "{$1.00,NULL}"), r#"["$1.00",null]"#);
    assert_eq!(binary(list, b"x"), r#"{"oid":791,"type":"money[]","binary":"\\x78"}"#);
}

/// `money`, whose text depends on the locale.
fn other() -> ValueType {
    TypeRegistry::builtin().value_type(Oid::new(790))
}

/// `public.pair (n int4, "a b" text)`, whose identifier is 16400.
fn pair() -> ValueType {
    let attribute = |name: &str, oid| Attribute { name: name.to_owned(), type_oid: Oid::new(oid) };
    let kind = TypeKind::Composite(vec![attribute("n", 23), attribute("a b", 25)]);
    let mut registry = TypeRegistry::builtin();
    let (schema, name) = ("public".to_owned(), "pair".to_owned());
    let definition = TypeDefinition { schema, name, kind, extension: None, json: JsonForm::Usual };
    registry.insert(Oid::new(16_400), definition);
    registry.value_type(Oid::new(16_400))
}

#[test]
fn a_composite_is_an_object_and_raw_where_its_type_has_changed() {
    let object = r#"{"n":-1,"a b":"x \"y\""}"#;
    assert_eq!(text(pair(), r#"(-1,"x ""y""")"#), object);
    assert_eq!(text(pair(), "(,)"), r#"{"n":null,"a b":null}"#);
    let form = |count: i32, first: u32| {
        let mut bytes = [count.to_be_bytes(), first.to_be_bytes()].concat();
        bytes.extend([4i32, -1, 25, 5].map(i32::to_be_bytes).concat());
        bytes.extend(b"x \"y\"");
        bytes
    };
    assert_eq!(binary(pair(), &form(2, 23)), object);
    for (changed, shown) in [("(1)", "(1)"), ("(1,2,3)", "(1,2,3)"), ("(x,y)", "(x,y)")] {
        let raw = format!(r#"{{"oid":16400,"type":"public.pair","text":"{shown}"}}"#);
        assert_eq!(text(pair(), changed), raw);
    }
    for bytes in [form(3, 23), form(2, 21)] {
        let raw = binary(pair(), &bytes);
        assert!(raw.starts_with(r#"{"oid":16400,"type":"public.pair","binary":"\\x"#), "{raw}");
    }
    assert!(json(pair(), Value::Text(b"(\xff)")).is_err(), "JSON has no place for it");
}

#[test]
fn floats_are_the_servers_shortest_form() {
    let float8 = |number: f64| binary(Scalar::Float8.into(), &number.to_be_bytes());
    let float4 = |number: f32| binary(Scalar::Float4.into(), &number.to_be_bytes());
    assert_eq!(float8(1e23), "9.999999999999999e+22");
    assert_eq!(float8(1e15), "1e+15");
    assert_eq!(float8(123_456_789_012_345.0), "123456789012345");
    assert_eq!(float8(-0.0), "-0");
    assert_eq!(float8(0.0001), "0.0001");
    assert_eq!(float8(0.00001), "1e-05");
    assert_eq!(float8(5e-324), "5e-324");
    assert_eq!(float8(f64::NEG_INFINITY), r#""-Infinity""#);
    assert_eq!(float4(1e6), "1e+06");
    assert_eq!(float4(999_999.9), "999999.9");
    assert_eq!(float4(f32::NAN), r#""NaN""#);
}

#[test]
fn what_is_not_of_the_type_is_refused() {
    let cases: &[(Scalar, Value<'_>, Fault)] = &[
        (Scalar::Bool, Value::Text(b"true"), Fault::Syntax),
        (Scalar::Bool, Value::Binary(&[2]), Fault::Range),
        (Scalar::Int4, Value::Text(b"007"), Fault::Syntax),
        (Scalar::Int4, Value::Text(b"-"), Fault::Syntax),
        (Scalar::Int4, Value::Binary(&[0; 3]), Fault::Length),
        (Scalar::Numeric, Value::Text(b"1."), Fault::Syntax),
        (Scalar::Float8, Value::Text(b"1e"), Fault::Syntax),
        (Scalar::Numeric, Value::Binary(&[0, 1, 0, 0, 0, 0, 0, 0]), Fault::Length),
        (Scalar::Numeric, Value::Binary(&[0, 1, 0, 0, 0, 0, 0, 0, 0x27, 0x10]), Fault::Range),
        (Scalar::Numeric, Value::Binary(&[0, 1, 0, 1, 0, 0, 0, 0, 0, 0]), Fault::Range),
        (Scalar::Text, Value::Text(b"\xff"), Fault::Encoding),
        (Scalar::Jsonb, Value::Text(b""), Fault::Syntax),
        (Scalar::Jsonb, Value::Binary(b"\x02{}"), Fault::Version),
        (Scalar::Bytea, Value::Text(b"\\x123"), Fault::Syntax),
        (Scalar::Bytea, Value::Text(b"abc"), Fault::Syntax),
        (Scalar::Date, Value::Text(b"31.12.1999"), Fault::Syntax),
        (Scalar::Timestamp, Value::Text(b"1999-12-31 00:00:00+00"), Fault::Syntax),
        (Scalar::TimestampTz, Value::Text(b"1999-12-31 00:00:00 CET"), Fault::Syntax),
        (Scalar::Timestamp, Value::Binary(&(i64::MIN + 1).to_be_bytes()), Fault::Range),
        (Scalar::Time, Value::Binary(&(-1i64).to_be_bytes()), Fault::Range),
    ];
    for (scalar, value, expected) in cases {
        match json((*scalar).into(), *value) {
            Err(ValueError::Malformed { fault, .. }) => assert_eq!(fault, *expected, "{value:?}"),
            other => panic!("{scalar} {value:?}: {other:?}"),
        }
    }
    for text in
        ["", "1", "{", "{1", "{1}}", "{1,}", "{,1}", "{\"1}", "{1}x", "[0:1]", "{{{{{{{1}}}}}}}"]
    {
        let refused = json(ValueType::Array(Scalar::Int4), Value::Text(text.as_bytes()));
        assert!(refused.is_err(), "{text}: {refused:?}");
    }
}

#[test]
fn a_binary_array_cannot_claim_more_than_it_holds() {
    let claim = |dimensions: i32, lengths: &[i32], element: u32| {
        let mut bytes = [dimensions.to_be_bytes(), [0; 4], element.to_be_bytes()].concat();
        for length in lengths {
            bytes.extend([length.to_be_bytes(), 1i32.to_be_bytes()].concat());
        }
        json(ValueType::Array(Scalar::Int4), Value::Binary(&bytes))
    };
    assert_eq!(claim(0, &[], 23).unwrap(), "[]");
    assert!(claim(1, &[i32::MAX], 23).is_err());
    assert!(claim(6, &[i32::MAX; 6], 23).is_err());
    assert!(claim(7, &[1; 7], 23).is_err());
    assert!(claim(-1, &[], 23).is_err());
    assert!(claim(1, &[-1], 23).is_err());
    assert!(claim(0, &[], 25).is_err(), "an array of text is not one of integers");
}

/// Days counted one by one, from 4714-11-24 BC to the year 3000.
#[test]
fn every_day_has_its_date() {
    let (mut year, mut month, mut day) = (-4713i64, 11, 24);
    for days in -2_451_545i32.. {
        let shown = if year > 0 { year } else { 1 - year };
        let era = if year > 0 { "" } else { " BC" };
        let date = format!("{shown:04}-{month:02}-{day:02}{era}");
        let expected = format!("\"{date}\"");
        assert_eq!(binary(Scalar::Date.into(), &days.to_be_bytes()), expected);
        if days % 97 == 0 {
            assert_eq!(text(Scalar::Date.into(), &date), expected);
        }
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let length = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        (year, month, day) = match (month, day == length) {
            (_, false) => (year, month, day + 1),
            (12, true) if year == 2999 => return,
            (12, true) => (year + 1, 1, 1),
            (_, true) => (year, month + 1, 1),
        };
    }
}

mod properties {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    /// Those of which any bytes may come; JSON is taken as it is.
    fn scalars() -> Vec<Scalar> {
        let taken = |it: &Scalar| !matches!(it, Scalar::Json | Scalar::Jsonb);
        Scalar::ALL.iter().copied().filter(taken).collect()
    }

    fn is_json(json: &str) -> bool {
        serde_json::from_str::<&serde_json::value::RawValue>(json).is_ok()
    }

    /// The binary form of a numeric written in decimal.
    fn numeric_bytes(negative: bool, whole: &str, fraction: &str) -> Vec<u8> {
        let scale = fraction.len();
        let digits = format!(
            "{}{whole}{fraction}{}",
            "0".repeat((4 - whole.len() % 4) % 4),
            "0".repeat((4 - scale % 4) % 4)
        );
        let mut weight = (whole.len().div_ceil(4)) as i16 - 1;
        let mut groups: Vec<u16> =
            (0..digits.len() / 4).map(|at| digits[at * 4..at * 4 + 4].parse().unwrap()).collect();
        while groups.first() == Some(&0) {
            groups.remove(0);
            weight -= 1;
        }
        while groups.last() == Some(&0) {
            groups.pop();
        }
        if groups.is_empty() {
            weight = 0;
        }
        let sign = if negative && !groups.is_empty() { 0x4000 } else { 0 };
        let header = [groups.len() as u16, weight as u16, sign, scale as u16];
        header.iter().chain(&groups).flat_map(|number| number.to_be_bytes()).collect()
    }

    /// A two-dimensional text array in both forms.
    fn array_forms(rows: &[Vec<Option<String>>]) -> (String, Vec<u8>) {
        let quoted = |element: &Option<String>| match element {
            None => "NULL".into(),
            Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        };
        let row = |row: &Vec<Option<String>>| {
            format!("{{{}}}", row.iter().map(quoted).collect::<Vec<_>>().join(","))
        };
        let text = format!("{{{}}}", rows.iter().map(row).collect::<Vec<_>>().join(","));
        let head = [2, 1, 25, rows.len() as i32, 1, rows[0].len() as i32, 1];
        let mut binary: Vec<u8> = head.iter().flat_map(|number| number.to_be_bytes()).collect();
        for element in rows.iter().flatten() {
            let length = element.as_ref().map_or(-1, |text| text.len() as i32);
            binary.extend(length.to_be_bytes());
            binary.extend(element.iter().flat_map(|text| text.bytes()));
        }
        (text, binary)
    }

    proptest! {
        #[test]
        fn any_bytes_give_json_or_an_error(
            scalar in select(scalars()),
            bytes in prop_oneof![
                vec(any::<u8>(), 0..40),
                vec(select(b"{}[]\",\\0123456789.-+: eNULL=x".as_slice()), 0..30),
            ],
        ) {
            for value in [Value::Text(&bytes), Value::Binary(&bytes)] {
                for value_type in [ValueType::Scalar(scalar), ValueType::Array(scalar)] {
                    if let Ok(written) = json(value_type.clone(), value) {
                        prop_assert!(is_json(&written), "{value_type} {written}");
                    }
                }
            }
        }

        #[test]
        fn any_bytes_of_a_nested_type_give_json_or_an_error(
            oid in select(vec![3904u32, 3906, 3926, 4451, 4536, 3905, 6155, 0]),
            bytes in prop_oneof![
                vec(any::<u8>(), 0..40),
                vec(select(vec![0u8, 0, 0, 1, 2, 4, 25, 23, 255, 18]), 0..40),
                vec(select(b"{}[]()\",\\012.-: empty".as_slice()), 0..30),
            ],
        ) {
            let value_type = match oid {
                0 => pair(),
                oid => TypeRegistry::builtin().value_type(Oid::new(oid)),
            };
            for value in [Value::Text(&bytes), Value::Binary(&bytes)] {
                if let Ok(written) = json(value_type.clone(), value) {
                    prop_assert!(is_json(&written), "{value_type} {written}");
                }
            }
        }

        #[test]
        fn a_damaged_array_gives_json_or_an_error(
            rows in (1usize..4)
                .prop_flat_map(|width| vec(vec(any::<Option<String>>(), width), 1..4)),
            at in any::<prop::sample::Index>(),
            byte: u8,
            cut in any::<prop::sample::Index>(),
        ) {
            let (text, binary) = array_forms(&rows);
            let value_type = ValueType::Array(Scalar::Text);
            let whole = json(value_type.clone(), Value::Text(text.as_bytes())).unwrap();
            prop_assert_eq!(&json(value_type.clone(), Value::Binary(&binary)).unwrap(), &whole);
            prop_assert_eq!(&serde_json::to_string(&rows).unwrap(), &whole);
            let (mut text, mut binary) = (text.into_bytes(), binary);
            for bytes in [&mut text, &mut binary] {
                let at = at.index(bytes.len());
                bytes[at] = byte;
                bytes.truncate(cut.index(bytes.len()) + 1);
            }
            for value in [Value::Text(&text), Value::Binary(&binary)] {
                if let Ok(written) = json(value_type.clone(), value) {
                    prop_assert!(is_json(&written), "{written}");
                }
            }
        }

        #[test]
        fn numerics_of_both_forms_are_equal(
            negative: bool, whole in "[1-9][0-9]{0,30}|0", fraction in "[0-9]{0,30}",
        ) {
            let bytes = numeric_bytes(negative, &whole, &fraction);
            let sign = if bytes[4] == 0x40 { "-" } else { "" };
            let point = if fraction.is_empty() { "" } else { "." };
            let shown = format!("{sign}{whole}{point}{fraction}");
            prop_assert_eq!(&text(Scalar::Numeric.into(), &shown), &shown);
            prop_assert_eq!(&binary(Scalar::Numeric.into(), &bytes), &shown);
        }

        #[test]
        fn timestamps_of_both_forms_are_equal(
            days in -2_451_545i32..100_000_000, seconds in 0i64..86_400, micros in 0i64..1_000_000,
        ) {
            let date = binary(Scalar::Date.into(), &days.to_be_bytes());
            let (date, era) = match date.trim_matches('"').split_once(' ') {
                Some((date, _)) => (date.to_owned(), " BC"),
                None => (date.trim_matches('"').to_owned(), ""),
            };
            let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            let fraction = format!(".{micros:06}");
            let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
            let clock = format!("{hour:02}:{minute:02}:{second:02}{fraction}");
            let instant = (i64::from(days) * 86_400 + seconds) * 1_000_000 + micros;
            let with = format!("\"{date}T{clock}+00:00{era}\"");
            let zoned: ValueType = Scalar::TimestampTz.into();
            prop_assert_eq!(&text(zoned.clone(), &format!("{date} {clock}+00{era}")), &with);
            prop_assert_eq!(&binary(zoned, &instant.to_be_bytes()), &with);
            let plain: ValueType = Scalar::Timestamp.into();
            let without = with.replace("+00:00", "");
            prop_assert_eq!(&text(plain.clone(), &format!("{date} {clock}{era}")), &without);
            prop_assert_eq!(&binary(plain, &instant.to_be_bytes()), &without);
        }

        #[test]
        fn floats_read_back_as_themselves(bits: u64) {
            let number = f64::from_bits(bits);
            prop_assume!(number.is_finite());
            let json = binary(Scalar::Float8.into(), &bits.to_be_bytes());
            prop_assert_eq!(json.parse::<f64>().unwrap().to_bits(), bits);
            prop_assert_eq!(&text(Scalar::Float8.into(), &json), &json);
            let number = f32::from_bits(bits as u32);
            prop_assume!(number.is_finite());
            let json = binary(Scalar::Float4.into(), &(bits as u32).to_be_bytes());
            prop_assert_eq!(json.parse::<f32>().unwrap().to_bits(), bits as u32);
        }
    }
}
