//! A row as JSON, for those who want no more than that.

use std::any::type_name;

use super::error::{RowError, RowFault};
use crate::codec::value::{TypeRegistry, write_json};
use crate::codec::write_json_str;
use crate::event::Row;

impl Row<'_> {
    /// The row as a JSON object, with the values that the native event format writes. Columns that
    /// were not sent are left out, and so are those of which an old row says nothing.
    ///
    /// # Errors
    /// When a value is not of its type, or came in binary and has no decoder here.
    pub fn to_json(self) -> Result<String, RowError> {
        let types = TypeRegistry::builtin();
        let mut json = b"{".to_vec();
        for (place, (column, value)) in self.iter().enumerate() {
            if value.is_unchanged() || !self.is_logged(place) {
                continue;
            }
            if json.len() > 1 {
                json.push(b',');
            }
            write_json_str(&mut json, &column.name);
            json.push(b':');
            write_json(&mut json, &self.relation.value_type(column.type_oid, &types), value)
                .map_err(|error| self.fault_at::<String>(place, error.into()))?;
        }
        json.push(b'}');
        String::from_utf8(json).map_err(|error| {
            let fault = RowFault::Refused(error.into());
            RowError::of_row(self.relation, type_name::<String>(), fault)
        })
    }
}
