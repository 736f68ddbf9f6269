//! Permissions of files with secrets: tokens, passwords, private keys.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use mpsync_core::error::{Error, Result};

/// Below this folder container runtimes mount secrets, readable for every user of the container.
const CONTAINER_SECRETS: &str = "/run/secrets";

/// The user that a file or folder belongs to, and its permissions.
#[derive(Debug, Clone, Copy)]
struct Access {
    uid: u32,
    mode: u32,
}

impl From<Metadata> for Access {
    fn from(metadata: Metadata) -> Self {
        Self {
            uid: metadata.uid(),
            mode: metadata.mode(),
        }
    }
}

/// Refuses a file with a secret that other users can read or change.
///
/// Permissions of the folders above it count as well: a readable file in a folder that only its owner can enter is not exposed. A
/// file of root may be readable for its group, so that a service user can read it. A missing file is accepted, since reading it
/// reports a better error. Access control lists are not considered.
///
/// # Errors
///
/// If other users can read or change the file. The message has the command that corrects it.
pub fn check_permissions(file: &Path) -> Result<()> {
    let Ok(path) = fs::canonicalize(file) else {
        return Ok(());
    };
    if path.starts_with(CONTAINER_SECRETS) {
        return Ok(());
    }
    let Ok(own) = fs::metadata(&path).map(Access::from) else {
        return Ok(());
    };
    let folders = path.ancestors().skip(1);
    let folders = folders.filter_map(|folder| fs::metadata(folder).ok());
    if !is_exposed(own, folders.map(Access::from)) {
        return Ok(());
    }
    let permitted = permitted_mode(own);
    Err(Error::config(format!(
        "other users can read or change {file} (mode {mode:04o}): run `chmod {permitted:o} {file}`",
        file = file.display(),
        mode = own.mode & 0o7777,
    )))
}

/// Returns the widest permissions of a file with a secret.
fn permitted_mode(file: Access) -> u32 {
    if file.uid == 0 && rustix::process::geteuid().as_raw() != 0 {
        0o640
    } else {
        0o600
    }
}

/// Returns whether other users have permissions of a file, and can enter all folders above it.
fn is_exposed(file: Access, folders: impl Iterator<Item = Access>) -> bool {
    let excess = file.mode & 0o077 & !permitted_mode(file);
    let (mut group, mut others) = (excess & 0o070 != 0, excess & 0o007 != 0);
    for folder in folders {
        others &= folder.mode & 0o001 != 0;
        group &= folder.mode & 0o011 != 0;
    }
    group || others
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn exposed(mode: u32, folders: &[u32]) -> bool {
        let access = |mode: &u32| Access {
            uid: 4_711,
            mode: *mode,
        };
        is_exposed(access(&mode), folders.iter().map(access))
    }

    #[test]
    fn files_that_other_users_can_read_or_change_are_exposed() {
        for mode in [0o644, 0o640, 0o604, 0o620, 0o602, 0o666, 0o444] {
            assert!(exposed(mode, &[0o755, 0o755]), "{mode:o}");
        }
        for mode in [0o600, 0o400, 0o700] {
            assert!(!exposed(mode, &[0o755, 0o755]), "{mode:o}");
        }
        // A folder on the way that others cannot enter.
        assert!(!exposed(0o644, &[0o755, 0o700, 0o755]));
        assert!(!exposed(0o604, &[0o750, 0o755]));
        assert!(exposed(0o640, &[0o750, 0o755]));
    }

    #[test]
    fn the_refusal_has_the_command_that_corrects_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        fs::write(&file, "0123456789abcdef").expect("written");
        let permissions = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
        };
        // The folder is closed to others.
        permissions(folder.path(), 0o700);
        check_permissions(&file).expect("accepted");
        check_permissions(&folder.path().join("missing")).expect("accepted");
        let above = folder.path().ancestors().skip(1);
        let is_open = above
            .filter_map(|folder| fs::metadata(folder).ok())
            .all(|folder| folder.mode() & 0o001 != 0);
        permissions(folder.path(), 0o755);
        permissions(&file, 0o644);
        if is_open {
            let text = check_permissions(&file).expect_err("refused").to_string();
            let command = format!("(mode 0644): run `chmod 600 {}`", file.display());
            assert!(text.contains(&command), "{text}");
        }
        permissions(&file, 0o600);
        check_permissions(&file).expect("accepted");
    }
}
