//! The `mpsync` program: parses the command line, sets up logging, runs the command, turns an error into an exit code.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use clap::Parser as _;
use mpsync::cli::{Cli, Command};
use mpsync::logging::Logs;
use mpsync::progress::shows_bars;
use mpsync_config::Origin;
use mpsync_core::error::{Cause, Error};
use tokio_util::sync::CancellationToken;

/// Returns freed memory to the system within seconds. The settings are in `.cargo/config.toml`, the reasons in
/// `docs/adr/0008-jemalloc.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long the trace collector may take for the last traces.
const LAST_TRACES: std::time::Duration = std::time::Duration::from_secs(3);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let live = match mpsync::commands::load(&cli) {
        Ok(live) => live,
        Err(e) => return failed(&e),
    };
    let config = live.now();
    let mut logging = config.logging.clone();
    let is_default = config.settings.origin("logging.level") == Origin::Default;
    // Bars show the steps of the work; log lines would only push them down.
    if is_default && logging.file.is_none() && shows_bars(&cli) {
        "warn".clone_into(&mut logging.filter);
    }
    let (logs, exporter) = match Logs::begin(&logging) {
        Ok(begun) => begun,
        Err(e) => return failed(&e),
    };
    for warning in config.settings.warnings() {
        tracing::warn!("insecure: {warning}");
    }
    if let Err(e) = mpsync::commands::confine(&cli) {
        return failed(&e);
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(e) => {
            print_error(&format!("error: cannot start the runtime: {e}"));
            return ExitCode::FAILURE;
        }
    };
    let is_daemon = matches!(cli.command, Command::Run(_));
    let shutdown = CancellationToken::new();
    let signalled = Arc::new(AtomicU8::new(0));
    runtime.spawn(watch_signals(shutdown.clone(), signalled.clone()));
    let finish = CancellationToken::new();
    let exporting = exporter.map(|exporter| runtime.spawn(exporter.run(finish.clone())));
    let done = runtime.block_on(mpsync::commands::run_command(cli, live, logs, shutdown));
    finish.cancel();
    if let Some(exporting) = exporting {
        // The last traces are worth a short wait, not more.
        let _ = runtime.block_on(async { tokio::time::timeout(LAST_TRACES, exporting).await });
    }
    // Threads that wait for a terminal or a file system must not delay the exit.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => match (e.cause(), signalled.load(Ordering::Relaxed)) {
            (Cause::Interrupted, code) if code > 0 => {
                // A daemon has no other end than a signal, and its log names it.
                if !is_daemon {
                    print_error(&interruption(&e));
                }
                ExitCode::from(code)
            }
            _ => failed(&e),
        },
    }
}

fn failed(error: &Error) -> ExitCode {
    print_error(&format!("error: {error}"));
    ExitCode::from(error.exit_code() as u8)
}

/// Prints to standard error; a reader that has ended (`2>&1 | head`) does not matter.
fn print_error(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Returns the line that ends an interrupted command: `Interrupted: 5 of 10 windows done; run the same command again to continue.`
fn interruption(error: &Error) -> String {
    let contexts: Vec<&str> = error.contexts().collect();
    let done = match contexts.is_empty() {
        true => String::new(),
        false => format!(": {}", contexts.join(": ")),
    };
    let hint = error
        .hint()
        .map_or_else(String::new, |hint| format!("; {hint}"));
    format!("Interrupted{done}{hint}.")
}

/// Waits for signals: the first one asks all work to finish, a second one ends the process at once.
async fn watch_signals(shutdown: CancellationToken, signalled: Arc<AtomicU8>) {
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
            _ = interrupt.recv() => 130_u8,
            _ = terminate.recv() => 143,
        };
        if second {
            // Not `exit`: an engine that is loaded would run its destructors under its own threads.
            mpsync_engine::Engine::end_process(code.into());
        }
        signalled.store(code, Ordering::Relaxed);
        tracing::info!("shutting down; a second signal ends at once");
        shutdown.cancel();
    }
}
