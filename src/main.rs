//! The `mpsync` program: parse, set up logging, dispatch, turn an error into an exit code.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use mpsync::cli::Cli;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let config = match mpsync::commands::load(&cli) {
        Ok(config) => config,
        Err(e) => {
            eprintln!("error: {e}");
            return ExitCode::from(e.exit_code() as u8);
        }
    };
    init_tracing(&config.logging.filter);
    for warning in config.settings.warnings() {
        tracing::warn!("insecure: {warning}");
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("error: starting the runtime: {e}");
            return ExitCode::FAILURE;
        }
    };
    let shutdown = CancellationToken::new();
    runtime.spawn(watch_signals(shutdown.clone()));
    let done = runtime.block_on(mpsync::commands::run(cli, config, shutdown));
    // Threads that wait for a terminal or a file system must not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(e.exit_code() as u8)
        }
    }
}

/// The first signal asks everything to finish; a second one ends the process at once.
async fn watch_signals(shutdown: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        tracing::error!("cannot watch for signals");
        return;
    };
    for second in [false, true] {
        let code = tokio::select! {
            _ = interrupt.recv() => 130,
            _ = terminate.recv() => 143,
        };
        if second {
            // Not `exit`: an engine that is loaded would run its destructors under its own threads.
            mpsync::engine::Engine::end_process(code);
        }
        tracing::info!("shutting down; a second signal ends at once");
        shutdown.cancel();
    }
}

/// Text on a terminal, JSON lines elsewhere, always to standard error: standard output is for results.
fn init_tracing(level: &str) {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    // The ClickHouse and NATS clients tell every failed request themselves; ours say what it was for.
    let filter = ["clickhouse=off", "async_nats=off"]
        .into_iter()
        .filter_map(|directive| directive.parse().ok())
        .fold(filter, EnvFilter::add_directive);
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(mpsync::progress::LogWriter::default);
    if std::io::stderr().is_terminal() {
        logs.with_target(false).init();
    } else {
        logs.json().flatten_event(true).init();
    }
}
