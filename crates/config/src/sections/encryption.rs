//! `archive.encryption_…`

use std::path::PathBuf;

use mpsync_archive::{EncryptionKey, EncryptionKeys};
use mpsync_net::Secret;

use super::reader::Section;

/// Reads the keys of the archive.
pub(super) fn read(s: &mut Section<'_>) -> EncryptionKeys {
    let writing = s.secret("encryption_key").and_then(|secret| {
        let key = EncryptionKey::parse(secret.reveal());
        key.map_err(|what| s.wrong("encryption_key", what)).ok()
    });
    let files: Vec<PathBuf> = s.key("encryption_old_key_files").paths();
    let old = files.iter().filter_map(|file| {
        let read = Secret::from_file(file).map_err(|e| e.to_string());
        let key = read.and_then(|secret| EncryptionKey::parse(secret.reveal()));
        key.map_err(|what| {
            let what = format!("{}: {what}", file.display());
            s.wrong("encryption_old_key_files", what);
        })
        .ok()
    });
    EncryptionKeys::new(writing, old.collect())
}
