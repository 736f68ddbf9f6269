//! The statement of a window's journal about its generations. Only this much of an entry is known here. Pure.

use serde::Deserialize;

/// The part of a journal entry that says whether the window has generations.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Entry {
    Reached {
        stage: Stage,
    },
    Expired,
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Stage {
    Archived,
    Loaded,
    Verified,
    Cleaned,
    #[serde(other)]
    Other,
}

/// The statement of a journal entry about the window's generations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// Cold held the rows of at least one generation, so that one was committed.
    Proven,
    /// Every row of the window was archived, or hot held none.
    Archived,
    /// They were removed, past their retention.
    Expired,
    /// Nothing.
    Silent,
}

impl Evidence {
    /// Reads an entry. One that cannot be read says nothing.
    pub(crate) fn of(json: &[u8]) -> Self {
        match serde_json::from_slice(json) {
            Ok(Entry::Reached {
                stage: Stage::Loaded | Stage::Verified | Stage::Cleaned,
            }) => Self::Proven,
            Ok(Entry::Reached {
                stage: Stage::Archived,
            }) => Self::Archived,
            Ok(Entry::Expired) => Self::Expired,
            Ok(
                Entry::Reached {
                    stage: Stage::Other,
                }
                | Entry::Other,
            )
            | Err(_) => Self::Silent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_say_whether_a_generation_was_committed() {
        let entry = |event: &str| {
            format!(r#"{{"attempt":1,"at":"2026-01-01T00:00:00Z","holder":"h",{event}}}"#)
        };
        for (event, expected) in [
            (r#""event":"reached","stage":"planned""#, Evidence::Silent),
            (
                r#""event":"reached","stage":"archived""#,
                Evidence::Archived,
            ),
            (r#""event":"reached","stage":"cleaned""#, Evidence::Proven),
            (r#""event":"ended","status":"done""#, Evidence::Silent),
            (r#""event":"expired""#, Evidence::Expired),
            (r#""event":"fenced""#, Evidence::Silent),
        ] {
            assert_eq!(Evidence::of(entry(event).as_bytes()), expected, "{event}");
        }
        assert_eq!(Evidence::of(b"half"), Evidence::Silent);
    }
}
