//! The hash of a row as SQL. Pure.

use mpsync_core::dataset::ColumnType;
use mpsync_core::fingerprint::HashedColumn;

use crate::sql::{ident, literal};

/// The SQL expression of one row's hash over these columns, cast to these types.
///
/// `live` gives a column's type in the table that is asked: the cast is left out where it would change nothing.
pub fn row_hash(columns: &[HashedColumn], live: impl Fn(&str) -> Option<ColumnType>) -> String {
    let cast = |column: &HashedColumn| {
        let same = live(&column.name).is_some_and(|t| t.to_string() == column.type_name);
        if same {
            ident(&column.name)
        } else {
            format!(
                "CAST({}, {})",
                ident(&column.name),
                literal(&column.type_name)
            )
        }
    };
    format!(
        "cityHash64(tuple({}))",
        columns.iter().map(cast).collect::<Vec<_>>().join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_hash_casts_only_what_has_another_type_now() {
        let columns = [
            HashedColumn {
                name: "a".into(),
                type_name: "UInt8".into(),
            },
            HashedColumn {
                name: "b".into(),
                type_name: "DateTime64(3, 'UTC')".into(),
            },
        ];
        let live = |name: &str| {
            ColumnType::parse(if name == "a" {
                "UInt8"
            } else {
                "DateTime64(6, 'UTC')"
            })
            .ok()
        };
        assert_eq!(
            row_hash(&columns, live),
            "cityHash64(tuple(`a`, CAST(`b`, 'DateTime64(3, \\'UTC\\')')))"
        );
    }
}
