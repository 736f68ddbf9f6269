//! `mpsync run` and `mpsync engine`

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use mpsync_config::parse_bytes;

/// The side of the daemon that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Ingest
    Hot,
    /// Transfer on schedule
    Cold,
    /// Both in one process
    Both,
}

/// `mpsync run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The side that runs [default: hot; both if no ClickHouse is configured]
    #[arg(long, env = "STORAGE_MODE", value_enum)]
    pub mode: Option<Mode>,
    /// Only these datasets
    #[arg(long = "dataset", value_name = "NAME", value_delimiter = ',')]
    pub datasets: Vec<String>,
    /// Stop when all messages that the stream holds at the start are in hot
    #[arg(long)]
    pub drain: bool,
    /// The HTTP address of the hot side instead of http.hot_listen; port 0 selects a free port
    #[arg(long, value_name = "ADDRESS")]
    pub hot_listen: Option<std::net::SocketAddr>,
    /// The HTTP address of the cold side instead of http.cold_listen
    #[arg(long, value_name = "ADDRESS")]
    pub cold_listen: Option<std::net::SocketAddr>,
    /// The file of the bearer token that HTTP requests with side effects require, instead of http.token_file; created if it is missing
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<String>,
    /// A host name that HTTP requests may use, besides the listen addresses, instead of http.allow_hosts; may be repeated
    #[arg(long = "allow-host", value_name = "NAME")]
    pub allowed_hosts: Vec<String>,
}

/// `mpsync engine`
#[derive(Debug, Args)]
pub struct EngineArgs {
    /// The data folder
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The address to listen on; port 0 selects a free port
    #[arg(long, default_value = "127.0.0.1:8123", value_name = "ADDRESS")]
    pub listen: std::net::SocketAddr,
    /// The user
    #[arg(long, default_value = "default", value_name = "NAME")]
    pub user: String,
    /// A file with the user's password instead of the generated DIR/password
    #[arg(long, value_name = "FILE", conflicts_with = "no_auth")]
    pub password_file: Option<PathBuf>,
    /// Require no password (only on loopback)
    #[arg(long)]
    pub no_auth: bool,
    /// The memory beyond which queries are refused, such as 4G [default: 90 % of the machine's]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub memory_limit: Option<u64>,
    /// A host name that clients may use, besides the listen address; may be repeated
    #[arg(long = "allow-host", value_name = "NAME")]
    pub allowed_hosts: Vec<String>,
    /// A folder that file() may read besides DIR/user_files (which it may also write), such as the archive; may be repeated
    #[arg(long = "user-files", value_name = "DIR")]
    pub user_files: Vec<PathBuf>,
    /// Run without the kernel's confinement (Landlock, seccomp): then only the statement policy protects other files
    #[arg(long, env = "MPSYNC_ENGINE_UNCONFINED", value_parser = clap::builder::BoolishValueParser::new())]
    pub unconfined: bool,
    /// The maximum number of concurrent requests; further ones wait
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub max_requests: u32,
}
