//! Exceptions of the server, from their text.

use mpsync_core::error::{Cause, Error};

/// `UNKNOWN_SETTING`.
pub(super) const UNKNOWN_SETTING: u32 = 115;

/// Returns the error for an exception, with a hint for the codes that call for one.
pub(super) fn server_error(code: u32, message: String) -> Error {
    let e = Error::new(Cause::Server { code, message });
    match code {
        193 | 194 | 516 => e.with_hint(
            "check the user and the password of this tier in the configuration or the environment",
        ),
        81 => e.with_hint("`mpsync schema apply` creates the database and its tables"),
        243 => e.with_hint("the server's disk is full: free space there; nothing was lost"),
        497 => e.with_hint("this user lacks a right that mpsync needs"),
        164 | 452 => e.with_hint(
            "mpsync sends the settings that could change the meaning of a statement: let the user's profile allow this one \
             (no readonly = 1, no CONST, MIN or MAX that excludes the value), or give mpsync a user of its own",
        ),
        158 | 307 | 396 => e.with_hint(
            "a limit of the user's settings profile (max_rows_to_read, max_bytes_to_read, max_result_rows and the like) is too \
             low for mpsync, which must see all rows: raise it, or give mpsync a user without it",
        ),
        _ => e,
    }
}

/// Returns code and text of `Code: 60. DB::Exception: … (version …)`.
pub(super) fn parse_exception(text: &str) -> Option<(u32, String)> {
    let rest = &text[text.find("Code: ")? + "Code: ".len()..];
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let code = rest[..digits].parse().ok()?;
    let message = rest[digits..].trim_start_matches(['.', ' ']);
    let message = message.strip_prefix("DB::Exception: ").unwrap_or(message);
    let message = message.split(" (version ").next().unwrap_or(message);
    let message = message.split("Stack trace:").next().unwrap_or(message);
    Some((code, message.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_an_exception_is_found_and_its_version_and_trace_are_not_repeated() {
        let text = "Code: 60. DB::Exception: Table db.t does not exist. (UNKNOWN_TABLE) (version 26.7.2.1 (official build))";
        assert_eq!(
            parse_exception(text),
            Some((60, "Table db.t does not exist. (UNKNOWN_TABLE)".into()))
        );
        assert_eq!(parse_exception("502 Bad Gateway"), None);
    }
}
