//! What a database defines as the types that Rust values are read by.

use std::collections::HashMap;

use postgres_types::{Field, Kind, Type};

use super::definition::TypeKind;
use super::registry::{DEPTH_MAX, TypeRegistry};
use crate::event::Oid;

impl TypeRegistry {
    /// The type, as `postgres-types` has it; `None` when it, or a part of it, is not known.
    ///
    /// Made anew each time: keep it for the rows of a table.
    pub fn postgres_type(&self, oid: Oid) -> Option<Type> {
        self.postgres_type_within(oid, DEPTH_MAX, &mut HashMap::new())
    }

    /// `found` has the types that others have as parts: no type is looked at twice.
    fn postgres_type_within(
        &self,
        oid: Oid,
        depth: usize,
        found: &mut HashMap<Oid, Option<Type>>,
    ) -> Option<Type> {
        if let Some(known) = Type::from_oid(oid.as_u32()) {
            return Some(known);
        }
        if let Some(known) = found.get(&oid) {
            return known.clone();
        }
        let definition = self.definition(oid)?;
        let depth = depth.checked_sub(1)?;
        let mut part = |oid: &Oid| self.postgres_type_within(*oid, depth, found);
        let kind = match &definition.kind {
            TypeKind::Base => Some(Kind::Simple),
            TypeKind::Enum(labels) => Some(Kind::Enum(labels.clone())),
            TypeKind::Domain(base) => part(base).map(Kind::Domain),
            TypeKind::Array { element, .. } => part(element).map(Kind::Array),
            TypeKind::Range(bound) => part(bound).map(Kind::Range),
            TypeKind::Multirange(bound) => part(bound).map(Kind::Multirange),
            TypeKind::Composite(attributes) => {
                let fields = attributes
                    .iter()
                    .map(|it| Some(Field::new(it.name.clone(), part(&it.type_oid)?)));
                fields.collect::<Option<_>>().map(Kind::Composite)
            }
        };
        let (name, schema) = (definition.name.clone(), definition.schema.clone());
        let ty = kind.map(|kind| Type::new(name, oid.as_u32(), kind, schema));
        found.insert(oid, ty.clone());
        ty
    }
}

#[cfg(test)]
mod tests {
    use super::super::definition::{Attribute, JsonForm, TypeDefinition};
    use super::*;

    #[test]
    fn a_composite_is_made_of_its_parts_and_one_with_an_unknown_part_is_unknown() {
        let mut registry = TypeRegistry::builtin();
        let mut define = |oid, name: &str, kind| {
            let (schema, name) = ("public".to_owned(), name.to_owned());
            let json = JsonForm::Usual;
            let extension = None;
            let definition = TypeDefinition { schema, name, kind, extension, json };
            registry.insert(Oid::new(oid), definition);
        };
        let attribute =
            |name: &str, oid| Attribute { name: name.to_owned(), type_oid: Oid::new(oid) };
        define(16_400, "mood", TypeKind::Enum(vec!["fine".to_owned()]));
        define(16_401, "moods", TypeKind::Array { element: Oid::new(16_400), delimiter: ',' });
        let fields = vec![attribute("n", 23), attribute("ms", 16_401)];
        define(16_402, "pair", TypeKind::Composite(fields));
        define(16_403, "lost", TypeKind::Composite(vec![attribute("x", 16_999)]));
        define(16_404, "loop", TypeKind::Domain(Oid::new(16_404)));
        let pair = registry.postgres_type(Oid::new(16_402)).unwrap();
        assert_eq!((pair.name(), pair.schema(), pair.oid()), ("pair", "public", 16_402));
        let Kind::Composite(fields) = pair.kind() else { panic!("{pair:?}") };
        assert_eq!(fields[0].type_(), &Type::INT4);
        let Kind::Array(mood) = fields[1].type_().kind() else { panic!("{fields:?}") };
        assert_eq!(mood.kind(), &Kind::Enum(vec!["fine".to_owned()]));
        assert_eq!(registry.postgres_type(Oid::new(16_403)), None);
        assert_eq!(registry.postgres_type(Oid::new(16_404)), None);
    }
}
