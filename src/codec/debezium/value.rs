//! One column's value as the connector's converters make it and its JSON converter writes it.
//!
//! What has a form of its own is read from the type's binary output; a value that came as text is
//! made into that first. Everything else is its text in quotes.

use std::io::Write as _;

use postgres_types::{Kind, Type};

use super::decimal::Decimal;
use super::options::{DebeziumOptions, Decimals, PLACEHOLDER, TimePrecision};
use super::time::{self, Unit};
use super::{array, push_base64};
use crate::codec::error::EncodeFault;
use crate::codec::string::{write_json_str, write_json_utf8};
use crate::codec::transcode::{TranscodeError, transcode};
use crate::codec::value::{Fault, Format, Scalar, ValueError, ValueType, write_json, write_output};
use crate::codec::with_scratch;
use crate::event::Value;

/// What the connector makes of the usual placeholder among identifiers: a hash in their form.
const PLACEHOLDER_UUIDS: &[u8] = b"[\"b68a35a7-17ad-35b3-af2a-ae46edb4545a\"]";

/// How values of a column are written.
#[derive(Debug, Clone)]
pub(super) struct ColumnForm {
    value_type: ValueType,
    /// How its values, or their elements, are read.
    single: ValueType,
    /// The type of its values, or of their elements.
    element: Type,
    /// `None` where they are their text.
    form: Option<Form>,
    is_array: bool,
}

/// How a single value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Boolean,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    /// With as many digits after the point as the column fixes, or as each number needs.
    Numeric {
        decimals: Decimals,
        scale: Option<u32>,
    },
    Money(Decimals),
    Bytes,
    Date(TimePrecision),
    Time(Unit),
    TimeTz,
    Timestamp(Unit),
    /// With so many digits of a second's fraction.
    TimestampTz(u8),
    Interval,
    /// `bit(1)`.
    OneBit,
    /// Longer bit strings.
    Bits,
    Point,
}

impl Form {
    /// The form of values of `ty` in a column with this modifier; `None` for their text.
    fn of(ty: &Type, modifier: i32, options: &DebeziumOptions) -> Option<Self> {
        Some(match *ty {
            Type::BOOL => Self::Boolean,
            Type::INT2 => Self::Int2,
            Type::INT4 => Self::Int4,
            Type::INT8 => Self::Int8,
            Type::OID => Self::Oid,
            Type::FLOAT4 => Self::Float4,
            Type::FLOAT8 => Self::Float8,
            Type::NUMERIC => {
                let scale = (modifier >= 4).then(|| ((modifier - 4) & 0x7ff ^ 1024) - 1024);
                let scale = scale.and_then(|scale| u32::try_from(scale).ok());
                Self::Numeric { decimals: options.decimals, scale }
            }
            Type::MONEY => Self::Money(options.decimals),
            Type::BYTEA => Self::Bytes,
            Type::DATE => Self::Date(options.time),
            Type::TIME => Self::Time(Unit::of(options.time, modifier)),
            Type::TIMETZ => Self::TimeTz,
            Type::TIMESTAMP => Self::Timestamp(Unit::of(options.time, modifier)),
            Type::TIMESTAMPTZ => Self::TimestampTz(u8::try_from(modifier).unwrap_or(6).min(6)),
            Type::INTERVAL => Self::Interval,
            Type::BIT | Type::VARBIT if modifier == 1 => Self::OneBit,
            Type::BIT | Type::VARBIT => Self::Bits,
            Type::POINT => Self::Point,
            _ => return None,
        })
    }
}

impl ColumnForm {
    /// The form of a column of the type `oid` with this modifier, whose values are read as
    /// `value_type`.
    pub(super) fn new(
        oid: u32,
        modifier: i32,
        value_type: ValueType,
        options: &DebeziumOptions,
    ) -> Self {
        let whole = Type::from_oid(oid).or_else(|| type_of(&value_type)).unwrap_or(Type::UNKNOWN);
        let (element, is_array) = match whole.kind() {
            Kind::Array(element) if value_type.element().is_some() => (element.clone(), true),
            _ => (whole, false),
        };
        let form = Form::of(&element, modifier, options);
        let single = value_type.element().filter(|_| is_array);
        let single = single.unwrap_or_else(|| value_type.clone());
        Self { value_type, single, element, form, is_array }
    }

    /// What stands for a value that was not sent.
    pub(super) fn placeholder(&self, placeholder: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let bytes = placeholder.as_bytes();
        match (self.is_array, &self.element) {
            (false, &Type::BYTEA) => quoted_base64(&mut out, bytes),
            (false, _) => write_json_str(&mut out, placeholder),
            (true, &Type::BYTEA) => {
                out.push(b'[');
                quoted_base64(&mut out, bytes);
                out.push(b']');
            }
            (true, &(Type::INT4 | Type::INT8 | Type::DATE)) => {
                let numbers: Vec<_> = bytes.iter().map(u8::to_string).collect();
                out.extend_from_slice(format!("[{}]", numbers.join(",")).as_bytes());
            }
            (true, &Type::UUID) if placeholder == PLACEHOLDER => {
                out.extend_from_slice(PLACEHOLDER_UUIDS);
            }
            (true, _) => {
                out.push(b'[');
                write_json_str(&mut out, placeholder);
                out.push(b']');
            }
        }
        out
    }

    /// Append `value`, which was sent.
    pub(super) fn write(&self, out: &mut Vec<u8>, value: Value<'_>) -> Result<(), EncodeFault> {
        let written = match value {
            Value::Null => {
                out.extend_from_slice(b"null");
                Ok(())
            }
            Value::Unchanged => Err(Problem::Value(ValueError::Unchanged)),
            Value::Text(text) if self.is_array => {
                let separator = self.value_type.delimiter();
                array::write_text(out, separator, text, &mut |out, text| self.text(out, text))
            }
            Value::Text(text) => self.text(out, text),
            Value::Binary(bytes) if self.is_array => {
                array::write_binary(out, bytes, &mut |out, bytes| self.binary(out, bytes))
            }
            Value::Binary(bytes) => self.binary(out, bytes),
        };
        written.map_err(|problem| self.fault(value, problem))
    }

    fn text(&self, out: &mut Vec<u8>, text: &[u8]) -> Result<(), Problem> {
        match self.form {
            None => Ok(write_json_utf8(out, text).map_err(Fault::from)?),
            Some(form) => with_scratch(|bytes| match transcode(&self.element, text, bytes) {
                Ok(()) => form.write(out, bytes),
                // An amount, in another locale than the one it would be read in.
                Err(TranscodeError::NoTranscoder { .. }) => {
                    Ok(write_json_utf8(out, text).map_err(Fault::from)?)
                }
                Err(TranscodeError::Malformed(fault)) => Err(fault.into()),
            }),
        }
    }

    fn binary(&self, out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Problem> {
        if let Some(form) = self.form {
            return form.write(out, bytes);
        }
        with_scratch(|text| {
            write_output(text, &self.single, Value::Binary(bytes)).map_err(Problem::Value)?;
            Ok(write_json_utf8(out, text).map_err(Fault::from)?)
        })
    }

    fn fault(&self, value: Value<'_>, problem: Problem) -> EncodeFault {
        let fault = match problem {
            Problem::Fault(fault) => fault,
            Problem::Value(error) => return error.into(),
            Problem::NotANumber => return EncodeFault::NotADecimal,
        };
        let format = match value {
            Value::Binary(_) => Format::Binary,
            _ => Format::Text,
        };
        let value_type = self.value_type.clone();
        ValueError::Malformed { value_type, format, fault }.into()
    }
}

/// Why a value could not be written.
enum Problem {
    Fault(Fault),
    Value(ValueError),
    /// NaN or an infinity, which no decimal number is.
    NotANumber,
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Form {
    /// Append a value from its binary form.
    fn write(self, out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Problem> {
        match self {
            Self::Boolean => json(out, Scalar::Bool, bytes)?,
            Self::Int2 => json(out, Scalar::Int2, bytes)?,
            Self::Int4 => json(out, Scalar::Int4, bytes)?,
            Self::Int8 => json(out, Scalar::Int8, bytes)?,
            Self::Oid => number(out, u32::from_be_bytes(fixed(bytes)?)),
            Self::Float4 => float(out, Scalar::Float4, bytes)?,
            Self::Float8 => float(out, Scalar::Float8, bytes)?,
            Self::Numeric { decimals, scale } => numeric(out, bytes, decimals, scale)?,
            Self::Money(decimals) => money(out, i64::from_be_bytes(fixed(bytes)?), decimals)?,
            Self::Bytes => quoted_base64(out, bytes),
            Self::Date(precision) => {
                time::write_date(out, i32::from_be_bytes(fixed(bytes)?), precision);
            }
            Self::Time(unit) => time::write_time(out, i64::from_be_bytes(fixed(bytes)?), unit)?,
            Self::TimeTz => {
                let (micros, west) = bytes.split_at_checked(8).ok_or(Fault::Length)?;
                let west = i32::from_be_bytes(fixed(west)?);
                time::write_time_tz(out, i64::from_be_bytes(fixed(micros)?), west)?;
            }
            Self::Timestamp(unit) => {
                time::write_timestamp(out, i64::from_be_bytes(fixed(bytes)?), unit);
            }
            Self::TimestampTz(digits) => {
                time::write_timestamp_tz(out, i64::from_be_bytes(fixed(bytes)?), digits);
            }
            Self::Interval => {
                let (micros, rest) = bytes.split_at_checked(8).ok_or(Fault::Length)?;
                let (days, months) = rest.split_at_checked(4).ok_or(Fault::Length)?;
                let [days, months] = [fixed(days)?, fixed(months)?].map(i32::from_be_bytes);
                time::write_interval(out, i64::from_be_bytes(fixed(micros)?), days, months);
            }
            Self::OneBit | Self::Bits => bits(out, self, bytes)?,
            Self::Point => point(out, bytes)?,
        }
        Ok(())
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Fault> {
    bytes.try_into().map_err(|_| Fault::Length)
}

fn number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn json(out: &mut Vec<u8>, scalar: Scalar, bytes: &[u8]) -> Result<(), Problem> {
    write_json(out, &scalar.into(), Value::Binary(bytes)).map_err(Problem::Value)
}

/// A float has a point or an exponent, also where it is whole.
fn float(out: &mut Vec<u8>, scalar: Scalar, bytes: &[u8]) -> Result<(), Problem> {
    let start = out.len();
    json(out, scalar, bytes)?;
    if out[start..].iter().all(|byte| matches!(byte, b'0'..=b'9' | b'-')) {
        out.extend_from_slice(b".0");
    }
    Ok(())
}

fn numeric(
    out: &mut Vec<u8>,
    bytes: &[u8],
    decimals: Decimals,
    scale: Option<u32>,
) -> Result<(), Problem> {
    match decimals {
        Decimals::Precise => {
            let decimal = Decimal::read(bytes)?.ok_or(Problem::NotANumber)?;
            let Some(scale) = scale else {
                let scale = decimal.scale();
                out.extend_from_slice(b"{\"scale\":");
                number(out, scale);
                out.extend_from_slice(b",\"value\":");
                decimal.write_unscaled(out, scale)?;
                out.push(b'}');
                return Ok(());
            };
            decimal.write_unscaled(out, scale)?;
        }
        Decimals::String => {
            let start = out.len();
            json(out, Scalar::Numeric, bytes)?;
            if out[start] != b'"' {
                out.insert(start, b'"');
                out.push(b'"');
            }
        }
        Decimals::Double => with_scratch(|text| {
            json(text, Scalar::Numeric, bytes)?;
            if text[0] == b'"' {
                out.extend_from_slice(text);
                return Ok(());
            }
            let nearest = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
            float(out, Scalar::Float8, &nearest.ok_or(Fault::Syntax)?.to_be_bytes())
        })?,
    }
    Ok(())
}

/// An amount in hundredths, as the connector takes it when nothing else is said.
fn money(out: &mut Vec<u8>, cents: i64, decimals: Decimals) -> Result<(), Problem> {
    match decimals {
        Decimals::Precise => {
            let bytes = cents.to_be_bytes();
            let sign = if cents < 0 { 0xff } else { 0 };
            let spare = |pair: &&[u8]| pair[0] == sign && (pair[1] ^ sign) & 0x80 == 0;
            quoted_base64(out, &bytes[bytes.windows(2).take_while(spare).count()..]);
        }
        Decimals::String => {
            let (sign, cents) = (if cents < 0 { "-" } else { "" }, cents.unsigned_abs());
            // Writing to a vector cannot fail.
            let _ = write!(out, "\"{sign}{}.{:02}\"", cents / 100, cents % 100);
        }
        Decimals::Double => float(out, Scalar::Float8, &(cents as f64 / 100.0).to_be_bytes())?,
    }
    Ok(())
}

/// The bits as a number, its lowest byte first, without zero bytes at its end.
fn bits(out: &mut Vec<u8>, form: Form, bytes: &[u8]) -> Result<(), Problem> {
    let (count, bytes) = bytes.split_first_chunk::<4>().ok_or(Fault::Length)?;
    let count = usize::try_from(i32::from_be_bytes(*count)).map_err(|_| Fault::Length)?;
    if bytes.len() != count.div_ceil(8) {
        return Err(Fault::Length.into());
    }
    // The highest bit comes first; the last byte may have unused ones at its end.
    let is_set = |nth: usize| bytes[nth / 8] >> (7 - nth % 8) & 1 == 1;
    if form == Form::OneBit {
        out.extend_from_slice(if count > 0 && is_set(count - 1) { b"true" } else { b"false" });
        return Ok(());
    }
    with_scratch(|number| {
        number.resize(count.div_ceil(8), 0);
        for nth in (0..count).filter(|nth| is_set(*nth)) {
            let place = count - 1 - nth;
            number[place / 8] |= 1 << (place % 8);
        }
        let length = number.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        quoted_base64(out, &number[..length]);
    });
    Ok(())
}

/// `{"x":1.0,"y":2.5,"wkb":"…","srid":null}`, the third being the point as well-known binary.
fn point(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Problem> {
    let (x, y) = bytes.split_at_checked(8).ok_or(Fault::Length)?;
    let (x, y) = (fixed::<8>(x)?, fixed::<8>(y)?);
    out.extend_from_slice(b"{\"x\":");
    float(out, Scalar::Float8, &x)?;
    out.extend_from_slice(b",\"y\":");
    float(out, Scalar::Float8, &y)?;
    out.extend_from_slice(b",\"wkb\":");
    let mut wkb = [0; 21];
    wkb[..5].copy_from_slice(&[1, 1, 0, 0, 0]);
    for (place, number) in wkb[5..].chunks_exact_mut(8).zip([x, y]) {
        place.copy_from_slice(&f64::from_be_bytes(number).to_le_bytes());
    }
    quoted_base64(out, &wkb);
    out.extend_from_slice(b",\"srid\":null}");
    Ok(())
}

fn quoted_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    push_base64(out, bytes);
    out.push(b'"');
}

/// A type whose values are read in this way.
fn type_of(value_type: &ValueType) -> Option<Type> {
    let (scalar, is_array) = match value_type {
        ValueType::Scalar(scalar) => (*scalar, false),
        ValueType::Array(scalar) => (*scalar, true),
        ValueType::Nested(_) | ValueType::Other(_) => return None,
    };
    let (single, array) = match scalar {
        Scalar::Bool => (Type::BOOL, Type::BOOL_ARRAY),
        Scalar::Int2 => (Type::INT2, Type::INT2_ARRAY),
        Scalar::Int4 => (Type::INT4, Type::INT4_ARRAY),
        Scalar::Int8 => (Type::INT8, Type::INT8_ARRAY),
        Scalar::Oid => (Type::OID, Type::OID_ARRAY),
        Scalar::Float4 => (Type::FLOAT4, Type::FLOAT4_ARRAY),
        Scalar::Float8 => (Type::FLOAT8, Type::FLOAT8_ARRAY),
        Scalar::Numeric => (Type::NUMERIC, Type::NUMERIC_ARRAY),
        Scalar::Bytea => (Type::BYTEA, Type::BYTEA_ARRAY),
        Scalar::Date => (Type::DATE, Type::DATE_ARRAY),
        Scalar::Time => (Type::TIME, Type::TIME_ARRAY),
        Scalar::TimeTz => (Type::TIMETZ, Type::TIMETZ_ARRAY),
        Scalar::Timestamp => (Type::TIMESTAMP, Type::TIMESTAMP_ARRAY),
        Scalar::TimestampTz => (Type::TIMESTAMPTZ, Type::TIMESTAMPTZ_ARRAY),
        Scalar::Interval => (Type::INTERVAL, Type::INTERVAL_ARRAY),
        _ => (Type::TEXT, Type::TEXT_ARRAY),
    };
    Some(if is_array { array } else { single })
}
