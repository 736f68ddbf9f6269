//! One schema a file.

use ::arrow::array::RecordBatch;
use ::arrow::datatypes::Schema;

use mpsync_core::error::{Error, Result};

/// Fails if a batch has another schema than the file that it is written to.
pub(super) fn same_schema(expected: &Schema, batch: &RecordBatch) -> Result<()> {
    if expected == batch.schema_ref().as_ref() {
        return Ok(());
    }
    Err(Error::schema(
        "the columns or types of the archive change here, and a file has one schema",
    )
    .with_hint("stop the replay before this point with --to and start a second file there; --into csv allows other types of the same columns"))
}
