//! Where things lie in the archive.
//!
//! ```text
//! {dataset}/date=2026-01-01/hour=00/gen=0/part-00000-a3.parquet     a3: the attempt that wrote it
//!                                         SHA256SUMS
//!                                         manifest.json             written last: it makes the generation exist
//! _mpsync/tasks/{dataset}/{window}/{number}.json
//! _mpsync/leases/{dataset}/{window}/{number}.json
//! ```
//!
//! The folders are Hive-style, so that DuckDB, Polars, Spark and ClickHouse read the archive as it stands; names that
//! begin with `_` are passed over by such readers. Windows of an hour lie below `date=…/hour=…`, of a day below `date=…`,
//! all others below `date=…/window=…`.

use object_store::path::Path;

use crate::dataset::{DatasetName, Window};

/// The name of the document that makes a generation exist.
pub const MANIFEST: &str = "manifest.json";
/// The name of the file that `sha256sum -c` reads.
pub const SHA256SUMS: &str = "SHA256SUMS";
/// The folder of what is mpsync's own.
pub const INTERNAL: &str = "_mpsync";

/// One generation of one window of one dataset: what one manifest describes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenerationId {
    /// The dataset.
    pub dataset: DatasetName,
    /// The span of event time.
    pub window: Window,
    /// 0 is the first export, a later one holds only late arrivals.
    pub generation: u32,
}

impl std::fmt::Display for GenerationId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {} gen {}",
            self.dataset, self.window, self.generation
        )
    }
}

impl GenerationId {
    /// The folder of the generation.
    #[must_use]
    pub fn folder(&self) -> Path {
        window_folder(&self.dataset, self.window).join(format!("gen={}", self.generation))
    }

    /// The key of its manifest.
    #[must_use]
    pub fn manifest(&self) -> Path {
        self.folder().join(MANIFEST)
    }

    /// The key of its `SHA256SUMS`.
    #[must_use]
    pub fn sums(&self) -> Path {
        self.folder().join(SHA256SUMS)
    }

    /// The key of one of its files.
    #[must_use]
    pub fn file(&self, name: &str) -> Path {
        self.folder().join(name)
    }
}

/// The name of a chunk's file: its number within the generation, and the attempt that wrote it.
#[must_use]
pub fn chunk_file(number: u32, attempt: u64) -> String {
    format!("part-{number:05}-a{attempt}.parquet")
}

/// The folder of all generations of a window.
#[must_use]
pub fn window_folder(dataset: &DatasetName, window: Window) -> Path {
    let day =
        Path::from(dataset.as_str()).join(format!("date={}", window.start().strftime("%Y-%m-%d")));
    let id = window.id();
    match id.len() {
        13 => day.join(format!("hour={}", window.start().strftime("%H"))),
        10 => day,
        // ':' is not allowed in file names everywhere.
        _ => day.join(format!("window={}", id.replace(':', ""))),
    }
}

/// The folder of a window's journal entries.
#[must_use]
pub fn tasks_folder(dataset: &DatasetName, window: Window) -> Path {
    internal_folder("tasks", dataset, window)
}

/// The folder of a window's leases.
#[must_use]
pub fn leases_folder(dataset: &DatasetName, window: Window) -> Path {
    internal_folder("leases", dataset, window)
}

fn internal_folder(kind: &str, dataset: &DatasetName, window: Window) -> Path {
    Path::from(INTERNAL)
        .join(kind)
        .join(dataset.as_str())
        .join(window.id().replace(':', ""))
}

/// The file of a numbered object: padded, so that a listing is in order.
#[must_use]
pub fn numbered_file(number: u64) -> String {
    format!("{number:010}.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_documented_one() {
        let id = |window: &str| GenerationId {
            dataset: "trades".parse().unwrap(),
            window: window.parse().unwrap(),
            generation: 1,
        };
        assert_eq!(
            id("2026-01-01T05").manifest().as_ref(),
            "trades/date=2026-01-01/hour=05/gen=1/manifest.json"
        );
        assert_eq!(
            id("2026-01-01").folder().as_ref(),
            "trades/date=2026-01-01/gen=1"
        );
        assert_eq!(
            id("2026-01-01T00:00:00Z_2026-01-01T00:10:00Z")
                .folder()
                .as_ref(),
            "trades/date=2026-01-01/window=2026-01-01T000000Z_2026-01-01T001000Z/gen=1"
        );
        assert_eq!(chunk_file(0, 3), "part-00000-a3.parquet");
        let window = "2026-01-01T05".parse().unwrap();
        assert_eq!(
            leases_folder(&"trades".parse().unwrap(), window)
                .join(numbered_file(7))
                .as_ref(),
            "_mpsync/leases/trades/2026-01-01T05/0000000007.json"
        );
    }
}
