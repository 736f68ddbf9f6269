//! Files below a folder, reached one component after the other and through no symbolic link.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};

/// Opens a file to be read. Blocks.
pub(crate) fn open(root: &Path, parts: &[String]) -> io::Result<File> {
    let (name, folders) = parts.split_last().ok_or(io::ErrorKind::NotFound)?;
    let folder = folder(root, folders, false)?;
    // A pipe or a device must not hold anyone up.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(&folder, name, flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::other("not a file"))
}

/// Begins a file that does not exist, and makes the folders on the way. Blocks.
pub(crate) fn create(root: &Path, parts: &[String]) -> io::Result<NewFile> {
    let (name, folders) = parts.split_last().ok_or(io::ErrorKind::NotFound)?;
    let folder = folder(root, folders, true)?;
    let aside = format!(".{:032x}.part", rand::random::<u128>());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&folder, &aside, flags, Mode::RUSR | Mode::WUSR)?;
    Ok(NewFile {
        folder,
        aside,
        name: name.clone(),
        file: File::from(file),
    })
}

/// A file that gets its name when it is whole. Dropped before, it is gone.
pub(crate) struct NewFile {
    folder: OwnedFd,
    aside: String,
    name: String,
    pub(crate) file: File,
}

impl NewFile {
    /// Gives it its name; fails where that is taken by now. Blocks.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.file.sync_all()?;
        Ok(rustix::fs::renameat_with(
            &self.folder,
            &self.aside,
            &self.folder,
            &self.name,
            RenameFlags::NOREPLACE,
        )?)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // Not there any more once it has its name.
        let _ = rustix::fs::unlinkat(&self.folder, &self.aside, AtFlags::empty());
    }
}

/// Opens a folder below `root`, one component after the other: none may be a symbolic link.
pub(crate) fn folder(root: &Path, parts: &[String], make: bool) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut folder = rustix::fs::openat(CWD, root, flags, Mode::empty())?;
    for part in parts {
        let open = || rustix::fs::openat(&folder, part, flags | OFlags::NOFOLLOW, Mode::empty());
        folder = match open() {
            Err(rustix::io::Errno::NOENT) if make => {
                rustix::fs::mkdirat(&folder, part, Mode::RWXU)?;
                open()?
            }
            opened => opened?,
        };
    }
    Ok(folder)
}
