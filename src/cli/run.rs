//! `mpsync run` and `mpsync engine`

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use mpsync_config::parse_bytes;

/// Which side of the tiers runs.
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
    /// Which side runs [default: hot; both where no ClickHouse is configured]
    #[arg(long, env = "STORAGE_MODE", value_enum)]
    pub mode: Option<Mode>,
    /// Only these datasets
    #[arg(long = "dataset", value_name = "NAME", value_delimiter = ',')]
    pub datasets: Vec<String>,
    /// Stop when everything that is in the stream now is in hot
    #[arg(long)]
    pub drain: bool,
    /// Where HTTP listens for the hot side, instead of http.hot_listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    pub hot_listen: Option<std::net::SocketAddr>,
    /// Where HTTP listens for the cold side, instead of http.cold_listen
    #[arg(long, value_name = "ADDRESS")]
    pub cold_listen: Option<std::net::SocketAddr>,
    /// The file with the token that HTTP asks of who changes something, instead of http.token_file; made where it is not there
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<String>,
    /// A name by which HTTP is reached, beside its addresses, instead of http.allow_hosts; may be repeated
    #[arg(long = "allow-host", value_name = "NAME")]
    pub allowed_hosts: Vec<String>,
}

/// `mpsync engine`
#[derive(Debug, Args)]
pub struct EngineArgs {
    /// The folder of the data
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8123", value_name = "ADDRESS")]
    pub listen: std::net::SocketAddr,
    /// The user
    #[arg(long, default_value = "default", value_name = "NAME")]
    pub user: String,
    /// A file with the user's password, instead of the generated one in DIR/password
    #[arg(long, value_name = "FILE", conflicts_with = "no_auth")]
    pub password_file: Option<PathBuf>,
    /// Ask for no password (only on loopback)
    #[arg(long)]
    pub no_auth: bool,
    /// Refuse queries beyond so much memory, such as 4G [default: 90 % of the machine's]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub memory_limit: Option<u64>,
    /// A name by which clients reach it, beside its addresses; may be repeated
    #[arg(long = "allow-host", value_name = "NAME")]
    pub allowed_hosts: Vec<String>,
    /// Another folder that file() may read, such as the archive; may be repeated. DIR/user_files it reads and writes
    #[arg(long = "user-files", value_name = "DIR")]
    pub user_files: Vec<PathBuf>,
    /// Run without the kernel's confinement (Landlock, seccomp): then only the statement policy protects other files
    #[arg(long, env = "MPSYNC_ENGINE_UNCONFINED", value_parser = clap::builder::BoolishValueParser::new())]
    pub unconfined: bool,
    /// Requests that run at once; further ones wait
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub max_requests: u32,
}
