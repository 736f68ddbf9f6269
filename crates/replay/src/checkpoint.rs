//! The checkpoint file of a replay.

use std::io::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::options::{MessageId, ReplayOptions};
use crate::order::{RowKey, StreamKey, StreamOrder};
use mpsync_core::dataset::Dataset;
use mpsync_core::error::{Context as _, Error, Result};

/// The position up to which the target has everything. Replaced atomically.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The selection that is replayed: a checkpoint resumes nothing else.
    pub selection: String,
    /// The last message's dataset.
    pub dataset: String,
    /// Its event time in nanoseconds since 1970, or the rank in another order.
    pub time_nanos: i64,
    /// Its position's epoch.
    pub epoch: u64,
    /// Its position's sequence.
    pub seq: u64,
    /// The pass of an endless replay, from 0.
    pub pass: u64,
    /// Seconds by which times are shifted.
    pub shift_secs: i64,
    /// The length of the target's file with that message at its end.
    pub file_bytes: Option<u64>,
}

impl Checkpoint {
    /// Reads the checkpoint of a replay; returns `None` if there is none yet.
    ///
    /// # Errors
    ///
    /// A usage error if it belongs to another replay.
    pub fn read(path: &Path, selection: &str) -> Result<Option<Self>> {
        let context = || format!("reading the checkpoint {}", path.display());
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::from(e).context(context())),
        };
        let read: Self = serde_json::from_slice(&text)
            .map_err(|e| Error::malformed(format!("the file is not a checkpoint: {e}")))
            .with_hint("remove the file to start from the beginning")
            .context(context)?;
        if read.selection != selection {
            return Err(Error::usage(format!(
                "it belongs to another replay: its selection is `{}`, this one is `{selection}`",
                read.selection
            ))
            .with_hint("repeat the datasets, times, exchanges, symbols, subject and order of that replay, or name another file")
            .context(context()));
        }
        Ok(Some(read))
    }

    /// Writes it: a temporary file, made durable, replaces the earlier one.
    pub fn write(&self, path: &Path) -> Result<()> {
        let context = || format!("writing the checkpoint {}", path.display());
        let folder = path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let json = serde_json::to_vec_pretty(self).map_err(|e| Error::malformed(e.to_string()))?;
        let mut file = tempfile::NamedTempFile::new_in(folder).context(context)?;
        file.write_all(&json).context(context)?;
        file.as_file().sync_all().context(context)?;
        file.persist(path)
            .map_err(|e| Error::from(e.error))
            .context(context)?;
        std::fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .context(context)
    }

    /// Returns its key in the merged stream.
    pub(crate) fn key(&self, datasets: &[Dataset], order: StreamOrder) -> Result<StreamKey> {
        let stream = datasets
            .iter()
            .position(|d| d.name.as_str() == self.dataset)
            .ok_or_else(|| {
                Error::usage(format!(
                    "the checkpoint is at a message of dataset {}, which is not selected",
                    self.dataset
                ))
            })?;
        Ok(StreamKey::new(
            order,
            stream,
            RowKey {
                rank: self.time_nanos,
                epoch: self.epoch,
                seq: self.seq,
            },
        ))
    }
}

/// Returns the selection as text: the same text is the same stream.
pub(crate) fn selection(datasets: &[Dataset], options: &ReplayOptions) -> String {
    let names: Vec<_> = datasets.iter().map(|d| d.name.as_str()).collect();
    let time = |t: Option<jiff::Timestamp>| t.map_or_else(|| "-".to_owned(), |t| t.to_string());
    let id = match options.message_id {
        MessageId::Position => "",
        MessageId::Publisher => " id publisher",
    };
    let order = match options.order {
        // Compatible with checkpoints of earlier versions.
        StreamOrder::Event => String::new(),
        other => format!(" order {other}"),
    };
    format!(
        "datasets {} from {} to {} exchanges {} symbols {} subject {}{order}{id}",
        names.join(","),
        time(options.from),
        time(options.to),
        options.exchanges.join(","),
        options.symbols.join(","),
        options.subject.as_deref().unwrap_or("-")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoint_is_read_back_and_resumes_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("place.json");
        assert_eq!(Checkpoint::read(&path, "a").unwrap(), None);
        let mut place = Checkpoint {
            selection: "a".into(),
            dataset: "trades".into(),
            time_nanos: 5,
            epoch: u64::MAX,
            seq: 7,
            pass: 0,
            shift_secs: -3,
            file_bytes: Some(9),
        };
        place.write(&path).unwrap();
        place.seq = 8;
        place.write(&path).unwrap();
        assert_eq!(Checkpoint::read(&path, "a").unwrap(), Some(place));
        let e = Checkpoint::read(&path, "b").unwrap_err();
        assert_eq!(e.exit_code(), mpsync_core::error::ExitCode::Usage);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        std::fs::write(&path, "{}").unwrap();
        assert!(
            Checkpoint::read(&path, "a")
                .unwrap_err()
                .to_string()
                .contains("start from the beginning")
        );
    }
}
