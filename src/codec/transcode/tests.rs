//! What no server sends must be refused, and whatever the bytes, nothing panics. What servers send
//! is held against their own binary output in `tests/`.

use postgres_types::Field;
use proptest::prelude::*;

use super::*;

fn binary(ty: &Type, text: &str) -> Result<Vec<u8>, TranscodeError> {
    let mut out = b"before".to_vec();
    let result = transcode(ty, text.as_bytes(), &mut out);
    assert!(out.starts_with(b"before"));
    result.map(|()| out.split_off(6))
}

#[test]
fn what_is_not_of_the_type_is_refused_and_leaves_the_buffer() {
    let cases = [
        (Type::BOOL, "true"),
        (Type::INT4, "+1"),
        (Type::INT2, "32768"),
        (Type::FLOAT8, "inf"),
        (Type::NUMERIC, "1e5"),
        (Type::NUMERIC, "."),
        (Type::UUID, "00000000-0000-0000-0000-00000000000"),
        (Type::DATE, "2000-13-01"),
        (Type::TIME, "24:00:01"),
        (Type::TIMESTAMPTZ, "2000-01-01 00:00:00"),
        (Type::INTERVAL, "1 fortnight"),
        (Type::BIT, "102"),
        (Type::INET, "10.0.0.1/33"),
        (Type::POINT, "(1,2,3)"),
        (Type::INT4_ARRAY, "{{1},{2,3}}"),
        (Type::INT4_ARRAY, "{1,2"),
        (Type::INT4_ARRAY, "{{{{{{{1}}}}}}}"),
        (Type::INT4_RANGE, "[1,2"),
        (Type::TEXT_ARRAY, "{\"a}"),
    ];
    for (ty, text) in cases {
        let mut out = b"before".to_vec();
        let error = transcode(&ty, text.as_bytes(), &mut out).unwrap_err();
        assert!(matches!(error, TranscodeError::Malformed(_)), "{ty} {text}: {error}");
        assert_eq!(out, b"before", "{ty} {text}");
    }
}

#[test]
fn a_type_whose_text_does_not_tell_is_refused_by_name() {
    for (ty, text) in [(Type::TSQUERY, "'a'"), (Type::REGCLASS, "pg_class"), (Type::MONEY, "1 €")]
    {
        let error = binary(&ty, text).unwrap_err().to_string();
        assert!(error.contains(ty.name()), "{error}");
    }
    assert_eq!(binary(&Type::REGCLASS, "1259").unwrap(), 1259u32.to_be_bytes());
}

#[test]
fn what_a_database_defines_follows_from_its_kind() {
    let own = |name: &str, kind| Type::new(name.to_owned(), 16_400, kind, "public".to_owned());
    let mood = own("mood", Kind::Enum(vec!["fine".to_owned()]));
    assert_eq!(binary(&mood, "fine").unwrap(), b"fine");
    let positive = own("positive", Kind::Domain(Type::INT4));
    assert_eq!(binary(&positive, "7").unwrap(), 7i32.to_be_bytes());
    let fields = [("n", positive), ("m", mood), ("t", Type::TEXT)];
    let fields = fields.map(|(name, ty)| Field::new(name.to_owned(), ty)).to_vec();
    let pair = own("pair", Kind::Composite(fields));
    let mut expected = 3u32.to_be_bytes().to_vec();
    for (oid, value) in [
        (16_400u32, Some(7i32.to_be_bytes().as_slice())),
        (16_400, None),
        (25, Some(b"a \"b\", \\".as_slice())),
    ] {
        expected.extend(oid.to_be_bytes());
        expected.extend(value.map_or(-1, |value| value.len() as i32).to_be_bytes());
        expected.extend(value.unwrap_or_default());
    }
    assert_eq!(binary(&pair, r#"(7,,"a ""b"", \\")"#).unwrap(), expected);
}

#[test]
fn bytea_in_escape_style_is_read_too() {
    assert_eq!(binary(&Type::BYTEA, r"a\\b\000\377").unwrap(), b"a\\b\0\xff");
    assert_eq!(binary(&Type::BYTEA, r"\x00ff").unwrap(), b"\0\xff");
}

proptest! {
    #[test]
    fn nothing_panics(oid in 16u32..5000, text in r#"[-+:.,{}()\[\]"\\ 0-9a-zA-Z<>/$']{0,24}"#) {
        if let Some(ty) = Type::from_oid(oid) {
            let _ = binary(&ty, &text);
        }
    }
}
