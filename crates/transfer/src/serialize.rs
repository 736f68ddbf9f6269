//! Values in the JSON of reports.

use serde::Serializer;

use mpsync_core::error::Error;

/// Serializes an error as its message.
#[expect(clippy::ref_option, reason = "serde asks for this signature")]
pub(crate) fn error<S: Serializer>(
    value: &Option<Error>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(e) => serializer.collect_str(e),
        None => serializer.serialize_none(),
    }
}
