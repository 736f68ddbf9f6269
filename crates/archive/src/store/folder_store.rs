//! The objects in a folder. Unlike `object_store`'s own store for folders, which writes here, it follows no link below the
//! folder, reads, lists and removes regular files only, and passes over names that it could not have written.

use std::collections::HashSet;
use std::fmt;
use std::fs::{File, Metadata};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::path::{Path, PathPart};
use object_store::{
    Attributes, CopyOptions, Error, Extensions, GetOptions, GetResult, GetResultPayload,
    ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, RenameOptions, Result,
};

use super::beneath::{self, Foreign, FoundFile, Listing};

/// The store's name in errors.
const STORE: &str = "folder";
/// Foreign names that are reported, each once.
const REPORTED: usize = 1000;

/// The objects in a folder.
#[derive(Debug, Clone)]
pub(crate) struct FolderStore {
    /// Writes: a file under a temporary name, then a link or a rename.
    writer: Arc<LocalFileSystem>,
    root: Arc<FilePath>,
    reported: Arc<Mutex<HashSet<PathBuf>>>,
}

impl FolderStore {
    /// Returns the store of a folder that exists.
    pub(crate) fn new(root: &FilePath, fsync: bool) -> Result<Self> {
        let writer = LocalFileSystem::new_with_prefix(root)?.with_fsync(fsync);
        Ok(Self {
            writer: Arc::new(writer),
            root: root.into(),
            reported: Arc::default(),
        })
    }

    /// Runs blocking work on the folder.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&FilePath) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let root = Arc::clone(&self.root);
        match tokio::task::spawn_blocking(move || work(&root)).await {
            Ok(done) => done,
            Err(e) => Err(generic(e)),
        }
    }

    /// Checks that no folder on the way to an object is a link.
    async fn check_way(&self, location: &Path) -> Result<()> {
        let location = location.clone();
        self.run(move |root| {
            beneath::check_way(root, file_of(&location)).map_err(|e| to_error(e, &location))
        })
        .await
    }

    /// Logs a name that is passed over, once.
    fn report(&self, foreign: &Foreign) {
        let (Foreign::Link(path) | Foreign::NotAFile(path)) = foreign;
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.len() < REPORTED && reported.insert(path.clone()) {
            tracing::warn!(reason = %foreign, "passed over in the archive");
        }
    }

    async fn listing(
        &self,
        prefix: Option<&Path>,
        list: fn(&FilePath, &FilePath) -> std::io::Result<Listing>,
    ) -> Result<Listing> {
        let below = prefix.cloned().unwrap_or_default();
        let listing = self
            .run(move |root| list(root, file_of(&below)).map_err(|e| to_error(e, &below)))
            .await?;
        listing.foreign.iter().for_each(|name| self.report(name));
        Ok(listing)
    }
}

impl fmt::Display for FolderStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.root.display())
    }
}

#[async_trait]
impl ObjectStore for FolderStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.check_way(location).await?;
        self.writer.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.check_way(location).await?;
        self.writer.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let location = location.clone();
        self.run(move |root| {
            let (file, meta) = open(root, &location)?;
            options.check_preconditions(&meta)?;
            let range = match &options.range {
                Some(range) => range.as_range(meta.size).map_err(generic)?,
                None => 0..meta.size,
            };
            Ok(GetResult {
                payload: GetResultPayload::File(file, root.join(file_of(&location))),
                meta,
                range,
                attributes: Attributes::default(),
                extensions: Extensions::default(),
            })
        })
        .await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let (location, ranges) = (location.clone(), ranges.to_vec());
        self.run(move |root| {
            let (file, meta) = open(root, &location)?;
            let read = |range: &Range<u64>| {
                if range.start > range.end || range.end > meta.size {
                    return Err(generic(std::io::Error::new(
                        std::io::ErrorKind::UnexpectedEof,
                        format!("bytes {range:?} of an object of {} bytes", meta.size),
                    )));
                }
                let length = usize::try_from(range.end - range.start).map_err(generic)?;
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, range.start)
                    .map_err(|e| to_error(e, &location))?;
                Ok(Bytes::from(bytes))
            };
            ranges.iter().map(read).collect()
        })
        .await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .and_then(move |location| {
                let store = store.clone();
                async move {
                    let gone = location.clone();
                    store
                        .run(move |root| {
                            beneath::remove_file(root, file_of(&gone))
                                .map_err(|e| to_error(e, &gone))
                        })
                        .await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned());
        let listed = async move {
            let listing = store.listing(prefix.as_ref(), beneath::list_all).await?;
            let objects: Vec<_> = listing.files.iter().filter_map(object_of).collect();
            Ok::<_, Error>(stream::iter(objects.into_iter().map(Ok)))
        };
        stream::once(listed).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let listing = self.listing(prefix, beneath::list_folder).await?;
        let folders = listing.folders.iter();
        let mut common_prefixes: Vec<Path> = folders.filter_map(|path| location_of(path)).collect();
        common_prefixes.sort();
        Ok(ListResult {
            common_prefixes,
            objects: listing.files.iter().filter_map(object_of).collect(),
            extensions: Extensions::default(),
        })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.get_opts(from, GetOptions::default()).await?;
        self.check_way(to).await?;
        self.writer.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.get_opts(from, GetOptions::default()).await?;
        self.check_way(to).await?;
        self.writer.rename_opts(from, to, options).await
    }
}

fn open(root: &FilePath, location: &Path) -> Result<(File, ObjectMeta)> {
    let opened = beneath::open_file(root, file_of(location)).and_then(|file| {
        let metadata = file.metadata()?;
        Ok((file, metadata))
    });
    let (file, metadata) = opened.map_err(|e| to_error(e, location))?;
    let meta = meta_of(location.clone(), &metadata);
    Ok((file, meta))
}

fn meta_of(location: Path, metadata: &Metadata) -> ObjectMeta {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    ObjectMeta {
        location,
        last_modified: modified.into(),
        size: metadata.len(),
        e_tag: Some(e_tag(metadata.ino(), modified, metadata.len())),
        version: None,
    }
}

/// Returns a file of a listing as an object; `None` for a name that this store does not write, temporary files among them.
fn object_of(file: &FoundFile) -> Option<ObjectMeta> {
    Some(ObjectMeta {
        location: location_of(&file.path)?,
        last_modified: file.modified.into(),
        size: file.size,
        e_tag: Some(e_tag(file.inode, file.modified, file.size)),
        version: None,
    })
}

/// Returns the same tag as `object_store` does, after Apache's scheme.
fn e_tag(inode: u64, modified: SystemTime, size: u64) -> String {
    let since = modified.duration_since(SystemTime::UNIX_EPOCH);
    let micros = since.unwrap_or_default().as_micros();
    format!("\"{inode:x}-{micros:x}-{size:x}\"")
}

fn location_of(path: &FilePath) -> Option<Path> {
    let mut parts = Vec::new();
    for name in path {
        let name = name.to_str()?;
        let part = PathPart::from(name);
        if part.as_ref() != name {
            return None;
        }
        parts.push(part);
    }
    Some(parts.into_iter().collect())
}

fn file_of(location: &Path) -> &FilePath {
    FilePath::new(location.as_ref())
}

fn to_error(e: std::io::Error, location: &Path) -> Error {
    match e.kind() {
        std::io::ErrorKind::NotFound => Error::NotFound {
            path: location.to_string(),
            source: e.into(),
        },
        std::io::ErrorKind::PermissionDenied => Error::PermissionDenied {
            path: location.to_string(),
            source: e.into(),
        },
        _ => generic(e),
    }
}

fn generic(e: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Generic {
        store: STORE,
        source: Box::new(e),
    }
}

#[cfg(test)]
mod tests;
