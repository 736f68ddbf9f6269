//! Files below a folder, of which no name may lead out of it: each folder on the way is opened by itself, relative to the one
//! before and without following a link, so that a link that is put in its place at any moment is an error and nothing else.
//!
//! `openat2` with `RESOLVE_NO_SYMLINKS` does the same in one call, on Linux 5.6 and later; this way works on every kernel and
//! file system, and an archive's paths are six names long.

use std::ffi::CStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, statat, unlinkat};
use rustix::io::Errno;

/// A name in the archive that is not what mpsync writes: the archive may be written by others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// A symbolic link. It is never followed.
    Link(PathBuf),
    /// A pipe, a device, a socket or a folder in the place of a file.
    NotAFile(PathBuf),
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(path) => write!(
                f,
                "{:?} is a symbolic link, and no link is followed below the archive",
                path.display().to_string()
            ),
            Self::NotAFile(path) => {
                write!(f, "{:?} is not a regular file", path.display().to_string())
            }
        }
    }
}

impl std::error::Error for Foreign {}

impl From<Foreign> for io::Error {
    fn from(e: Foreign) -> Self {
        Self::new(io::ErrorKind::InvalidData, e)
    }
}

/// A regular file in a listing.
#[derive(Debug)]
pub(crate) struct FoundFile {
    /// Its path below the root.
    pub(crate) path: PathBuf,
    /// Its bytes.
    pub(crate) size: u64,
    /// The time of its last change.
    pub(crate) modified: SystemTime,
    /// Its inode.
    pub(crate) inode: u64,
}

/// The names in one folder.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Regular files.
    pub(crate) files: Vec<FoundFile>,
    /// Folders, by their paths below the root.
    pub(crate) folders: Vec<PathBuf>,
    /// Everything else.
    pub(crate) foreign: Vec<Foreign>,
}

/// Opens the folder of this path below a root.
pub(crate) fn open_folder(root: &Path, below: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // The root itself is the operator's choice, links in it included.
    let mut folder = openat(rustix::fs::CWD, root, flags, Mode::empty())?;
    let mut seen = PathBuf::new();
    for name in below {
        seen.push(name);
        folder = match openat(&folder, name, flags | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(next) => next,
            Err(Errno::NOTDIR | Errno::LOOP) if is_link(folder.as_fd(), Path::new(name)) => {
                return Err(Foreign::Link(seen).into());
            }
            Err(e) => return Err(e.into()),
        };
    }
    Ok(folder)
}

/// Opens a regular file for reading. Never waits for the other end of a pipe.
pub(crate) fn open_file(root: &Path, file: &Path) -> io::Result<File> {
    let (folder, name) = split(file)?;
    let folder = open_folder(root, folder)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match openat(&folder, name, flags, Mode::empty()) {
        Ok(opened) => {
            let opened = File::from(opened);
            if opened.metadata()?.is_file() {
                Ok(opened)
            } else {
                Err(Foreign::NotAFile(file.to_owned()).into())
            }
        }
        Err(Errno::LOOP) => Err(Foreign::Link(file.to_owned()).into()),
        // A socket.
        Err(Errno::NXIO) => Err(Foreign::NotAFile(file.to_owned()).into()),
        Err(e) => Err(e.into()),
    }
}

/// Removes a regular file.
pub(crate) fn remove_file(root: &Path, file: &Path) -> io::Result<()> {
    let (folder, name) = split(file)?;
    let folder = open_folder(root, folder)?;
    let stat = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(unlinkat(&folder, name, AtFlags::empty())?),
        FileType::Symlink => Err(Foreign::Link(file.to_owned()).into()),
        _ => Err(Foreign::NotAFile(file.to_owned()).into()),
    }
}

/// Returns an error if a folder on the way to a file is a link. Folders that do not exist yet are none.
pub(crate) fn check_way(root: &Path, file: &Path) -> io::Result<()> {
    let (folder, _) = split(file)?;
    match open_folder(root, folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Lists the folder of this path below a root. A folder that does not exist is empty.
pub(crate) fn list_folder(root: &Path, below: &Path) -> io::Result<Listing> {
    let folder = match open_folder(root, below) {
        Ok(folder) => folder,
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Listing::default());
        }
        Err(e) => return Err(e),
    };
    let mut listing = Listing::default();
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        let path = below.join(name_of(entry.file_name()));
        if entry.file_type() == FileType::Directory {
            listing.folders.push(path);
            continue;
        }
        let stat = match statat(&folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // It was removed in the meantime.
            Err(Errno::NOENT) => continue,
            Err(e) => return Err(e.into()),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => listing.files.push(found(path, &stat)),
            FileType::Directory => listing.folders.push(path),
            FileType::Symlink => listing.foreign.push(Foreign::Link(path)),
            _ => listing.foreign.push(Foreign::NotAFile(path)),
        }
    }
    Ok(listing)
}

/// Lists everything below the folder of this path.
pub(crate) fn list_all(root: &Path, below: &Path) -> io::Result<Listing> {
    let mut all = Listing::default();
    let mut folders = vec![below.to_owned()];
    while let Some(folder) = folders.pop() {
        let listed = match list_folder(root, &folder) {
            // A folder became a link in the meantime.
            Err(e) if folder != below => match foreign(&e) {
                Some(link) => {
                    all.foreign.push(link.clone());
                    continue;
                }
                None => return Err(e),
            },
            listed => listed?,
        };
        all.files.extend(listed.files);
        all.foreign.extend(listed.foreign);
        folders.extend(listed.folders);
    }
    Ok(all)
}

/// Returns the foreign name that an error is about.
pub(crate) fn foreign(e: &io::Error) -> Option<&Foreign> {
    e.get_ref().and_then(|inner| inner.downcast_ref())
}

fn found(path: PathBuf, stat: &Stat) -> FoundFile {
    // The types of these fields differ between systems.
    let number = |field: i128| u64::try_from(field).unwrap_or(0);
    let seconds = Duration::from_secs(number(stat.st_mtime.into()));
    let nanos = Duration::from_nanos(number(stat.st_mtime_nsec.into()));
    FoundFile {
        path,
        size: number(stat.st_size.into()),
        modified: SystemTime::UNIX_EPOCH + seconds + nanos,
        inode: stat.st_ino,
    }
}

fn is_link(folder: BorrowedFd<'_>, name: &Path) -> bool {
    statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

fn split(file: &Path) -> io::Result<(&Path, &Path)> {
    match (file.parent(), file.file_name()) {
        (Some(folder), Some(name)) => Ok((folder, Path::new(name))),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn name_of(name: &CStr) -> &Path {
    use std::os::unix::ffi::OsStrExt as _;
    Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()))
}
