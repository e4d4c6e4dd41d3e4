//! Values with known output, and properties over values of any shape. What the server itself makes
//! of them is compared in `tests/json_of_every_common_type_equals_to_jsonb.rs`.

use super::*;
use crate::event::Oid;

fn json(value_type: ValueType, value: Value<'_>) -> Result<String, ValueError> {
    let mut out = b"before".to_vec();
    let result = write_json(&mut out, value_type, value);
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
        assert_eq!(json(value_type, Value::Null).unwrap(), "null");
        assert_eq!(json(value_type, Value::Unchanged), Err(ValueError::Unchanged));
    }
}

#[test]
fn a_type_without_decoder_shows_its_text_and_refuses_its_binary_form() {
    assert_eq!(text(other(), "(1,\"a\")"), r#""(1,\"a\")""#);
    let type_oid = Oid::new(603);
    assert_eq!(json(other(), Value::Binary(b"x")), Err(ValueError::NoDecoder { type_oid }));
}

fn other() -> ValueType {
    TypeRegistry::builtin().value_type(Oid::new(603))
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
