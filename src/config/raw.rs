//! The configuration as the YAML file and the environment say it: every key optional, nothing checked but its type.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

/// Declares a section: optional keys, unknown ones refused, and a way to lay one source over another.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $ty:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct $name { $(pub(super) $field: Option<$ty>),* }

        impl Overlay for $name {
            fn overlay(self, over: Self) -> Self {
                Self { $($field: Overlay::overlay(self.$field, over.$field)),* }
            }
        }
    };
}

/// Laying a stronger source over a weaker one.
pub(super) trait Overlay {
    /// What `over` says where it says something, else what `self` says.
    fn overlay(self, over: Self) -> Self;
}

macro_rules! leaf {
    ($($ty:ty),*) => { $(impl Overlay for $ty { fn overlay(self, over: Self) -> Self { let _ = self; over } })* };
}
leaf!(
    String,
    u16,
    u32,
    u64,
    i64,
    f64,
    bool,
    Vec<PathBuf>,
    Vec<String>,
    BTreeMap<String, RawBatch>,
    PathBuf,
    super::TierCompression
);

impl<T: Overlay> Overlay for Option<T> {
    fn overlay(self, over: Self) -> Self {
        match (self, over) {
            (Some(weak), Some(strong)) => Some(weak.overlay(strong)),
            (weak, strong) => strong.or(weak),
        }
    }
}

section!(
    /// The whole file.
    RawConfig {
        nats: RawNats,
        hot_storage: RawStorage,
        cold_storage: RawStorage,
        archive: RawArchive,
        ingest: RawIngest,
        sync: RawSync,
        datasets: RawDatasets,
    }
);

section!(
    /// `nats:`
    RawNats {
        url: String,
        max_reconnect_attempts: i64,
        stream: String,
        user: String,
        password: String,
        password_file: PathBuf,
        token: String,
        token_file: PathBuf,
        nkey_seed_file: PathBuf,
        credentials_file: PathBuf,
        tls_ca_file: PathBuf,
        duplicate_window_seconds: u64,
    }
);

section!(
    /// `hot_storage:` and `cold_storage:`
    RawStorage {
        clickhouse_host: String,
        clickhouse_http_port: u16,
        clickhouse_secure: bool,
        clickhouse_tls_ca_file: PathBuf,
        clickhouse_user: String,
        clickhouse_password: String,
        clickhouse_password_file: PathBuf,
        clickhouse_database: String,
        clickhouse_cluster: String,
        compression: super::TierCompression,
        request_timeout_seconds: u64,
        retention_days: u32,
        batch_size: u32,
        flush_interval: f64,
    }
);

section!(
    /// `archive:`
    RawArchive {
        path: PathBuf,
        url: String,
        s3_endpoint: String,
        s3_region: String,
        s3_allow_http: bool,
        s3_virtual_host: bool,
        s3_tls_ca_file: PathBuf,
        s3_access_key_id: String,
        s3_secret_access_key: String,
        s3_secret_access_key_file: PathBuf,
        s3_session_token: String,
        s3_credentials_file: PathBuf,
        s3_profile: String,
        upload_bytes_per_second: u64,
        zstd_level: i64,
        chunk_rows: u64,
        chunk_bytes: u64,
        row_group_rows: u64,
        verify_after_write: bool,
    }
);

section!(
    /// `ingest:`
    RawIngest {
        memory_limit: u64,
        batch_bytes: u64,
        ack_wait_seconds: u64,
        dead_letter_stream: String,
        dead_letter_folder: PathBuf,
        batches: BTreeMap<String, RawBatch>,
        shards: u32,
        shard_index: u32,
        filters: Vec<String>,
        filter_name: String,
    }
);

section!(
    /// One of `ingest.batches:`
    RawBatch { batch_size: u32, flush_interval: f64 }
);

section!(
    /// `sync:`
    RawSync {
        interval_hours: f64,
        batch_hours: u32,
        cleanup_enabled: bool,
        cleanup_delay_hours: f64,
        grace_minutes: f64,
        max_concurrent_transfers: u32,
    }
);

section!(
    /// `datasets:`
    RawDatasets { files: Vec<PathBuf> }
);
