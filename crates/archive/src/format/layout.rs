//! The names of everything in the archive.
//!
//! ```text
//! {dataset}/date=2026-01-01/hour=00/gen=0/part-00000-a3.parquet     a3: the attempt that wrote it
//!                                         SHA256SUMS
//!                                         manifest.json             written last: it makes the generation exist
//!                                         manifest-r1.json          if a repair replaced chunks: the highest number counts
//! _mpsync/tasks/{dataset}/{window}/{number}.json
//! _mpsync/leases/{dataset}/{window}/{number}.json
//! _mpsync/requests/{when}-{number}.json                             a request for a transfer
//! _mpsync/quarantine/{dataset}/{window}/gen=0/part-00000-a3.parquet chunks that a repair has replaced
//! ```
//!
//! The folders are Hive-style, so that DuckDB, Polars, Spark and ClickHouse read the archive as it stands; names that
//! begin with `_` are passed over by such readers. Windows of an hour lie below `date=…/hour=…`, of a day below `date=…`,
//! all others below `date=…/window=…`.

use object_store::path::Path;

use mpsync_core::dataset::{DatasetName, Window};

/// The name of the document that makes a generation exist.
pub const MANIFEST: &str = "manifest.json";
/// The name of the file that `sha256sum -c` reads.
pub const SHA256SUMS: &str = "SHA256SUMS";
/// The folder of mpsync's own objects.
pub const INTERNAL: &str = "_mpsync";

/// The highest number that a name is read with. No program counts so far; a higher one was not written by mpsync, and could
/// not be counted up.
const HIGHEST: u64 = 1 << 53;
/// The same for generations and revisions.
const HIGHEST_GENERATION: u32 = 1 << 30;

/// Kinds of objects, each with a limit: an archive can be written by others, and an object is never read into memory before its
/// size was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ObjectKind {
    /// A manifest. Its positions are compressed bitmaps: tens of bytes for each gap in a stream.
    Manifest,
    /// A `SHA256SUMS`: a line for each chunk.
    Sums,
    /// A journal entry or a request.
    Entry,
    /// A lease.
    Lease,
    /// A chunk; its limit depends on the configuration.
    Chunk,
    /// Anything else.
    Other,
}

impl ObjectKind {
    /// Returns the kind of the object at a path, by its name.
    pub(crate) fn of(path: &Path) -> Self {
        let name = path.filename().unwrap_or_default();
        if parse_manifest_file(name).is_some() {
            return Self::Manifest;
        }
        if parse_chunk_file(name).is_some() {
            return Self::Chunk;
        }
        if name == SHA256SUMS {
            return Self::Sums;
        }
        if path.prefix_matches(&leases_root()) {
            return Self::Lease;
        }
        if path.prefix_matches(&tasks_root()) || path.prefix_matches(&requests_folder()) {
            return Self::Entry;
        }
        Self::Other
    }

    /// Returns the most bytes of such an object.
    pub(crate) fn limit(self) -> u64 {
        match self {
            Self::Manifest => 256 << 20,
            Self::Sums | Self::Other => 64 << 20,
            Self::Entry => 1 << 20,
            Self::Lease => 64 << 10,
            Self::Chunk => 2 << 30,
        }
    }

    /// Returns the kind as messages name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Sums => "list of checksums",
            Self::Entry => "journal entry or request",
            Self::Lease => "lease",
            Self::Chunk => "chunk",
            Self::Other => "object of this kind",
        }
    }
}

/// Returns whether mpsync writes objects of this name. Nothing else is ever swept.
#[must_use]
pub fn is_written(path: &Path) -> bool {
    let name = path.filename().unwrap_or_default();
    if path.prefix_matches(&Path::from(INTERNAL)) {
        let is_number = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
        return parse_numbered(name).is_some()
            || parse_chunk_file(name).is_some()
            || matches!(name, "clock" | "probe")
            // The results of a daemon's last runs.
            || (path.parts().count() == 2 && is_request(name))
            || (path.prefix_matches(&requests_folder()) && is_request(name))
            || (is_number && path.prefix_matches(&Path::from(INTERNAL).join("probe")));
    }
    generation_of(path).is_some() && is_generation_file(name)
}

/// Returns whether mpsync writes files of this name into a generation's folder.
pub(crate) fn is_generation_file(name: &str) -> bool {
    name == SHA256SUMS || parse_manifest_file(name).is_some() || parse_chunk_file(name).is_some()
}

/// Returns whether a name is `{when}-{number}.json`.
fn is_request(name: &str) -> bool {
    name.strip_suffix(".json").is_some_and(|id| {
        !id.is_empty()
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
    })
}

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
    /// Returns the folder of the generation.
    #[must_use]
    pub fn folder(&self) -> Path {
        window_folder(&self.dataset, self.window).join(format!("gen={}", self.generation))
    }

    /// Returns the key of its manifest.
    #[must_use]
    pub fn manifest(&self) -> Path {
        self.folder().join(MANIFEST)
    }

    /// Returns the key of the manifest that a repair wrote: 0 is the first manifest.
    #[must_use]
    pub fn revision(&self, revision: u32) -> Path {
        self.folder().join(manifest_file(revision))
    }

    /// Returns where one of its files goes when a repair has replaced it.
    #[must_use]
    pub fn quarantined(&self, name: &str) -> Path {
        quarantine_root()
            .join(self.dataset.as_str())
            .join(internal_name(self.window))
            .join(format!("gen={}", self.generation))
            .join(name)
    }

    /// Returns the key of its `SHA256SUMS`.
    #[must_use]
    pub fn sums(&self) -> Path {
        self.folder().join(SHA256SUMS)
    }

    /// Returns the key of one of its files.
    #[must_use]
    pub fn file(&self, name: &str) -> Path {
        self.folder().join(name)
    }
}

/// Returns the name of a chunk's file: its number within the generation, and the attempt that wrote it.
#[must_use]
pub fn chunk_file(number: u32, attempt: u64) -> String {
    format!("part-{number:05}-a{attempt}.parquet")
}

/// Returns the number and the attempt in the name of a chunk's file; `None` for any other name.
#[must_use]
pub fn parse_chunk_file(file: &str) -> Option<(u32, u64)> {
    let (number, attempt) = file
        .strip_prefix("part-")?
        .strip_suffix(".parquet")?
        .split_once("-a")?;
    let (number, attempt) = (number.parse().ok()?, attempt.parse().ok()?);
    (attempt <= HIGHEST && chunk_file(number, attempt) == file).then_some((number, attempt))
}

/// Returns the name of a generation's manifest: of the first one, or of one that a repair put in its place.
#[must_use]
pub fn manifest_file(revision: u32) -> String {
    match revision {
        0 => MANIFEST.to_owned(),
        n => format!("manifest-r{n}.json"),
    }
}

/// Returns the revision in the name of a manifest; `None` for any other name.
#[must_use]
pub fn parse_manifest_file(file: &str) -> Option<u32> {
    if file == MANIFEST {
        return Some(0);
    }
    let number = file.strip_prefix("manifest-r")?.strip_suffix(".json")?;
    let number = number
        .parse()
        .ok()
        .filter(|n| (1..=HIGHEST_GENERATION).contains(n))?;
    (manifest_file(number) == file).then_some(number)
}

/// Returns the folder of all generations of a window.
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

/// Returns the folder of a window's journal entries.
#[must_use]
pub fn tasks_folder(dataset: &DatasetName, window: Window) -> Path {
    internal_folder("tasks", dataset, window)
}

/// Returns the folder of a window's leases.
#[must_use]
pub fn leases_folder(dataset: &DatasetName, window: Window) -> Path {
    internal_folder("leases", dataset, window)
}

/// Returns the folder of the journals of all windows, or of all leases, below which each dataset has its own.
#[must_use]
pub fn tasks_root() -> Path {
    Path::from(INTERNAL).join("tasks")
}

/// Returns the folder of all leases, see [`tasks_root`].
#[must_use]
pub fn leases_root() -> Path {
    Path::from(INTERNAL).join("leases")
}

/// Returns the folder of chunks that repairs have replaced, below which each dataset has its own.
#[must_use]
pub fn quarantine_root() -> Path {
    Path::from(INTERNAL).join("quarantine")
}

/// Returns the folder of requests for transfers.
#[must_use]
pub fn requests_folder() -> Path {
    Path::from(INTERNAL).join("requests")
}

/// Parses the folder of a window's journal or leases back; `None` for any other name.
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

/// Returns the file of a numbered object: padded, so that a listing is in order.
#[must_use]
pub fn numbered_file(number: u64) -> String {
    format!("{number:010}.json")
}

/// Parses the folder of a window: the part below `{dataset}/date=…/`, or the rest of it, up to `gen=`.
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

/// Returns the generation whose manifest lies under this path, whichever revision; `None` for any other path.
#[must_use]
pub fn parse_manifest(path: &Path) -> Option<GenerationId> {
    parse_revision(path).map(|(id, _)| id)
}

/// Returns the same with the number of the revision.
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

/// Returns the generation in whose folder a file lies; `None` for any other path.
#[must_use]
pub fn generation_of(file: &Path) -> Option<GenerationId> {
    let (folder, _) = file.as_ref().rsplit_once('/')?;
    parse_manifest(&Path::from(folder).join(MANIFEST))
}

/// Returns the number of a generation's folder; `None` for any other name.
#[must_use]
pub fn parse_generation(folder: &str) -> Option<u32> {
    let number = folder.strip_prefix("gen=")?;
    number
        .parse()
        .ok()
        .filter(|n: &u32| *n <= HIGHEST_GENERATION && n.to_string() == number)
}

/// Returns the number of a numbered object; `None` for any other name.
#[must_use]
pub fn parse_numbered(file: &str) -> Option<u64> {
    let number = file.strip_suffix(".json")?.parse().ok()?;
    (number <= HIGHEST && numbered_file(number) == file).then_some(number)
}

/// Parses `2026-01-01T000000Z_2026-01-01T001000Z`, whose times are written without colons.
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
    fn other_names_are_not_read_back() {
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
        assert_eq!(parse_numbered("18446744073709551615.json"), None);
        assert_eq!(parse_generation("gen=4294967295"), None);
        assert_eq!(parse_chunk_file("part-00002-a17.parquet"), Some((2, 17)));
        for file in [
            "part-2-a17.parquet",
            "part-00002.parquet",
            "manifest.json",
            "part-00000-a18446744073709551615.parquet",
        ] {
            assert_eq!(parse_chunk_file(file), None, "{file}");
        }
    }

    #[test]
    fn only_names_that_are_written_are_swept() {
        for path in [
            "trades/date=2026-01-01/hour=05/gen=0/part-00000-a1.parquet",
            "trades/date=2026-01-01/hour=05/gen=0/manifest.json",
            "_mpsync/tasks/trades/2026-01-01T05/0000000007.json",
            "_mpsync/quarantine/trades/2026-01-01T05/gen=0/part-00000-a1.parquet",
            "_mpsync/requests/20260101T050000.5Z-0a1b2c3d.json",
            "_mpsync/probe/17",
            "_mpsync/clock",
        ] {
            assert!(is_written(&Path::from(path)), "{path}");
        }
        for path in [
            "trades/date=2026-01-01/hour=05/gen=0/notes.txt",
            "trades/date=2026-01-01/hour=05/part-00000-a1.parquet",
            "trades/date=2026-01-01/hour=5/gen=0/part-00000-a1.parquet",
            "home/photos/1.json",
            "_mpsync/notes.txt",
            "_mpsync/probe/x",
        ] {
            assert!(!is_written(&Path::from(path)), "{path}");
        }
    }
}
