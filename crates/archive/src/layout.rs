//! Where things lie in the archive.
//!
//! ```text
//! {dataset}/date=2026-01-01/hour=00/gen=0/part-00000-a3.parquet     a3: the attempt that wrote it
//!                                         SHA256SUMS
//!                                         manifest.json             written last: it makes the generation exist
//!                                         manifest-r1.json          where a repair made chunks anew: the highest number holds
//! _mpsync/tasks/{dataset}/{window}/{number}.json
//! _mpsync/leases/{dataset}/{window}/{number}.json
//! _mpsync/requests/{when}-{number}.json                             what a person asked to be transferred
//! _mpsync/quarantine/{dataset}/{window}/gen=0/part-00000-a3.parquet chunks that a repair put others in the place of
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

    /// The key of the manifest that a repair wrote: 0 is the first manifest.
    #[must_use]
    pub fn revision(&self, revision: u32) -> Path {
        self.folder().join(manifest_file(revision))
    }

    /// Where one of its files goes when a repair has put another in its place.
    #[must_use]
    pub fn quarantined(&self, name: &str) -> Path {
        quarantine_root()
            .join(self.dataset.as_str())
            .join(internal_name(self.window))
            .join(format!("gen={}", self.generation))
            .join(name)
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

/// The number and the attempt in the name of a chunk's file; `None` for any other name.
#[must_use]
pub fn parse_chunk_file(file: &str) -> Option<(u32, u64)> {
    let (number, attempt) = file
        .strip_prefix("part-")?
        .strip_suffix(".parquet")?
        .split_once("-a")?;
    let (number, attempt) = (number.parse().ok()?, attempt.parse().ok()?);
    (chunk_file(number, attempt) == file).then_some((number, attempt))
}

/// The name of a generation's manifest: of the first one, or of one that a repair put in its place.
#[must_use]
pub fn manifest_file(revision: u32) -> String {
    match revision {
        0 => MANIFEST.to_owned(),
        n => format!("manifest-r{n}.json"),
    }
}

/// The revision in the name of a manifest; `None` for any other name.
#[must_use]
pub fn parse_manifest_file(file: &str) -> Option<u32> {
    if file == MANIFEST {
        return Some(0);
    }
    let number = file.strip_prefix("manifest-r")?.strip_suffix(".json")?;
    let number = number.parse().ok().filter(|n| *n > 0)?;
    (manifest_file(number) == file).then_some(number)
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

/// The folder of the journals of all windows, or of all leases, below which each dataset has its own.
#[must_use]
pub fn tasks_root() -> Path {
    Path::from(INTERNAL).join("tasks")
}

/// See [`tasks_root`].
#[must_use]
pub fn leases_root() -> Path {
    Path::from(INTERNAL).join("leases")
}

/// The folder of chunks that repairs put others in the place of, below which each dataset has its own.
#[must_use]
pub fn quarantine_root() -> Path {
    Path::from(INTERNAL).join("quarantine")
}

/// The folder of what people asked to be transferred.
#[must_use]
pub fn requests_folder() -> Path {
    Path::from(INTERNAL).join("requests")
}

/// Reads the folder of a window's journal or leases back; `None` for any other name.
#[must_use]
pub fn parse_internal_window(folder: &str) -> Option<Window> {
    let window = folder.parse().ok().or_else(|| parse_span(folder))?;
    (internal_name(window) == folder).then_some(window)
}

fn internal_name(window: Window) -> String {
    window.id().replace(':', "")
}

fn internal_folder(kind: &str, dataset: &DatasetName, window: Window) -> Path {
    Path::from(INTERNAL)
        .join(kind)
        .join(dataset.as_str())
        .join(internal_name(window))
}

/// The file of a numbered object: padded, so that a listing is in order.
#[must_use]
pub fn numbered_file(number: u64) -> String {
    format!("{number:010}.json")
}

/// Reads the folder of a window back: what lies below `{dataset}/date=…/`, or the rest of it, up to `gen=`.
///
/// `None` for anything that this program does not write.
#[must_use]
pub fn parse_window(date: &str, rest: Option<&str>) -> Option<Window> {
    let date = date.strip_prefix("date=")?;
    let window: Window = match rest {
        None => date.parse().ok()?,
        Some(rest) => {
            if let Some(hour) = rest.strip_prefix("hour=") {
                format!("{date}T{hour}").parse().ok()?
            } else {
                parse_span(rest.strip_prefix("window=")?)?
            }
        }
    };
    Some(window)
}

/// The generation of which a manifest lies under this path, whichever revision; `None` for any other path.
#[must_use]
pub fn parse_manifest(path: &Path) -> Option<GenerationId> {
    parse_revision(path).map(|(id, _)| id)
}

/// The same with the number of the revision.
#[must_use]
pub fn parse_revision(path: &Path) -> Option<(GenerationId, u32)> {
    let parts: Vec<_> = path.parts().collect();
    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    let (dataset, date, rest, generation, file) = match parts.as_slice() {
        [dataset, date, generation, file] => (dataset, date, None, generation, file),
        [dataset, date, rest, generation, file] => (dataset, date, Some(*rest), generation, file),
        _ => return None,
    };
    let revision = parse_manifest_file(file)?;
    let id = GenerationId {
        dataset: dataset.parse().ok()?,
        window: parse_window(date, rest)?,
        generation: parse_generation(generation)?,
    };
    // Another spelling of the same is not what this program writes.
    (id.revision(revision) == *path).then_some((id, revision))
}

/// The generation in whose folder a file lies; `None` for any other path.
#[must_use]
pub fn generation_of(file: &Path) -> Option<GenerationId> {
    let (folder, _) = file.as_ref().rsplit_once('/')?;
    parse_manifest(&Path::from(folder).join(MANIFEST))
}

/// The number of a generation's folder; `None` for any other name.
#[must_use]
pub fn parse_generation(folder: &str) -> Option<u32> {
    let number = folder.strip_prefix("gen=")?;
    number
        .parse()
        .ok()
        .filter(|n: &u32| n.to_string() == number)
}

/// The number of a numbered object; `None` for any other name.
#[must_use]
pub fn parse_numbered(file: &str) -> Option<u64> {
    let number = file.strip_suffix(".json")?.parse().ok()?;
    (numbered_file(number) == file).then_some(number)
}

/// `2026-01-01T000000Z_2026-01-01T001000Z`, whose times are written without colons.
fn parse_span(span: &str) -> Option<Window> {
    let moment = |text: &str| {
        let (date, time) = text.split_once('T')?;
        let (hour, minute) = (time.get(..2)?, time.get(2..4)?);
        format!("{date}T{hour}:{minute}:{}", time.get(4..)?)
            .parse()
            .ok()
    };
    let (start, end) = span.split_once('_')?;
    Window::new(moment(start)?, moment(end)?).ok()
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
    #[test]
    fn a_manifest_s_place_is_read_back_and_other_names_are_not() {
        for window in [
            "2026-01-01T05",
            "2026-01-01",
            "2026-01-01T00:00:00Z_2026-01-01T00:10:00Z",
            "2026-01-01T00:00:00.5Z_2026-02-01T00:00:00Z",
        ] {
            let id = GenerationId {
                dataset: "trades".parse().unwrap(),
                window: window.parse().unwrap(),
                generation: 12,
            };
            assert_eq!(parse_manifest(&id.manifest()), Some(id.clone()));
            assert_eq!(parse_revision(&id.revision(12)), Some((id.clone(), 12)));
            let tasks = tasks_folder(&id.dataset, id.window);
            assert_eq!(
                parse_internal_window(tasks.filename().unwrap()),
                Some(id.window)
            );
        }
        for path in [
            "trades/date=2026-01-01/hour=5/gen=0/manifest.json",
            "trades/date=2026-01-01/hour=05/gen=00/manifest.json",
            "trades/date=2026-01-01/hour=05/gen=0/part-00000-a1.parquet",
            "trades/date=2026-01-01/hour=05/gen=0/manifest-r0.json",
            "trades/date=2026-01-01/hour=05/gen=0/manifest-r01.json",
            "_mpsync/leases/trades/2026-01-01T05/0000000007.json",
        ] {
            assert_eq!(parse_manifest(&Path::from(path)), None, "{path}");
        }
        assert_eq!(parse_numbered("0000000007.json"), Some(7));
        assert_eq!(parse_numbered("7.json"), None);
        assert_eq!(parse_chunk_file("part-00002-a17.parquet"), Some((2, 17)));
        for file in ["part-2-a17.parquet", "part-00002.parquet", "manifest.json"] {
            assert_eq!(parse_chunk_file(file), None, "{file}");
        }
    }
}
