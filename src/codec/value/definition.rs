//! What a database defines beyond the built-in types.
//!
//! A [`TypeDefinition`] is plain data as the catalogue has it, so that it can be kept beside the
//! rows that need it. What follows from it for reading values is the
//! [registry](super::TypeRegistry)'s to say.

use serde::{Deserialize, Serialize};

use crate::event::Oid;

/// A type that is not built in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TypeDefinition {
    /// The schema it lies in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What its values are made of.
    pub kind: TypeKind,
    /// The extension that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<String>,
    /// Who says what its values look like in JSON.
    #[serde(default, skip_serializing_if = "JsonForm::is_usual")]
    pub json: JsonForm,
}

/// What the values of a type are made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TypeKind {
    /// Something of its own, such as an extension's type.
    Base,
    /// One of these labels.
    Enum(Vec<String>),
    /// Values of another type that fulfil a condition.
    Domain(Oid),
    /// An array of another type.
    Array {
        /// The type of its elements.
        element: Oid,
        /// What stands between two elements in text.
        delimiter: char,
    },
    /// Ranges of another type.
    Range(Oid),
    /// Sets of ranges of another type.
    Multirange(Oid),
    /// Values of several types, each with a name.
    Composite(Vec<Attribute>),
}

impl TypeKind {
    /// The types that its values are made of.
    pub fn parts(&self) -> Vec<Oid> {
        match self {
            Self::Base | Self::Enum(_) => Vec::new(),
            Self::Domain(part)
            | Self::Array { element: part, .. }
            | Self::Range(part)
            | Self::Multirange(part) => vec![*part],
            Self::Composite(attributes) => attributes.iter().map(|it| it.type_oid).collect(),
        }
    }
}

/// One part of a composite type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// Its type.
    pub type_oid: Oid,
}

/// Who says what values of a type look like in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JsonForm {
    /// The server, by their kind.
    #[default]
    Usual,
    /// A function of the type's maker, which casts them to `json`.
    Cast,
}

impl JsonForm {
    fn is_usual(&self) -> bool {
        *self == Self::Usual
    }
}
