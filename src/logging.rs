//! Logging: text on a terminal, JSON otherwise, or to a rotated file if one is configured. One line an event; events of a transfer
//! task or of a request carry its id as a field of a span. If a trace collector is configured, the spans become traces.

mod export;
mod otlp;
mod traces;

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

use crate::progress::LogWriter;
use mpsync_config::{LogFormat, LogRotation, LoggingConfig, TracesConfig};
use mpsync_core::error::{Error, Result};
use traces::Traces;

pub use export::Exporter;

/// The log of this process.
#[derive(Debug, Clone)]
pub struct Logs(reload::Handle<EnvFilter, Registry>);

impl Logs {
    /// Sets up logging, at most once in a process. Also returns the exporter of traces if a collector is configured; the caller runs it.
    pub fn begin(config: &LoggingConfig) -> Result<(Self, Option<Exporter>)> {
        let (filter, handle) = reload::Layer::new(filter(&config.filter));
        let on_terminal = config.file.is_none() && std::io::stderr().is_terminal();
        let writer = match &config.file {
            Some(path) => BoxMakeWriter::new(appender(path, config)?),
            None => BoxMakeWriter::new(LogWriter::default),
        };
        let is_text = match config.format {
            LogFormat::Text => true,
            LogFormat::Json => false,
            LogFormat::Auto => on_terminal,
        };
        let lines = tracing_subscriber::fmt::layer().with_writer(writer);
        let lines = if is_text {
            let colours = on_terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            lines.with_target(false).with_ansi(colours).boxed()
        } else {
            let lines = lines.json().flatten_event(true);
            lines.with_current_span(false).boxed()
        };
        let (traces, exporter) = config.traces.as_ref().map(exporting).transpose()?.unzip();
        tracing_subscriber::registry()
            .with(filter)
            .with(lines)
            .with(traces)
            .try_init()
            .map_err(|e| Error::config(format!("logging is set up already: {e}")))?;
        Ok((Self(handle), exporter))
    }

    /// Replaces the filter.
    pub fn set_filter(&self, text: &str) -> Result<()> {
        self.0
            .reload(filter(text))
            .map_err(|e| Error::config(format!("logging.level: {e}")))
    }
}

fn exporting(config: &TracesConfig) -> Result<(Traces, Exporter)> {
    let (out, spans) = mpsc::channel(export::WAITING_MAX);
    let lost = Arc::default();
    let exporter = Exporter::new(config, spans, Arc::clone(&lost))?;
    Ok((Traces { out, lost }, exporter))
}

fn filter(text: &str) -> EnvFilter {
    let filter = EnvFilter::try_new(text).unwrap_or_else(|_| EnvFilter::new("info"));
    // The ClickHouse and NATS clients log every failed request too; our own lines say what it was for.
    ["clickhouse=off", "async_nats=off"]
        .into_iter()
        .filter_map(|directive| directive.parse().ok())
        .fold(filter, EnvFilter::add_directive)
}

/// Returns an appender that writes before it returns, so that a killed process loses no lines.
fn appender(path: &Path, config: &LoggingConfig) -> Result<RollingFileAppender> {
    let bad = |what: String| Error::config(format!("logging.file: {}: {what}", path.display()));
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| bad("it has no file name".to_owned()))?;
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(Path::new("."));
    // The appender looks for old files before it creates the folder, and prints an error if there is none.
    std::fs::create_dir_all(folder).map_err(|e| bad(e.to_string()))?;
    RollingFileAppender::builder()
        .rotation(match config.rotation {
            LogRotation::Daily => Rotation::DAILY,
            LogRotation::Hourly => Rotation::HOURLY,
            LogRotation::Never => Rotation::NEVER,
        })
        .filename_prefix(name)
        .max_log_files(config.keep_files)
        .build(folder)
        .map_err(|e| bad(mpsync_core::error::chain(&e)))
}
