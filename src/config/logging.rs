//! `logging:`

use tracing_subscriber::EnvFilter;

use super::reader::Section;

/// What is logged.
#[derive(Debug, Clone)]
pub struct LoggingConfig {
    /// A level or a filter, in the words of `tracing`.
    pub filter: String,
}

impl LoggingConfig {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let said = s.key("level").live().text_that(
            "info",
            "error, warn, info, debug, trace, off, or a filter such as `info,mpsync=debug`",
            |text| level(text).is_some() || text.contains('=') && EnvFilter::try_new(text).is_ok(),
        );
        Self {
            filter: level(&said).map_or(said.clone(), str::to_owned),
        }
    }
}

/// A level's name in the words of `tracing`; those of the system that mpsync replaces are Python's.
fn level(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "error" | "critical" => "error",
        "warn" | "warning" => "warn",
        "info" => "info",
        "debug" => "debug",
        "trace" => "trace",
        "off" => "off",
        _ => return None,
    })
}
