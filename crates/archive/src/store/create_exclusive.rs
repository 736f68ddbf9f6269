//! Create-if-absent on a file system without hard links: by `O_EXCL`, unlink and rename alone.
//!
//! A file that is created under its final name and then filled could be left half-written by a crash, and a rename would
//! replace what is there. So a writer (a) writes its whole content to a temporary file of a name that is used once, (b)
//! creates the next *claim*, a numbered empty file, by `O_EXCL`, (c) removes every other temporary file of that object, and
//! (d) if the object is still absent, renames its own into place.
//!
//! Why two never win: a writer's temporary file is there before its claim, and claims are numbered upwards, so the
//! holder of a later claim finds the temporary files of all earlier claimants in (c). An earlier claimant has either renamed
//! before that, and the check in (d) sees the object, or its rename fails because its file is gone. Nothing of it
//! depends on time: the pause before taking over from a claimant that makes no progress only keeps two live writers from
//! undoing each other's work. Claims are removed once the object is there, when the check in (d) alone decides.
//!
//! All names but the object's own end in `#` and digits: `object_store` passes them over in listings.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::RngExt as _;

use crate::store::backend::CreateOutcome;

/// How long a claimant may take before its claim is taken over.
const PATIENCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(10);
/// How often one writer starts over after others took its claim.
const TRIES: u32 = 20;
/// Claims are eight digits and begin so; temporary files have twenty digits, and those of `object_store` few.
const CLAIM_PREFIX: &str = "77";

/// Creates `path` with this content only if it is absent.
pub(crate) fn create_exclusive(
    path: &Path,
    content: &[u8],
    fsync: bool,
) -> io::Result<CreateOutcome> {
    create_exclusive_within(path, content, fsync, PATIENCE)
}

fn create_exclusive_within(
    path: &Path,
    content: &[u8],
    fsync: bool,
    patience: Duration,
) -> io::Result<CreateOutcome> {
    let object = ExclusiveObject::new(path)?;
    create_folders(&object.folder, fsync)?;
    for _ in 0..TRIES {
        if path.try_exists()? {
            return Ok(CreateOutcome::Exists);
        }
        let temporary = object.write_temporary(content, fsync)?;
        let outcome = object.claim_and_rename(&temporary, patience);
        if !matches!(outcome, Ok(Some(CreateOutcome::Yes))) {
            remove_if_there(&temporary)?;
        }
        if let Some(created) = outcome? {
            object.remove_claims()?;
            if fsync {
                File::open(&object.folder)?.sync_all()?;
            }
            return Ok(created);
        }
    }
    Err(io::Error::new(
        ErrorKind::ResourceBusy,
        "other writers keep taking the claim over",
    ))
}

struct ExclusiveObject<'a> {
    path: &'a Path,
    folder: PathBuf,
    /// The object's name and `#`.
    prefix: String,
}

impl<'a> ExclusiveObject<'a> {
    fn new(path: &'a Path) -> io::Result<Self> {
        let name = path.file_name().and_then(|name| name.to_str());
        match (path.parent(), name) {
            (Some(folder), Some(name)) => Ok(Self {
                path,
                folder: folder.to_path_buf(),
                prefix: format!("{name}#"),
            }),
            _ => Err(io::Error::new(
                ErrorKind::InvalidInput,
                "an object's path must end in a name",
            )),
        }
    }

    fn write_temporary(&self, content: &[u8], fsync: bool) -> io::Result<PathBuf> {
        let number = rand::rng().random::<u64>();
        let path = self.folder.join(format!("{}{number:020}", self.prefix));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let written = file
            .write_all(content)
            .and_then(|()| if fsync { file.sync_all() } else { Ok(()) });
        if written.is_err() {
            remove_if_there(&path)?;
        }
        written.map(|()| path)
    }

    /// Claims the object and renames the temporary file into place; `None` if another writer took over and the object is still absent.
    fn claim_and_rename(
        &self,
        temporary: &Path,
        patience: Duration,
    ) -> io::Result<Option<CreateOutcome>> {
        let highest = self.highest_claim()?;
        if highest > 0 && self.appears(highest, patience)? {
            return Ok(Some(CreateOutcome::Exists));
        }
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.claim(highest + 1))
        {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(None),
            Err(e) => return Err(e),
        }
        for other in self.files(20)? {
            if other != temporary {
                remove_if_there(&other)?;
            }
        }
        if self.path.try_exists()? {
            return Ok(Some(CreateOutcome::Exists));
        }
        match std::fs::rename(temporary, self.path) {
            Ok(()) => Ok(Some(CreateOutcome::Yes)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Waits for a claimant to finish; returns whether the object exists then.
    fn appears(&self, claim: u32, patience: Duration) -> io::Result<bool> {
        let started = Instant::now();
        while started.elapsed() < patience {
            if self.path.try_exists()? {
                return Ok(true);
            }
            if self.highest_claim()? != claim {
                break;
            }
            std::thread::sleep(POLL);
        }
        self.path.try_exists()
    }

    fn claim(&self, number: u32) -> PathBuf {
        self.folder
            .join(format!("{}{CLAIM_PREFIX}{number:06}", self.prefix))
    }

    fn highest_claim(&self) -> io::Result<u32> {
        let numbers = self.files(8)?.into_iter().filter_map(|file| {
            let name = file.file_name()?.to_str()?;
            name.strip_prefix(&self.prefix)?
                .strip_prefix(CLAIM_PREFIX)?
                .parse()
                .ok()
        });
        Ok(numbers.max().unwrap_or(0))
    }

    fn remove_claims(&self) -> io::Result<()> {
        self.files(8)?
            .iter()
            .try_for_each(|claim| remove_if_there(claim))
    }

    /// Returns the files beside the object whose number has so many digits.
    fn files(&self, digits: usize) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|n| n.strip_prefix(&self.prefix));
            if number.is_some_and(|n| n.len() == digits && n.bytes().all(|b| b.is_ascii_digit())) {
                found.push(entry.path());
            }
        }
        Ok(found)
    }
}

/// Creates the missing folders, and syncs each one's parent, or the object could be lost with them.
fn create_folders(folder: &Path, fsync: bool) -> io::Result<()> {
    if folder.try_exists()? {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        create_folders(parent, fsync)?;
        match std::fs::create_dir(folder) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        if fsync {
            File::open(parent)?.sync_all()?;
        }
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn of_many_writers_exactly_one_creates_and_nothing_else_is_left() {
        for round in 0..30 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("deep").join("x.json");
            let won: Vec<usize> = std::thread::scope(|scope| {
                let writers: Vec<_> = (0..6)
                    .map(|writer| {
                        let path = &path;
                        // No patience: takeovers happen all the time.
                        scope.spawn(move || {
                            let content = format!("{round} {writer}").repeat(500);
                            let patience = Duration::from_millis(u64::from(round % 3 == 0) * 20);
                            loop {
                                match create_exclusive_within(
                                    path,
                                    content.as_bytes(),
                                    false,
                                    patience,
                                ) {
                                    Ok(CreateOutcome::Yes) => return Some(writer),
                                    Ok(CreateOutcome::Exists) => return None,
                                    Err(e) => assert_eq!(e.kind(), ErrorKind::ResourceBusy),
                                }
                            }
                        })
                    })
                    .collect();
                writers
                    .into_iter()
                    .filter_map(|w| w.join().unwrap())
                    .collect()
            });
            assert_eq!(won.len(), 1, "round {round}: {won:?}");
            assert_eq!(
                std::fs::read_to_string(&path).unwrap(),
                format!("{round} {}", won[0]).repeat(500)
            );
            let left = names(path.parent().unwrap());
            assert!(
                left.iter()
                    .all(|n| n == "x.json" || n.len() == "x.json#".len() + 8),
                "{left:?}"
            );
        }
    }

    #[test]
    fn a_claim_left_by_a_crash_is_taken_over_and_its_file_never_appears() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        let object = ExclusiveObject::new(&path).unwrap();
        // A writer that stopped between its claim and its rename.
        let sleeper = object.write_temporary(b"sleeper", false).unwrap();
        std::fs::write(object.claim(1), b"").unwrap();
        assert_eq!(
            create_exclusive_within(&path, b"second", false, Duration::ZERO).unwrap(),
            CreateOutcome::Yes
        );
        // It wakes up: its file is gone, so its rename fails.
        assert_eq!(
            std::fs::rename(sleeper, &path).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        assert_eq!(
            create_exclusive(&path, b"third", true).unwrap(),
            CreateOutcome::Exists
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(names(folder.path()), ["x.json"]);
    }
}
