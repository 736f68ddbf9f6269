//! Probes what the file system of the archive's folder can do, before anything depends on it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rand::RngExt as _;

use crate::format::layout::INTERNAL;
use crate::store::error_hints::io_to_error;
use mpsync_core::error::{Context as _, Error, Result};

/// An archive's folder and what its file system can do.
#[derive(Debug, Clone)]
pub(crate) struct FolderAbilities {
    /// The folder, without symbolic links.
    pub(crate) root: PathBuf,
    /// Whether a file can be given a second name, which is how `object_store` creates only if absent. Many SMB and FUSE
    /// mounts cannot.
    pub(crate) hard_links: bool,
    /// Whether the file system takes fsync of files and of folders.
    pub(crate) fsync: bool,
}

/// Creates the folder if it is missing, and tries what it can do.
pub(super) fn prepare(root: &Path) -> Result<FolderAbilities> {
    let to_error =
        |e| io_to_error(e, Some(root)).context(format!("opening the archive {}", root.display()));
    if root.exists() && !root.is_dir() {
        return Err(not_a_folder(root));
    }
    // The internal folder is created here, so that probing needs no place of its own.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(root.join(INTERNAL))
        .map_err(to_error)?;
    let root = root.canonicalize().map_err(to_error)?;
    let probe = TrialFile::new(&root)?;
    let abilities = FolderAbilities {
        fsync: probe.fsync()?,
        hard_links: probe.hard_links()?,
        root: root.clone(),
    };
    if !abilities.fsync {
        tracing::warn!(
            path = %root.display(),
            "the archive's file system refuses fsync: after a power cut the newest files may be missing or empty; \
             `mpsync verify` finds them"
        );
    }
    if !abilities.hard_links {
        probe.exclusive_create()?;
        tracing::info!(
            path = %root.display(),
            "the archive's file system has no hard links: objects are created by O_EXCL claims"
        );
    }
    Ok(abilities)
}

/// Returns the folder of an existing archive, to be only read.
pub(super) fn existing(root: &Path) -> Result<FolderAbilities> {
    let context = || format!("opening the archive {}", root.display());
    match std::fs::metadata(root) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => return Err(not_a_folder(root)),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Err(
                Error::config(format!("there is no archive at {}", root.display()))
                    .with_hint("set archive.path, mount it, or export something first"),
            );
        }
        Err(e) => return Err(io_to_error(e, Some(root)).context(context())),
    }
    Ok(FolderAbilities {
        root: root
            .canonicalize()
            .map_err(|e| io_to_error(e, Some(root)))
            .context(context)?,
        hard_links: true,
        fsync: true,
    })
}

fn not_a_folder(root: &Path) -> Error {
    Error::config(format!(
        "archive.path: {} is a file, not a folder",
        root.display()
    ))
}

/// A file that exists during the trial; dropping it removes it.
struct TrialFile<'a> {
    root: &'a Path,
    path: PathBuf,
}

impl<'a> TrialFile<'a> {
    fn new(root: &'a Path) -> Result<Self> {
        let path = trial_name(root);
        let probe = Self { root, path };
        let mut file = probe.open().map_err(|e| probe.to_error(e))?;
        file.write_all(b"probe").map_err(|e| probe.to_error(e))?;
        Ok(probe)
    }

    fn open(&self) -> std::io::Result<File> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.path)
    }

    fn to_error(&self, e: std::io::Error) -> Error {
        io_to_error(e, Some(self.root))
            .context(format!("writing to the archive {}", self.root.display()))
    }

    fn fsync(&self) -> Result<bool> {
        let file = File::open(&self.path).map_err(|e| self.to_error(e))?;
        let folder = File::open(self.root).map_err(|e| self.to_error(e))?;
        match file.sync_all().and_then(|()| folder.sync_all()) {
            Ok(()) => Ok(true),
            Err(e) if is_refusal(&e) => Ok(false),
            Err(e) => Err(self.to_error(e)),
        }
    }

    fn hard_links(&self) -> Result<bool> {
        let second = trial_name(self.root);
        let linked = std::fs::hard_link(&self.path, &second);
        // A mount that lets a second link replace the first cannot create by links.
        let again = linked
            .is_ok()
            .then(|| std::fs::hard_link(&self.path, &second));
        match (linked, again) {
            (Ok(()), again) => {
                std::fs::remove_file(&second).map_err(|e| self.to_error(e))?;
                Ok(matches!(again, Some(Err(e)) if e.kind() == ErrorKind::AlreadyExists))
            }
            (Err(e), _) if is_refusal(&e) => Ok(false),
            (Err(e), _) => Err(self.to_error(e)),
        }
    }

    fn exclusive_create(&self) -> Result<()> {
        match self.open() {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(e) => Err(self.to_error(e)),
            Ok(_) => Err(Error::config(format!(
                "the file system at {} creates a file that exists already: two writers could not find out which of them was first",
                self.root.display()
            ))
            .with_hint("put the archive on another mount, or set archive.path")),
        }
    }
}

/// Returns a new name of a temporary file, which no listing shows and `gc` sweeps: `#` and digits at its end.
fn trial_name(root: &Path) -> PathBuf {
    let number = rand::rng().random::<u64>();
    root.join(INTERNAL).join(format!("probe#{number}"))
}

impl Drop for TrialFile<'_> {
    fn drop(&mut self) {
        // A remainder is swept like any other temporary file.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Returns whether the file system does not support an operation, rather than having failed at it.
fn is_refusal(e: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let Some(code) = e.raw_os_error() else {
        return e.kind() == ErrorKind::Unsupported;
    };
    [
        Errno::INVAL,
        Errno::NOSYS,
        Errno::OPNOTSUPP,
        Errno::NOTSUP,
        Errno::PERM,
        Errno::MLINK,
        Errno::NOTTY,
    ]
    .iter()
    .any(|errno| errno.raw_os_error() == code)
}
