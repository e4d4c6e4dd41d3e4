//! The config as a JSON Schema, for editors that check while one types.
//!
//! Printed from the list of keys, so it takes what this build takes and nothing more.

use serde_json::{Map, Value, json};

use super::keys::{Key, ROOT, Shape};

/// The JSON Schema (draft 2020-12) of the config.
pub fn json_schema() -> Value {
    let mut schema = object(ROOT, &["source", "sink"]);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("walcast config");
    schema
}

fn object(keys: &[Key], required: &[&str]) -> Value {
    let built = keys.iter().filter(|key| !key.later);
    let properties: Map<_, _> = built.map(|key| (key.name.to_owned(), property(key))).collect();
    let mut object =
        json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

fn property(key: &Key) -> Value {
    let mut property = shape(key);
    property["description"] = json!(key.about);
    if let Some(default) = key.default {
        property["default"] = match key.shape {
            Shape::Flag => json!(default == "true"),
            Shape::Count => json!(default.parse::<u64>().unwrap_or_default()),
            _ => json!(default),
        };
    } else if !key.example.is_empty() && matches!(key.shape, Shape::Text | Shape::Path) {
        property["examples"] = json!([key.example]);
    }
    property
}

fn shape(key: &Key) -> Value {
    match key.shape {
        Shape::Text | Shape::Secret | Shape::Path => json!({ "type": "string" }),
        Shape::Bytes => json!({ "anyOf": [
            { "type": "integer", "minimum": 1 },
            { "type": "string", "pattern": "^[0-9]+ *(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)?$" },
        ] }),
        Shape::Duration => {
            json!({ "type": "string", "pattern": "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?([0-9]+us)?$", "minLength": 2 })
        }
        Shape::Count => json!({ "type": "integer", "minimum": 0 }),
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Word { now, .. } | Shape::WordOrSecret(now) => json!({ "enum": now }),
        Shape::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Shape::TextOrTexts => json!({ "anyOf": [
            { "type": "string" },
            { "type": "array", "items": { "type": "string" }, "minItems": 1 },
        ] }),
        Shape::Section(keys) => object(keys, &[]),
        Shape::Sections(keys) => {
            json!({ "type": "array", "items": object(keys, &["name", "type"]), "minItems": 1 })
        }
        Shape::Any => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_offers_what_this_build_takes() {
        let schema = json_schema();
        let sink = &schema["properties"]["sink"]["items"]["properties"];
        assert_eq!(sink["type"]["enum"], json!(["file", "stdout", "postgres"]));
        assert_eq!(sink["required"]["default"], json!(true));
        assert_eq!(sink["zone"], Value::Null);
        assert_eq!(schema["properties"]["pipeline"]["properties"]["memory"]["default"], "64MiB");
    }
}
