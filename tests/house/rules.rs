//! The rules, as tables: which crate may depend on which, which files may import each other, which
//! are pure, where `unsafe` is, how long a file and a function may be.

/// Every package with the packages of the workspace that it depends on, and those that its tests,
/// benches and examples depend on besides. Read from the top: a package never depends on one that
/// stands above it.
pub(crate) const ALLOWED: &[(&str, &[&str], &[&str])] = &[
    // The program: command line, wiring, demo.
    (
        "mpsync",
        &[
            "mpsync-archive",
            "mpsync-clickhouse",
            "mpsync-config",
            "mpsync-core",
            "mpsync-daemon",
            "mpsync-engine",
            "mpsync-generate",
            "mpsync-ingest",
            "mpsync-nats",
            "mpsync-net",
            "mpsync-replay",
            "mpsync-transfer",
        ],
        &["mpsync-testkit"],
    ),
    // The long-running process: it starts the work and shows how it goes.
    (
        "mpsync-daemon",
        &[
            "mpsync-archive",
            "mpsync-clickhouse",
            "mpsync-config",
            "mpsync-core",
            "mpsync-ingest",
            "mpsync-nats",
            "mpsync-net",
            "mpsync-replay",
            "mpsync-transfer",
        ],
        &[],
    ),
    // The work. None of these depends on another, see WORKING.
    (
        "mpsync-ingest",
        &[
            "mpsync-clickhouse",
            "mpsync-config",
            "mpsync-core",
            "mpsync-nats",
        ],
        &[],
    ),
    (
        "mpsync-transfer",
        &[
            "mpsync-archive",
            "mpsync-clickhouse",
            "mpsync-config",
            "mpsync-core",
        ],
        &[],
    ),
    (
        "mpsync-replay",
        &["mpsync-archive", "mpsync-clickhouse", "mpsync-core"],
        &["mpsync-testkit"],
    ),
    ("mpsync-generate", &["mpsync-core"], &[]),
    // The parts of which the work is made.
    ("mpsync-nats", &["mpsync-config", "mpsync-core"], &[]),
    (
        "mpsync-config",
        &[
            "mpsync-archive",
            "mpsync-clickhouse",
            "mpsync-core",
            "mpsync-net",
        ],
        &[],
    ),
    // For tests only: rows and archives of them, of the archive's own types.
    ("mpsync-testkit", &["mpsync-archive", "mpsync-core"], &[]),
    // Libraries that other programs can use by themselves.
    (
        "mpsync-archive",
        &["mpsync-core", "mpsync-net"],
        &["mpsync-testkit"],
    ),
    ("mpsync-clickhouse", &["mpsync-core", "mpsync-net"], &[]),
    ("mpsync-engine", &["mpsync-core", "mpsync-net"], &[]),
    ("mpsync-net", &["mpsync-core"], &[]),
    ("mpsync-core", &[], &[]),
];

/// The packages that do the work; none depends on another.
pub(crate) const WORKING: &[&str] = &[
    "mpsync-engine",
    "mpsync-generate",
    "mpsync-ingest",
    "mpsync-replay",
    "mpsync-transfer",
];

/// Files that may import each other, with the reason.
pub(crate) const CIRCLES: &[(&[&str], &str)] = &[(
    &[
        "crates/ingest/src/decode/column.rs",
        "crates/ingest/src/decode/nested.rs",
        "crates/ingest/src/decode/values.rs",
    ],
    "the elements of an array or a tuple are columns, whose values may be arrays or tuples",
)];

/// Files and folders that know no runtime, server, store, file or clock: the same input gives the
/// same output. Every file whose module documentation says `Pure.` is held to it too.
pub(crate) const PURE: &[&str] = &[
    "crates/archive/src/format/manifest.rs",
    "crates/core/src/fingerprint.rs",
    "crates/clickhouse/src/statements/sql.rs",
    "crates/core/src/dataset/",
    "crates/core/src/error/",
    "crates/generate/src/book.rs",
    "crates/generate/src/kinds.rs",
    "crates/generate/src/generator.rs",
    "crates/generate/src/kind.rs",
    "crates/generate/src/market.rs",
    "crates/generate/src/message.rs",
    "crates/generate/src/payload.rs",
    "crates/core/src/decimal/",
    "crates/ingest/src/writer/partition_split.rs",
    "crates/ingest/src/decode/",
    "crates/ingest/src/session/epoch.rs",
    "crates/ingest/src/source/delivery_tracker.rs",
    "crates/transfer/src/plan/transfer_plan.rs",
    "crates/transfer/src/window/task.rs",
    "src/progress/estimate.rs",
    "src/progress/render.rs",
    "src/progress/report.rs",
];

/// Names that a pure file never uses; nor does it use any `::now`.
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
pub(crate) const UNSAFE: &[&str] = &["crates/engine/src/ffi.rs"];

/// Lines of a file at most.
pub(crate) const LINES: usize = 500;

/// Files that are longer, each with the reason why it is better whole.
pub(crate) const LONG: &[(&str, &str)] = &[];

/// Lines of a production function at most, signature included.
pub(crate) const FUNCTION_LINES: usize = 100;

/// Functions that are longer, as `file: name`, each with the reason why it is better whole.
pub(crate) const LONG_FUNCTIONS: &[(&str, &str)] = &[];
