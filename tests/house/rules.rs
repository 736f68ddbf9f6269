//! The rules: who may import whom, which files are pure, where `unsafe` is, how long a file may be.

/// Every module of the crate with those that it may import besides itself. Read from the top: an arrow never points up.
pub(crate) const MAY_IMPORT: &[(&str, &[&str])] = &[
    // The engine has its own way to end the process.
    ("main", &["cli", "commands", "engine", "error", "logging"]),
    ("lib", &[]),
    // One thin file a verb: whatever it takes to wire one.
    (
        "commands",
        &[
            "archive",
            "cli",
            "clickhouse",
            "config",
            "daemon",
            "dataset",
            "demo",
            "engine",
            "error",
            "generate",
            "http",
            "ingest",
            "logging",
            "nats",
            "progress",
            "replay",
            "retry",
            "servers",
            "transfer",
        ],
    ),
    // The whole road on one machine.
    (
        "demo",
        &[
            "archive",
            "clickhouse",
            "config",
            "dataset",
            "engine",
            "error",
            "generate",
            "ingest",
            "nats",
            "progress",
            "replay",
            "retry",
            "servers",
            "transfer",
        ],
    ),
    // The sides of one process, and what is said of them.
    (
        "daemon",
        &[
            "access",
            "archive",
            "clickhouse",
            "config",
            "dataset",
            "error",
            "http",
            "ingest",
            "nats",
            "progress",
            "replay",
            "retry",
            "transfer",
        ],
    ),
    (
        "http",
        &[
            "access",
            "archive",
            "clickhouse",
            "config",
            "connections",
            "dataset",
            "error",
            "ingest",
            "nats",
            "progress",
            "retry",
            "transfer",
        ],
    ),
    // The names of datasets, tasks and their states are read where they are typed.
    ("cli", &["config", "dataset", "transfer"]),
    // What mpsync does: none of these knows another.
    (
        "engine",
        &[
            "access",
            "config",
            "connections",
            "error",
            "progress",
            "retry",
        ],
    ),
    (
        "generate",
        &["config", "dataset", "error", "nats", "progress", "retry"],
    ),
    (
        "ingest",
        &[
            "clickhouse",
            "config",
            "dataset",
            "error",
            "nats",
            "progress",
            "retry",
        ],
    ),
    (
        "replay",
        &[
            "archive",
            "clickhouse",
            "config",
            "dataset",
            "error",
            "nats",
            "progress",
            "retry",
        ],
    ),
    (
        "transfer",
        &[
            "archive",
            "clickhouse",
            "config",
            "dataset",
            "error",
            "progress",
            "retry",
        ],
    ),
    // Log lines go above the bars.
    ("logging", &["config", "error", "progress"]),
    // What it works with.
    (
        "archive",
        &["clickhouse", "config", "dataset", "error", "retry"],
    ),
    ("clickhouse", &["config", "dataset", "error", "retry"]),
    ("nats", &["config", "error", "retry"]),
    ("dataset", &["error"]),
    // What everything may use.
    ("access", &["config", "error"]),
    ("connections", &[]),
    ("servers", &["config", "error"]),
    ("config", &["error"]),
    ("progress", &["error"]),
    ("retry", &["error"]),
    ("error", &[]),
];

/// Files and folders that know no runtime, no server, no store, no file and no clock: the same input gives the same output.
/// Every file whose module documentation says `Pure.` is held to it too.
pub(crate) const PURE: &[&str] = &[
    "archive/manifest.rs",
    "clickhouse/fingerprint.rs",
    "clickhouse/sql.rs",
    "dataset/",
    "error/",
    "generate/book.rs",
    "generate/kinds.rs",
    "generate/market.rs",
    "generate/mod.rs",
    "generate/number.rs",
    "ingest/batch.rs",
    "ingest/decode/",
    "ingest/epoch.rs",
    "ingest/order.rs",
    "transfer/plan.rs",
    "transfer/task.rs",
];

/// What a pure file never names; nor any `::now`.
pub(crate) const IMPURE: &[&str] = &[
    "tokio",
    "tokio_util",
    "async_nats",
    "object_store",
    "axum",
    "hyper",
    "libloading",
    "Tier",
    "Archive",
    "fs",
    "async",
    "await",
];

/// The only files with `unsafe`.
pub(crate) const UNSAFE: &[&str] = &["engine/ffi.rs"];

/// Lines of a file at most.
pub(crate) const LINES: usize = 500;

/// Files that are longer, with why they are better whole.
pub(crate) const LONG: &[(&str, &str)] = &[];
