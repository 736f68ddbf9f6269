//! An archive that is opened for reading only.

use std::path::PathBuf;

use super::rows::Rows;
use super::selection::Selection;
use crate::check::finding::{Depth, Finding};
use crate::check::verify::verify;
use crate::chunk::keys::EncryptionKeys;
use crate::format::layout::parse_window;
use crate::format::manifest::Manifest;
use crate::store::archive::Archive;
use crate::store::config::{ArchiveConfig, ArchivePlace};
use mpsync_core::dataset::{DatasetName, Window};
use mpsync_core::error::Result;
use object_store::path::Path;

/// An archive that any program can read.
///
/// Only what is committed is seen: a generation exists if its manifest does. Nothing in the archive is changed, so a read-only
/// mount, or a key that may only get and list, will do. The methods run on the caller's tokio runtime, which needs its timer
/// for a bucket. Cheap to clone.
///
/// ```
/// use mpsync_archive::{ArchiveReader, Selection};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mpsync_archive::Result<()> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path();
/// # let archive = mpsync_archive::Archive::open(&mpsync_testkit::archive::small(path)).await?;
/// # mpsync_testkit::archive::generation(&archive, 0, 100).await;
/// let reader = ArchiveReader::open_folder(path).await?;
/// let hour = Selection::new("trades".parse()?).within("2026-01-01T05".parse()?);
/// let mut rows = reader.read(hour);
/// let mut count = 0;
/// while let Some(batch) = rows.next_batch().await? {
///     count += batch.num_rows();
/// }
/// assert_eq!(count, 100);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ArchiveReader {
    archive: Archive,
}

impl ArchiveReader {
    /// Opens an archive in a folder.
    ///
    /// # Errors
    ///
    /// An error if the folder does not exist or cannot be read.
    pub async fn open_folder(path: impl Into<PathBuf>) -> Result<Self> {
        Self::open(ArchivePlace::Folder(path.into()), EncryptionKeys::default()).await
    }

    /// Opens an archive in any place, with the keys for its encrypted chunks.
    ///
    /// ```no_run
    /// use mpsync_archive::{
    ///     ArchivePlace, ArchiveReader, EncryptionKey, EncryptionKeys, S3Config, S3Credentials,
    /// };
    ///
    /// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
    /// let bucket = S3Config {
    ///     bucket: "market-data".into(),
    ///     prefix: "archive".into(),
    ///     endpoint: Some("https://store.example:9000".into()),
    ///     region: "us-east-1".into(),
    ///     virtual_host: false,
    ///     tls: None,
    ///     credentials: S3Credentials::File("/home/me/.aws/credentials".into(), "default".into()),
    /// };
    /// let key = EncryptionKey::parse(&std::fs::read_to_string("archive.key")?)?;
    /// let keys = EncryptionKeys::new(None, vec![key]);
    /// let reader = ArchiveReader::open(ArchivePlace::S3(Box::new(bucket)), keys).await?;
    /// # let _ = reader;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// An error if the folder does not exist or cannot be read. A bucket is not contacted yet.
    pub async fn open(place: ArchivePlace, keys: EncryptionKeys) -> Result<Self> {
        let config = ArchiveConfig {
            encryption: keys,
            ..ArchiveConfig::new(place)
        };
        let archive = Archive::open_read_only(&config).await?;
        Ok(Self { archive })
    }

    /// Returns the datasets that have at least one window, in order of their names.
    ///
    /// ```
    /// # use mpsync_archive::ArchiveReader;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mpsync_archive::Result<()> {
    /// # let folder = tempfile::tempdir()?;
    /// # let archive = mpsync_archive::Archive::open(&mpsync_testkit::archive::small(folder.path())).await?;
    /// # mpsync_testkit::archive::generation(&archive, 0, 100).await;
    /// let reader = ArchiveReader::open_folder(folder.path()).await?;
    /// let datasets = reader.datasets().await?;
    /// assert_eq!(datasets[0].as_str(), "trades");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Errors of the store.
    pub async fn datasets(&self) -> Result<Vec<DatasetName>> {
        let root = self.archive.list_folder(&Path::default()).await?;
        let mut datasets = Vec::new();
        for folder in root.common_prefixes {
            let name: Option<DatasetName> = folder.filename().and_then(|name| name.parse().ok());
            let Some(name) = name else { continue };
            let days = self.archive.list_folder(&folder).await?.common_prefixes;
            let is_day = |day: &Path| day.filename().and_then(|n| parse_window(n, None)).is_some();
            if days.iter().any(is_day) {
                datasets.push(name);
            }
        }
        datasets.sort();
        Ok(datasets)
    }

    /// Returns the windows of a dataset that have a committed generation and touch `range`, in order of time.
    ///
    /// ```
    /// # use mpsync_archive::ArchiveReader;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mpsync_archive::Result<()> {
    /// # let folder = tempfile::tempdir()?;
    /// # let archive = mpsync_archive::Archive::open(&mpsync_testkit::archive::small(folder.path())).await?;
    /// # mpsync_testkit::archive::generation(&archive, 0, 100).await;
    /// let reader = ArchiveReader::open_folder(folder.path()).await?;
    /// let day = "2026-01-01".parse()?;
    /// let windows = reader.windows(&"trades".parse()?, Some(day)).await?;
    /// assert_eq!(windows[0].to_string(), "2026-01-01T05");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Errors of the store.
    pub async fn windows(
        &self,
        dataset: &DatasetName,
        range: Option<Window>,
    ) -> Result<Vec<Window>> {
        self.archive.windows(dataset, range).await
    }

    /// Returns the manifests of a window's committed generations, in order: the first export, then late arrivals.
    ///
    /// ```
    /// # use mpsync_archive::ArchiveReader;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mpsync_archive::Result<()> {
    /// # let folder = tempfile::tempdir()?;
    /// # let archive = mpsync_archive::Archive::open(&mpsync_testkit::archive::small(folder.path())).await?;
    /// # mpsync_testkit::archive::generation(&archive, 0, 100).await;
    /// let reader = ArchiveReader::open_folder(folder.path()).await?;
    /// let generations = reader.generations(&"trades".parse()?, "2026-01-01T05".parse()?).await?;
    /// assert_eq!(generations[0].fingerprint.rows, 100);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// An integrity error if a manifest is damaged, or one is missing before a later one; errors of the store.
    pub async fn generations(
        &self,
        dataset: &DatasetName,
        window: Window,
    ) -> Result<Vec<Manifest>> {
        self.archive.generations(dataset, window).await
    }

    /// Reads the rows of a selection. Nothing is read before the first batch is requested.
    #[must_use]
    pub fn read(&self, selection: Selection) -> Rows {
        Rows::new(self.archive.clone(), selection)
    }

    /// Checks a dataset against its manifests and its journal: all windows, or those that touch `range`. Empty if all that was
    /// looked at is right; see [`Finding`] for what else a check can find.
    ///
    /// ```
    /// use mpsync_archive::{ArchiveReader, Depth};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mpsync_archive::Result<()> {
    /// # let folder = tempfile::tempdir()?;
    /// # let archive = mpsync_archive::Archive::open(&mpsync_testkit::archive::small(folder.path())).await?;
    /// # mpsync_testkit::archive::generation(&archive, 0, 100).await;
    /// let reader = ArchiveReader::open_folder(folder.path()).await?;
    /// let findings = reader.verify(&"trades".parse()?, None, Depth::Deep).await?;
    /// assert!(findings.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Errors of the store in listing windows. An error in a window is a finding.
    pub async fn verify(
        &self,
        dataset: &DatasetName,
        range: Option<Window>,
        depth: Depth,
    ) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for window in self.archive.windows_to_verify(dataset, range).await? {
            findings.extend(verify(&self.archive, dataset, window, depth).await);
        }
        Ok(findings)
    }

    /// Returns the archive itself, for objects and single chunks.
    #[must_use]
    pub fn archive(&self) -> &Archive {
        &self.archive
    }
}

#[cfg(test)]
mod tests;
