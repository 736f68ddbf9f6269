//! Chunks encrypted at rest, by Parquet's own modular encryption (`AES_GCM_V1`): every page, index and statistic, and the footer
//! with names and schema, by one key for the file. Pure.
//!
//! Each module is bound to the chunk's place in the archive (its path is the AAD prefix), so that an encrypted chunk that is
//! put in the place of another cannot be read. The prefix is stored in the file for readers other than this one, which
//! never trusts it: it says itself which chunk it means to read.
//!
//! SHA-256 in manifests is over the encrypted bytes; row hashes and column sums are over the values.

use std::sync::Arc;

use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::encryption::decrypt::FileDecryptionProperties;
use parquet::encryption::encrypt::FileEncryptionProperties;

use crate::format::layout::GenerationId;
use crate::format::manifest::Chunk;
use crate::{EncryptionKey, EncryptionKeys};
use mpsync_core::error::{Cause, Error, Result};

/// The last bytes of a Parquet file with an encrypted footer.
const ENCRYPTED: &[u8] = b"PARE";

/// Returns the encryption of a chunk of this name.
pub(crate) fn encryption(
    key: &EncryptionKey,
    id: &GenerationId,
    file: &str,
) -> Result<Arc<FileEncryptionProperties>> {
    let properties = FileEncryptionProperties::builder(key.reveal().to_vec())
        .with_footer_key_metadata(key_metadata(key).into_bytes())
        .with_aad_prefix(place(id, file))
        .with_aad_prefix_storage(true)
        .build()?;
    Ok(properties)
}

/// Returns how a chunk is opened as Parquet; an error that names chunk and key if the key is missing.
pub(crate) fn reader_options(
    keys: &EncryptionKeys,
    id: &GenerationId,
    chunk: &Chunk,
) -> Result<ArrowReaderOptions> {
    let options = ArrowReaderOptions::new();
    let Some(key_id) = &chunk.key_id else {
        return Ok(options);
    };
    let Some(key) = keys.find(key_id) else {
        let have: Vec<String> = keys.all().map(|key| key.id().to_string()).collect();
        let have = match have.as_slice() {
            [] => "no key".to_owned(),
            have => format!("only {}", have.join(", ")),
        };
        return Err(Error::new(Cause::Key(format!(
            "{} of {id} is encrypted with the key {key_id}, and the configuration has {have}",
            chunk.file
        )))
        .with_hint(
            "name the file of that key in archive.decryption_key_files, or in archive.encryption_key_file if new chunks \
             are to be encrypted with it",
        ));
    };
    let properties = FileDecryptionProperties::builder(key.reveal().to_vec())
        .with_aad_prefix(place(id, &chunk.file))
        .build()?;
    Ok(options.with_file_decryption_properties(properties))
}

/// Returns whether these are the bytes of a Parquet file with an encrypted footer.
pub(crate) fn is_encrypted(bytes: &[u8]) -> bool {
    bytes.ends_with(ENCRYPTED)
}

/// Returns the chunk's path below the archive's root.
fn place(id: &GenerationId, file: &str) -> Vec<u8> {
    id.file(file).to_string().into_bytes()
}

/// Returns the key metadata of a file, in the form in which Arrow's and Spark's key tools ask a key service for it: the id stands
/// for a master key, and nothing has to be unwrapped.
fn key_metadata(key: &EncryptionKey) -> String {
    serde_json::json!({
        "keyMaterialType": "PKMT1", "internalStorage": true, "isFooterKey": true, "kmsInstanceID": "DEFAULT",
        "kmsInstanceURL": "DEFAULT", "masterKeyID": key.id().to_string(), "wrappedDEK": "", "doubleWrapping": false,
    })
    .to_string()
}

#[cfg(test)]
mod tests;
