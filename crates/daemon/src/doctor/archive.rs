//! Checks of the archive.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::SystemTime;

use mpsync_archive::layout::INTERNAL;
use mpsync_archive::{Archive, ArchiveConfig};
use mpsync_core::dataset::DatasetName;

use super::diagnosis::{Finding, Findings, Severity};

/// Free space below which runs soon fail, in bytes.
const FREE_BYTES_MIN: u64 = 10 << 30;
/// The difference of clocks that is worth a warning, in seconds.
const CLOCK_DIFFERENCE_SECONDS: u64 = 2;
/// The maximum number of foreign files that a finding names.
const FOREIGN_MAX: usize = 5;

/// Examines the archive.
pub(crate) async fn examine(config: &ArchiveConfig) -> Vec<Finding> {
    let mut findings = Findings::of("archive");
    let Some(folder) = config.place.folder().map(Path::to_owned) else {
        // Opening a bucket checks the credentials and its conditional writes.
        match Archive::open(config).await {
            Ok(_) => findings.ok("bucket", "it accepts conditional writes"),
            Err(e) => findings.unreachable(&e),
        }
        return findings.into_vec();
    };
    let examined = tokio::task::spawn_blocking(move || {
        examine_folder(&mut findings, &folder);
        findings.into_vec()
    });
    examined.await.unwrap_or_else(|e| {
        let mut findings = Findings::of("archive");
        findings.add(
            Severity::Unreachable,
            "connection",
            format!("the check failed: {e}"),
        );
        findings.into_vec()
    })
}

fn examine_folder(findings: &mut Findings, folder: &Path) {
    match fs::read_dir(folder) {
        Ok(entries) => examine_entries(findings, folder, entries),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return findings.advise(
                Severity::Note,
                "folder",
                format!("{} does not exist", folder.display()),
                "the first transfer creates it; if an archive should be there, check archive.path and its mount",
            );
        }
        Err(e) => {
            return findings.advise(
                Severity::Unreachable,
                "folder",
                format!("cannot read {}: {e}", folder.display()),
                "check the mount, and that the user of mpsync owns the folder",
            );
        }
    }
    examine_writes(findings, folder);
    match rustix::fs::statvfs(folder) {
        Err(e) => findings.add(
            Severity::Note,
            "free space",
            format!("cannot check: {}", io::Error::from(e)),
        ),
        Ok(facts) => {
            let free = facts.f_bavail.saturating_mul(facts.f_frsize);
            if free < FREE_BYTES_MIN {
                findings.advise(
                    Severity::Warning,
                    "free space",
                    format!("only {free} bytes are free"),
                    "free disk space, or move the archive to a larger disk",
                );
            }
            findings.ok("free space", format!("{free} bytes are free"));
        }
    }
}

/// Checks for entries that mpsync does not create.
fn examine_entries(findings: &mut Findings, folder: &Path, entries: fs::ReadDir) {
    let mut foreign = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let is_own = name == INTERNAL || name.parse::<DatasetName>().is_ok();
        if !(is_folder && is_own) {
            foreign.push(name.escape_debug().to_string());
        }
    }
    foreign.sort();
    if !foreign.is_empty() {
        let first = &foreign[..foreign.len().min(FOREIGN_MAX)];
        findings.advise(
            Severity::Warning,
            "foreign files",
            format!("{} has {} entries that are not mpsync's: {}", folder.display(), foreign.len(), first.join(", ")),
            "use a folder of its own for the archive, for example a folder below the root of the mount",
        );
    }
    findings.ok("foreign files", "all entries are mpsync's");
}

/// Writes a temporary file, and compares its time with the clock of this machine.
fn examine_writes(findings: &mut Findings, folder: &Path) {
    let before = SystemTime::now();
    let written = tempfile::Builder::new()
        .prefix(".mpsync-doctor-")
        .tempfile_in(folder)
        .and_then(|file| {
            io::Write::write_all(&mut file.as_file(), b"x")?;
            file.as_file().sync_all()?;
            file.as_file().metadata()?.modified()
        });
    let after = SystemTime::now();
    match written {
        Err(e) => findings.advise(
            Severity::Warning,
            "writable",
            format!("cannot write to {}: {e}", folder.display()),
            "check the mount, the quota, and that the user of mpsync owns the folder",
        ),
        Ok(modified) => {
            findings.ok("writable", "a file can be written");
            let behind = before.duration_since(modified).unwrap_or_default();
            let ahead = modified.duration_since(after).unwrap_or_default();
            let seconds = behind.max(ahead).as_secs();
            if seconds > CLOCK_DIFFERENCE_SECONDS {
                findings.advise(
                    Severity::Warning,
                    "clock",
                    format!("the clock of the file server differs from that of this machine by {seconds} seconds"),
                    "synchronize both clocks with NTP",
                );
            }
            findings.ok("clock", format!("the difference is {seconds} s"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn severity(findings: &[Finding], check: &str) -> Option<Severity> {
        let found = findings.iter().find(|finding| finding.check == check);
        found.map(|finding| finding.severity)
    }

    fn examine(folder: &Path) -> Vec<Finding> {
        let mut findings = Findings::of("archive");
        examine_folder(&mut findings, folder);
        findings.into_vec()
    }

    #[test]
    fn foreign_files_are_found_and_own_folders_are_not() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["trades", "_mpsync"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let found = examine(folder.path());
        assert_eq!(severity(&found, "foreign files"), Some(Severity::Ok));
        assert_eq!(severity(&found, "writable"), Some(Severity::Ok));
        assert_eq!(severity(&found, "clock"), Some(Severity::Ok));
        fs::create_dir(folder.path().join("lost+found")).unwrap();
        fs::write(folder.path().join("orderbooks"), "a file").unwrap();
        let found = examine(folder.path());
        let foreign = found.iter().find(|f| f.check == "foreign files").unwrap();
        assert_eq!(foreign.severity, Severity::Warning);
        assert!(foreign.message.contains("2 entries"), "{foreign}");
        assert!(
            foreign.message.contains("lost+found, orderbooks"),
            "{foreign}"
        );
        // Nothing of the check stays behind.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
    }

    #[test]
    fn a_missing_folder_is_a_note_and_a_file_is_unreachable() {
        let folder = tempfile::tempdir().unwrap();
        let found = examine(&folder.path().join("missing"));
        assert_eq!(severity(&found, "folder"), Some(Severity::Note));
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(
            severity(&examine(&file), "folder"),
            Some(Severity::Unreachable)
        );
    }
}
