//! `archive.encryption_key` and `archive.decryption_key_files`

use std::path::PathBuf;

use mpsync_archive::{EncryptionKey, EncryptionKeys};
use mpsync_net::Secret;

use crate::reading::section::Section;

/// Reads the encryption keys of the archive.
pub(crate) fn read(s: &mut Section<'_>) -> EncryptionKeys {
    let writing = s.secret("encryption_key").and_then(|secret| {
        let key = EncryptionKey::parse(secret.reveal());
        key.map_err(|text| s.wrong("encryption_key", text)).ok()
    });
    let files: Vec<PathBuf> = s.key("decryption_key_files").paths();
    let decryption = files.iter().filter_map(|file| {
        let read = Secret::from_file(file).map_err(|e| e.to_string());
        let key = read.and_then(|secret| EncryptionKey::parse(secret.reveal()));
        key.map_err(|text| {
            let text = format!("{}: {text}", file.display());
            s.wrong("decryption_key_files", text);
        })
        .ok()
    });
    EncryptionKeys::new(writing, decryption.collect())
}
