//! `mpsync engine`: an embedded ClickHouse behind ClickHouse's own HTTP interface.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::engine::{Auth, Engine, Options, serve};
use crate::error::{Context, Error, Result};

/// Serve an embedded ClickHouse: the real engine as a library, over HTTP.
#[derive(Debug, Clone, clap::Args)]
pub struct EngineArgs {
    /// The folder that holds the data; made if it is not there.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Where to listen; port 0 takes a free one, which is printed.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8123")]
    pub listen: SocketAddr,
    /// The one user.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub user: String,
    /// A file with the password [default: DIR/password, made at the first start].
    #[arg(long, value_name = "FILE", conflicts_with = "no_auth")]
    pub password_file: Option<PathBuf>,
    /// Ask for no password; on loopback only.
    #[arg(long)]
    pub no_auth: bool,
    /// Refuse queries beyond so much memory, such as 4G [default: 90 % of the machine's].
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub memory_limit: Option<u64>,
    /// Requests that run at once; further ones wait.
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub max_requests: u32,
}

/// Reads `1073741824`, `1G`, `512M` or `64K`, in powers of 1024.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let (number, shift) = match text.trim().to_ascii_uppercase().trim_end_matches("IB").trim_end_matches('B') {
        t if t.ends_with('K') => (t.trim_end_matches('K').to_owned(), 10),
        t if t.ends_with('M') => (t.trim_end_matches('M').to_owned(), 20),
        t if t.ends_with('G') => (t.trim_end_matches('G').to_owned(), 30),
        t => (t.to_owned(), 0),
    };
    let number: u64 = number.trim().parse().map_err(|_| "expected a size such as 4G, 512M or 1073741824".to_owned())?;
    number.checked_mul(1 << shift).filter(|n| *n > 0).ok_or_else(|| "the size is out of range".to_owned())
}

/// Runs until SIGTERM or SIGINT; a second signal ends the process at once.
///
/// Prints `listening on http://ADDRESS` as its only line on stdout when it is ready.
pub async fn run(args: EngineArgs) -> Result<()> {
    if args.no_auth && !args.listen.ip().is_loopback() {
        return Err(Error::usage(format!("--no-auth is for loopback only, and {} is not", args.listen.ip()))
            .hint("leave --no-auth away: the password is made at the first start"));
    }
    let mut signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    // Bound before the engine opens: a port that is taken is found out at once.
    let listener = TcpListener::bind(args.listen).await.doing(|| format!("listening on {}", args.listen))?;
    let mut options = Options::new(&args.data);
    options.memory_limit_bytes = args.memory_limit;
    options.requests_max = args.max_requests;
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
        tracing::info!(user = args.user, file = %file.display(), "the password is in a file");
        auth
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on http://{}", listener.local_addr()?)?;
    out.flush()?;
    drop(out);
    let shutdown = async {
        first_of(&mut signals).await;
        tokio::spawn(async move {
            first_of(&mut signals).await;
            tracing::warn!("second signal, ending at once");
            Engine::end_process(130);
        });
    };
    serve(listener, engine, auth, shutdown).await
}

async fn first_of([terminate, interrupt]: &mut [Signal; 2]) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        assert_eq!(parse_bytes("4G"), Ok(4 << 30));
        assert_eq!(parse_bytes("512 MiB"), Ok(512 << 20));
        assert_eq!(parse_bytes("1000"), Ok(1000));
        assert!(parse_bytes("0").is_err() && parse_bytes("many").is_err());
    }
}
