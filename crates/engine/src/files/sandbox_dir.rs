//! Files below a folder, resolved without following symbolic links.
//!
//! On Linux the kernel resolves the whole path (`openat2` with `RESOLVE_BENEATH` and
//! `RESOLVE_NO_SYMLINKS`). Elsewhere, and where the call is missing or filtered, each component is opened
//! on its own with `O_NOFOLLOW`.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// Opens a regular file for reading. Blocks.
pub(crate) fn open(root: &Path, parts: &[String]) -> io::Result<File> {
    // A pipe or a device must not block.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(beneath(&open_root(root)?, parts, flags)?);
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::other("not a regular file"))
}

/// Creates a file that does not exist yet, and the folders on its path. Blocks.
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

/// A file that gets its name when it is complete. Dropped before, it is deleted.
pub(crate) struct NewFile {
    folder: OwnedFd,
    aside: String,
    name: String,
    pub(crate) file: File,
}

impl NewFile {
    /// Gives it its name; fails if the name exists by now. Blocks.
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
        // Fails if it has its name already.
        let _ = rustix::fs::unlinkat(&self.folder, &self.aside, AtFlags::empty());
    }
}

/// Opens a folder below `root`, and creates it with `make`: no component may be a symbolic link.
pub(crate) fn folder(root: &Path, parts: &[String], make: bool) -> io::Result<OwnedFd> {
    let root = open_root(root)?;
    if parts.is_empty() {
        return Ok(root);
    }
    match beneath(&root, parts, FOLDER) {
        Err(Errno::NOENT) if make => Ok(step_by_step(root, parts, true)?),
        opened => Ok(opened?),
    }
}

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

fn open_root(root: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, root, FOLDER, Mode::empty())?)
}

/// Opens a path below a folder.
#[cfg(target_os = "linux")]
fn beneath(root: &OwnedFd, parts: &[String], flags: OFlags) -> Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags;

    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let opened = rustix::fs::openat2(root, parts.join("/"), flags, Mode::empty(), resolve);
    match opened {
        // Older than Linux 5.6, or filtered by a container.
        Err(Errno::NOSYS | Errno::PERM) => last_step(root, parts, flags),
        opened => opened,
    }
}

#[cfg(not(target_os = "linux"))]
fn beneath(root: &OwnedFd, parts: &[String], flags: OFlags) -> Result<OwnedFd, Errno> {
    last_step(root, parts, flags)
}

/// Opens the folders of a path one after the other, then its last component with `flags`.
fn last_step(root: &OwnedFd, parts: &[String], flags: OFlags) -> Result<OwnedFd, Errno> {
    let (name, folders) = parts.split_last().ok_or(Errno::NOENT)?;
    let root = rustix::fs::openat(root, ".", FOLDER, Mode::empty())?;
    let folder = step_by_step(root, folders, false)?;
    rustix::fs::openat(&folder, name, flags | OFlags::NOFOLLOW, Mode::empty())
}

fn step_by_step(mut folder: OwnedFd, parts: &[String], make: bool) -> Result<OwnedFd, Errno> {
    for part in parts {
        let open = || rustix::fs::openat(&folder, part, FOLDER | OFlags::NOFOLLOW, Mode::empty());
        folder = match open() {
            Err(Errno::NOENT) if make => {
                rustix::fs::mkdirat(&folder, part, Mode::RWXU)?;
                open()?
            }
            opened => opened?,
        };
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_resolution_refuse_links_and_parents() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("a/b")).expect("folders");
        std::fs::write(root.join("a/b/file"), "x").expect("a file");
        std::fs::write(folder.path().join("outside"), "x").expect("a file");
        std::os::unix::fs::symlink(folder.path(), root.join("link")).expect("a link");
        std::os::unix::fs::symlink("b/file", root.join("a/near")).expect("a link");
        let root = open_root(&root).expect("a folder");
        let parts = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
        for (path, is_open) in [
            ("a/b/file", true),
            ("link/outside", false),
            ("a/near", false),
            ("../outside", false),
        ] {
            let parts = parts(path);
            assert_eq!(
                beneath(&root, &parts, OFlags::RDONLY).is_ok(),
                is_open,
                "{path}"
            );
            // `..` never comes here in a location; only `openat2` refuses it.
            if !path.contains("..") {
                assert_eq!(
                    last_step(&root, &parts, OFlags::RDONLY).is_ok(),
                    is_open,
                    "{path}"
                );
            }
        }
    }
}
