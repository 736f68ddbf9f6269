//! `logging:`

use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

use crate::reading::key::Choice;
use crate::reading::section::Section;
use mpsync_net::Tls;

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Text for people.
    Text,
    /// One JSON document for each line.
    Json,
}

impl Choice for LogFormat {
    const ALL: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("text", Self::Text),
        ("json", Self::Json),
    ];
}

/// The time at which a new log file begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogRotation {
    /// At midnight, UTC.
    Daily,
    /// At every full hour, UTC.
    Hourly,
    /// Never.
    Never,
}

impl Choice for LogRotation {
    const ALL: &'static [(&'static str, Self)] = &[
        ("daily", Self::Daily),
        ("hourly", Self::Hourly),
        ("never", Self::Never),
    ];
}

/// Level, format and destination of the log.
#[derive(Debug, Clone)]
pub struct LoggingConfig {
    /// A level or a filter, in the syntax of `tracing`.
    pub filter: String,
    /// The format of a line.
    pub format: LogFormat,
    /// The log file; `None` for standard error.
    pub file: Option<PathBuf>,
    /// The time at which a new file begins.
    pub rotation: LogRotation,
    /// The number of files to keep, including the current one.
    pub keep_files: usize,
    /// The collector of traces, if there is one.
    pub traces: Option<TracesConfig>,
}

/// An OpenTelemetry collector that receives traces as JSON over HTTP.
#[derive(Debug, Clone)]
pub struct TracesConfig {
    /// `http://host:4318` or `https://host:4318`, without login.
    pub endpoint: String,
    /// The certificate authorities to trust.
    pub tls: Tls,
}

impl LoggingConfig {
    pub(crate) fn read(s: &mut Section<'_>) -> Self {
        let text = s.key("level").live().text_that(
            "info",
            "error, warn, info, debug, trace, off, or a filter such as `info,mpsync=debug`",
            |text| level(text).is_some() || text.contains('=') && EnvFilter::try_new(text).is_ok(),
        );
        Self {
            filter: level(&text).map_or(text.clone(), str::to_owned),
            format: s.key("format").choice(LogFormat::Auto),
            file: s.key("file").optional_path(),
            rotation: s.key("rotation").choice(LogRotation::Daily),
            keep_files: s.key("keep_files").integer(14, 1..=10_000),
            traces: traces(s),
        }
    }
}

fn traces(s: &mut Section<'_>) -> Option<TracesConfig> {
    let endpoint = s.key("otlp_endpoint").optional_text();
    let authorities = s.key("otlp_tls_ca_file").optional_path();
    let Some(endpoint) = endpoint else {
        if authorities.is_some() {
            s.wrong("otlp_tls_ca_file", "it has no effect without otlp_endpoint");
        }
        return None;
    };
    let secure = endpoint.starts_with("https://");
    let host = endpoint.split_once("://").map_or("", |(_, host)| host);
    if !(secure || endpoint.starts_with("http://"))
        || host.is_empty()
        || host.contains(['@', '?', ' '])
    {
        let text = "it must be http://HOST:PORT or https://HOST:PORT, without login";
        s.wrong("otlp_endpoint", text);
        return None;
    }
    let (key, tls) = match authorities {
        Some(_) if !secure => {
            s.wrong("otlp_tls_ca_file", "it has no effect without https");
            return None;
        }
        Some(file) => ("otlp_tls_ca_file", Tls::from_ca_file(&file)),
        None if secure => ("otlp_endpoint", Tls::system()),
        None => ("otlp_endpoint", Tls::without_authorities()),
    };
    let tls = tls.map_err(|e| s.wrong(key, e.to_string())).ok()?;
    Some(TracesConfig { endpoint, tls })
}

/// Returns the name of a level in `tracing`; the system that mpsync replaces uses the names of Python.
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
