//! The program: parse, tracing, dispatch, error → exit code.

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "mpsync", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve an embedded ClickHouse over HTTP
    Engine(mpsync::commands::engine::EngineArgs),
}

#[tokio::main]
async fn main() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let done = match Cli::parse().command {
        Command::Engine(args) => mpsync::commands::engine::run(args).await,
    };
    if let Err(e) = done {
        eprintln!("mpsync: {e}");
        std::process::exit(e.exit_code() as i32);
    }
}
