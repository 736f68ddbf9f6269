//! `mpsync engine`: an embedded ClickHouse behind ClickHouse's own HTTP interface.

use std::io::Write as _;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::EngineArgs;
use mpsync_core::error::{Context as _, Error, Result};
use mpsync_engine::{Auth, Confinement, Engine, EngineOptions, serve};

/// Confines the process to what the engine needs. For a process that has no other threads yet.
pub(super) fn confine(args: &EngineArgs) -> Result<()> {
    if args.unconfined {
        tracing::warn!("the engine is not confined by the kernel (--unconfined)");
        return Ok(());
    }
    let password_file = args.password_file.iter();
    Confinement {
        data_dir: args.data.clone(),
        readable: args
            .user_files
            .iter()
            .chain(password_file)
            .cloned()
            .collect(),
        port: args.listen.port(),
    }
    .apply()
}

/// Runs until `shutdown`. Prints `listening on http://ADDRESS`, its only line on standard output, when it is ready.
pub(super) async fn run(args: &EngineArgs, shutdown: CancellationToken) -> Result<()> {
    if args.no_auth && !args.listen.ip().is_loopback() {
        return Err(Error::usage(format!(
            "--no-auth requires a loopback address, and {} is not one",
            args.listen.ip()
        ))
        .with_hint("remove --no-auth; the first start generates a password"));
    }
    // Bound before the engine opens, so that a port in use is reported at once.
    let listener = TcpListener::bind(args.listen)
        .await
        .context(|| format!("listening on {}", args.listen))?;
    let mut options = EngineOptions::new(&args.data);
    options.memory_limit_bytes = args.memory_limit;
    options.requests_max = args.max_requests;
    options.readable.clone_from(&args.user_files);
    let engine = tokio::task::spawn_blocking(move || Engine::open_with(&options))
        .await
        .map_err(|e| Error::engine(e.to_string()))??;
    let auth = if args.no_auth {
        Auth::Open
    } else if let Some(file) = &args.password_file {
        Auth::from_file(&args.user, file)?
    } else {
        let file = args.data.join("password");
        let auth = Auth::from_own_file(&args.user, &file)?;
        tracing::info!(user = args.user, file = %file.display(), "password stored in a file");
        auth
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on http://{}", listener.local_addr()?)?;
    out.flush()?;
    drop(out);
    let hosts = args.allowed_hosts.clone();
    serve(listener, engine, auth, hosts, shutdown.cancelled_owned()).await
}
