//! Types as SQL writes them, as the server's `format_type` does for a session with the usual
//! search path.

use postgres_types::{Kind, Type};

use crate::codec::value::{TypeDefinition, TypeKind, TypeRegistry};
use crate::event::{Column, Oid, Relation};

/// How deep domains and arrays may lie in one another.
const DEPTH_MAX: usize = 32;

/// The type of `column`, a column of `relation`, with its modifier: `character varying(20)`. A
/// domain is called by its base type.
///
/// Where the catalogue was not asked, a type that is not built in has the name that the server gave
/// it, which knows no arrays.
pub(super) fn type_name(relation: &Relation, column: &Column) -> String {
    let types = relation.catalog.as_ref().map(|entry| &entry.types);
    let defined = types.and_then(|types| defined_name(types, column.type_oid, DEPTH_MAX));
    defined.map_or_else(|| told_name(column), unquoted)
}

/// What the catalogue calls a type that is not built in.
fn defined_name(types: &TypeRegistry, oid: Oid, depth: usize) -> Option<String> {
    let TypeDefinition { schema, name, kind, .. } = types.definition(oid)?;
    let inner = |oid: &Oid| match Type::from_oid(oid.as_u32()) {
        Some(known) => Some(known_name(&known, -1)),
        None => defined_name(types, *oid, depth.checked_sub(1)?),
    };
    match kind {
        TypeKind::Domain(base) => inner(base),
        TypeKind::Array { element, .. } => {
            // Only a domain itself gives way to its base type.
            let definition = types.definition(*element)?;
            Some(qualified(&definition.schema, &definition.name) + "[]")
        }
        _ => Some(qualified(schema, name)),
    }
}

/// A name as the usual search path shows it.
fn qualified(schema: &str, name: &str) -> String {
    match schema {
        "public" => quoted(name),
        _ => format!("{}.{}", quoted(schema), quoted(name)),
    }
}

fn told_name(column: &Column) -> String {
    let modifier = column.type_modifier;
    if let Some(known) = Type::from_oid(column.type_oid.as_u32()) {
        return unquoted(known_name(&known, modifier));
    }
    let name = column.type_name.as_deref().unwrap_or("???");
    match name.split_once('.') {
        Some(("" | "pg_catalog", name)) => match name.strip_prefix('_') {
            Some(element) => format!("{}[]", built_in(element, modifier)),
            None => unquoted(built_in(name, modifier)),
        },
        Some((schema, name)) => unquoted(qualified(schema, name)),
        None => name.to_owned(),
    }
}

/// A built-in type.
fn known_name(known: &Type, modifier: i32) -> String {
    match known.kind() {
        // These are no arrays to the server.
        Kind::Array(_) if *known == Type::INT2_VECTOR || *known == Type::OID_VECTOR => {
            known.name().to_owned()
        }
        Kind::Array(element) => format!("{}[]", built_in(element.name(), modifier)),
        _ => built_in(known.name(), modifier),
    }
}

/// The plugin takes a name that is quoted as a whole for a JSON string.
fn unquoted(name: String) -> String {
    match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        Some(inner) => inner.to_owned(),
        None => name,
    }
}

/// An identifier, in quotes where it needs some.
fn quoted(name: &str) -> String {
    let plain = |(at, byte): (usize, u8)| match byte {
        b'a'..=b'z' | b'_' => true,
        b'0'..=b'9' => at > 0,
        _ => false,
    };
    if !name.is_empty() && name.bytes().enumerate().all(plain) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// A type of `pg_catalog`.
fn built_in(name: &str, modifier: i32) -> String {
    let given = modifier >= 0;
    // Lengths count the four bytes of a header.
    let length = |name: &str| format!("{name}({})", modifier - 4);
    let precise = |name: &str, rest: &str| match given {
        true => format!("{name}({modifier}){rest}"),
        false => format!("{name}{rest}"),
    };
    match name {
        "bool" => "boolean".to_owned(),
        "int2" => "smallint".to_owned(),
        "int4" => "integer".to_owned(),
        "int8" => "bigint".to_owned(),
        "float4" => "real".to_owned(),
        "float8" => "double precision".to_owned(),
        "numeric" if given => numeric(modifier),
        "bpchar" if given => length("character"),
        "varchar" if given => length("character varying"),
        "varchar" => "character varying".to_owned(),
        "bit" if given => format!("bit({modifier})"),
        "varbit" => precise("bit varying", ""),
        "time" => precise("time", " without time zone"),
        "timetz" => precise("time", " with time zone"),
        "timestamp" => precise("timestamp", " without time zone"),
        "timestamptz" => precise("timestamp", " with time zone"),
        "interval" if given => interval(modifier),
        // Words of SQL's own.
        "bit" | "char" => format!("\"{name}\""),
        _ => quoted(name),
    }
}

/// Precision in the upper half, scale in eleven bits of the lower, with a sign.
fn numeric(modifier: i32) -> String {
    let modifier = modifier - 4;
    let scale = ((modifier & 0x7ff) ^ 1024) - 1024;
    format!("numeric({},{scale})", modifier >> 16 & 0xffff)
}

/// Fields in the upper half, precision in the lower.
fn interval(modifier: i32) -> String {
    const ANY: i32 = 0x7fff;
    const ANY_PRECISION: i32 = 0xffff;
    let [month, year, day, hour, minute, second] = [1, 2, 3, 10, 11, 12].map(|bit| 1 << bit);
    let fields = modifier >> 16 & ANY;
    let words = match fields {
        _ if fields == year => " year",
        _ if fields == month => " month",
        _ if fields == day => " day",
        _ if fields == hour => " hour",
        _ if fields == minute => " minute",
        _ if fields == second => " second",
        _ if fields == year | month => " year to month",
        _ if fields == day | hour => " day to hour",
        _ if fields == day | hour | minute => " day to minute",
        _ if fields == day | hour | minute | second => " day to second",
        _ if fields == hour | minute => " hour to minute",
        _ if fields == hour | minute | second => " hour to second",
        _ if fields == minute | second => " minute to second",
        _ => "",
    };
    match modifier & ANY_PRECISION {
        ANY_PRECISION => format!("interval{words}"),
        precision => format!("interval{words}({precision})"),
    }
}
