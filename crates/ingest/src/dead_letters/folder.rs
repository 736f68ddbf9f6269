//! Dead letters as files, for where JetStream does not take them: one file a letter, named by its position, so that
//! however often it is written there is one.
//!
//! A file is whole or not there: written beside its name, synced, given its name if that is free, and the folder synced.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::letter::DeadLetter;
use mpsync_core::dataset::{DatasetName, Epoch, Position};
use mpsync_core::error::{Context as _, Error, Result};

/// What a letter's file is called after its id.
const EXTENSION: &str = "json";

/// The folder of dead letters; made when the first one is kept.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetterFolder {
    path: PathBuf,
}

/// A letter's file.
#[derive(Debug, Serialize, Deserialize)]
struct Filed {
    dataset: DatasetName,
    epoch: Epoch,
    sequence: u64,
    stored_at_nanos: i64,
    stream: String,
    subject: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
    reason: String,
    detail: String,
    kept_at: Timestamp,
    /// The original's bytes, where they are text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    /// The original's bytes, where they are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

impl DeadLetterFolder {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, dataset: &DatasetName, position: Position) -> PathBuf {
        self.path.join(format!(
            "{dataset}.{}.{}.{EXTENSION}",
            position.epoch.0, position.seq
        ))
    }

    /// Keeps letters; returns when they are on the disk. One that is there stays as it is.
    pub(crate) async fn store(&self, dead_letters: Vec<DeadLetter>) -> Result<()> {
        let folder = self.clone();
        blocking(move || {
            folder.make()?;
            for dead_letter in &dead_letters {
                let context = || format!("keeping dead letter {} in a file", dead_letter.id());
                let file = folder.written(dead_letter).context(context)?;
                match file
                    .persist_noclobber(folder.file(&dead_letter.dataset, dead_letter.position))
                {
                    Ok(_) => {}
                    Err(e) if e.error.kind() == ErrorKind::AlreadyExists => {}
                    Err(e) => return Err(Error::from(e.error).context(context())),
                }
            }
            folder.sync()
        })
        .await
    }

    /// Writes a letter in place of the one that is there.
    pub(super) async fn replace(&self, dead_letter: DeadLetter) -> Result<()> {
        let folder = self.clone();
        blocking(move || {
            let context = || format!("writing dead letter {} anew", dead_letter.id());
            folder
                .written(&dead_letter)
                .context(context)?
                .persist(folder.file(&dead_letter.dataset, dead_letter.position))
                .map_err(|e| Error::from(e.error).context(context()))?;
            folder.sync()
        })
        .await
    }

    /// Removes a letter. One that is gone is gone.
    pub(super) async fn remove(&self, dead_letter: &DeadLetter) -> Result<()> {
        let (folder, file) = (
            self.clone(),
            self.file(&dead_letter.dataset, dead_letter.position),
        );
        blocking(move || match std::fs::remove_file(&file) {
            Ok(()) => folder.sync(),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(Error::from(e).context(format!("deleting {}", file.display()))),
        })
        .await
    }

    /// Which letters are there, in order. A folder that is not there has none.
    pub(super) async fn list(&self) -> Result<Vec<(DatasetName, Position)>> {
        let folder = self.clone();
        blocking(move || {
            let context = || format!("listing the dead letters in {}", folder.path.display());
            let entries = match std::fs::read_dir(&folder.path) {
                Ok(entries) => entries,
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
                Err(e) => return Err(Error::from(e).context(context())),
            };
            let mut found = Vec::new();
            for entry in entries {
                let name = entry.context(context)?.file_name();
                found.extend(name.to_str().and_then(parse_name));
            }
            found.sort_unstable();
            Ok(found)
        })
        .await
    }

    /// Reads a letter; `None` where it is gone.
    pub(super) async fn read(
        &self,
        dataset: &DatasetName,
        position: Position,
    ) -> Result<Option<DeadLetter>> {
        let file = self.file(dataset, position);
        blocking(move || {
            let context = || format!("reading {}", file.display());
            let text = match std::fs::read(&file) {
                Ok(text) => text,
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(Error::from(e).context(context())),
            };
            let filed: Filed = serde_json::from_slice(&text)
                .map_err(|e| Error::malformed(e.to_string()).context(context()))?;
            filed.dead_letter().context(context).map(Some)
        })
        .await
    }

    fn make(&self) -> Result<()> {
        if self.path.is_dir() {
            return Ok(());
        }
        let context = || format!("making {}", self.path.display());
        std::fs::create_dir_all(&self.path).context(context)?;
        match self.path.parent().filter(|p| !p.as_os_str().is_empty()) {
            Some(parent) => sync_folder(parent).context(context),
            None => Ok(()),
        }
    }

    /// A letter on the disk, under no name that counts yet.
    fn written(&self, dead_letter: &DeadLetter) -> Result<tempfile::NamedTempFile> {
        let mut file = tempfile::Builder::new()
            .prefix(".letter-")
            .tempfile_in(&self.path)?;
        let text = serde_json::to_vec(&Filed::of(dead_letter))
            .map_err(|e| Error::malformed(e.to_string()))?;
        file.write_all(&text)?;
        file.as_file().sync_all()?;
        Ok(file)
    }

    fn sync(&self) -> Result<()> {
        sync_folder(&self.path).context(|| format!("syncing {}", self.path.display()))
    }
}

/// So that a name outlives a loss of power.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()
}

/// `<dataset>.<epoch>.<sequence>.json`; other files are passed over.
fn parse_name(name: &str) -> Option<(DatasetName, Position)> {
    let stem = name.strip_suffix(EXTENSION)?.strip_suffix('.')?;
    let mut parts = stem.split('.');
    let (dataset, epoch, seq) = (parts.next()?, parts.next()?, parts.next()?);
    let position = Position {
        epoch: Epoch(epoch.parse().ok()?),
        seq: seq.parse().ok()?,
    };
    match parts.next() {
        None => Some((dataset.parse().ok()?, position)),
        Some(_) => None,
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::from(std::io::Error::other(e)))?
}

impl Filed {
    fn of(dead_letter: &DeadLetter) -> Self {
        let text = std::str::from_utf8(&dead_letter.body)
            .ok()
            .map(str::to_owned);
        Self {
            dataset: dead_letter.dataset.clone(),
            epoch: dead_letter.position.epoch,
            sequence: dead_letter.position.seq,
            stored_at_nanos: dead_letter.stored_at_nanos,
            stream: dead_letter.stream.clone(),
            subject: dead_letter.subject.clone(),
            message_id: dead_letter.message_id.clone(),
            reason: dead_letter.reason.clone(),
            detail: dead_letter.detail.clone(),
            kept_at: dead_letter.kept_at,
            payload_base64: text.is_none().then(|| STANDARD.encode(&dead_letter.body)),
            payload: text,
        }
    }

    fn dead_letter(self) -> Result<DeadLetter> {
        let body = match (self.payload, self.payload_base64) {
            (Some(text), None) => Bytes::from(text),
            (None, Some(base64)) => STANDARD
                .decode(base64)
                .map_err(|e| Error::malformed(format!("payload_base64: {e}")))?
                .into(),
            _ => {
                return Err(Error::malformed(
                    "it must hold one of payload and payload_base64",
                ));
            }
        };
        Ok(DeadLetter {
            dataset: self.dataset,
            position: Position {
                epoch: self.epoch,
                seq: self.sequence,
            },
            stored_at_nanos: self.stored_at_nanos,
            subject: self.subject,
            stream: self.stream,
            message_id: self.message_id,
            reason: self.reason,
            detail: self.detail,
            kept_at: self.kept_at,
            body,
            sequences: Vec::new(),
            filed: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead_letter(seq: u64, body: &'static [u8]) -> DeadLetter {
        DeadLetter {
            dataset: "trades".parse().unwrap(),
            position: Position {
                epoch: Epoch(7),
                seq,
            },
            stored_at_nanos: 5,
            subject: "trade.x".into(),
            stream: "S".into(),
            message_id: Some("id".into()),
            reason: "not_json".into(),
            detail: "first".into(),
            kept_at: Timestamp::UNIX_EPOCH,
            body: Bytes::from_static(body),
            sequences: Vec::new(),
            filed: true,
        }
    }

    #[tokio::test]
    async fn a_letter_is_kept_once_read_back_as_it_was_and_removed() {
        let parent = tempfile::tempdir().unwrap();
        let folder = DeadLetterFolder::new(parent.path().join("letters"));
        assert!(folder.list().await.unwrap().is_empty());
        let kept = vec![dead_letter(9, b"{\"a\""), dead_letter(10, b"\xff\x00")];
        folder.store(kept.clone()).await.unwrap();
        let mut again = dead_letter(9, b"{\"a\"");
        again.detail = "second".into();
        folder.store(vec![again.clone()]).await.unwrap();
        std::fs::write(folder.path().join("notes.txt"), "a person's").unwrap();
        let names = folder.list().await.unwrap();
        assert_eq!(
            names.iter().map(|(_, p)| p.seq).collect::<Vec<_>>(),
            [9, 10]
        );
        for (name, wanted) in names.iter().zip(&kept) {
            let found = folder.read(&name.0, name.1).await.unwrap().unwrap();
            assert_eq!(format!("{found:?}"), format!("{wanted:?}"));
        }
        folder.replace(again).await.unwrap();
        let found = folder.read(&names[0].0, names[0].1).await.unwrap().unwrap();
        assert_eq!(found.detail, "second");
        folder.remove(&kept[0]).await.unwrap();
        folder.remove(&kept[0]).await.unwrap();
        assert_eq!(folder.list().await.unwrap().len(), 1);
    }

    #[test]
    fn only_a_letter_s_name_is_one() {
        assert!(parse_name("trades.7.9.json").is_some());
        for name in [
            "trades.7.9",
            "trades.7.json",
            "trades.7.9.1.json",
            ".letter-x",
            "T.7.9.json",
            "trades.x.9.json",
        ] {
            assert!(parse_name(name).is_none(), "{name}");
        }
    }
}
