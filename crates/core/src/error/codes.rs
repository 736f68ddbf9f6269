//! The meaning of a ClickHouse error code for the caller.
//!
//! Decided from the server's own code, not from the HTTP status: a table that is missing for a moment during a schema
//! change and a query that can never parse both come as HTTP 4xx or 5xx. Source of the numbers: `ErrorCodes.cpp` of
//! ClickHouse, see `system.errors`.

use super::disposition::Disposition;

/// `UNKNOWN_TABLE`: the answer to a session whose insert gate a newer one has dropped.
pub const UNKNOWN_TABLE: u32 = 60;
/// `TABLE_ALREADY_EXISTS`.
pub const TABLE_ALREADY_EXISTS: u32 = 57;
/// `TOO_MANY_PARTS`: of an insert that touches too many partitions, and of a table whose merges are behind.
pub const TOO_MANY_PARTS: u32 = 252;
/// `TABLE_IS_DROPPED`.
pub const TABLE_IS_DROPPED: u32 = 218;

/// Returns the reaction to an error with this code.
#[must_use]
pub fn disposition_of(code: u32) -> Disposition {
    match code {
        // Load, memory, time, disk, network, merges behind, shutting down: it can pass. So can an unknown setting (115), which an
        // upgrade or a downgrade of the server causes: the settings are asked for again.
        3 | 115 | 159 | 160 | 164 | 198 | 201 | 202 | 203 | 209 | 210 | 225 | 236 | 241 | 242
        | 243 | 252 | 285 | 319 | 364 | 373 | 394 | 425 | 439 | 452 | 473 | 499 | 999 | 1000
        | 1001 | 1002 => Disposition::Retry,
        // The content does not fit: parse errors, values out of range, unknown fields, bad Arrow or Parquet, violated
        // constraints.
        6 | 26 | 27 | 32 | 33 | 38 | 41 | 53 | 69 | 70 | 72 | 117 | 130 | 131 | 190 | 321 | 349
        | 407 | 436 | 441 | 457 | 469 | 636 => Disposition::Reject,
        // A limit of the user's profile (158, 307, 396): no content is to blame, and every try meets it again.
        // Unknown tables, columns and databases, wrong passwords, syntax: an operator has to look.
        _ => Disposition::Halt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_passes_content_is_refused_and_the_rest_halts() {
        assert_eq!(disposition_of(TOO_MANY_PARTS), Disposition::Retry);
        assert_eq!(disposition_of(27), Disposition::Reject);
        assert_eq!(disposition_of(UNKNOWN_TABLE), Disposition::Halt);
    }
}
