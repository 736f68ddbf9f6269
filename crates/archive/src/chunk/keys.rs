//! The keys with which chunks are encrypted. A key is never displayed; its id is not secret.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The identifier of a key, from which the key cannot be derived: the first 64 bits of a SHA-256 over it, in hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(String);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An AES key of 128 or 256 bits.
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptionKey {
    id: KeyId,
    bytes: Vec<u8>,
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionKey({})", self.id)
    }
}

impl EncryptionKey {
    /// Parses a key in hex or base64.
    ///
    /// # Errors
    ///
    /// The reason why the text is not a key, without the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bytes = bytes_of(text.trim()).ok_or("it is neither hex nor base64")?;
        match bytes.len() {
            16 | 32 => Ok(Self {
                id: KeyId(id_of(&bytes)),
                bytes,
            }),
            24 => Err("a key of 192 bits is not supported: make one of 128 or 256 bits".into()),
            n => Err(format!(
                "it has {} bits; a key has 128 or 256: `openssl rand -hex 32` makes one",
                n * 8
            )),
        }
    }

    /// Returns its id.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// Returns the key itself, for the one place that encrypts and decrypts.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.bytes
    }
}

/// Decodes hex if the text can be hex, else base64 of either alphabet, padded or not.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let is_hex = text.len().is_multiple_of(2) && text.bytes().all(|b| b.is_ascii_hexdigit());
    if is_hex {
        let digits = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
        return (0..text.len()).step_by(2).map(digits).collect();
    }
    let text = text
        .trim_end_matches('=')
        .replace('-', "+")
        .replace('_', "/");
    STANDARD_NO_PAD.decode(text).ok()
}

fn id_of(key: &[u8]) -> String {
    let hash = Sha256::new()
        .chain_update(b"mpsync key id\0")
        .chain_update(key)
        .finalize();
    let first = hash.iter().take(8);
    let first = first.fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    format!("{first:016x}")
}

/// The keys of an archive.
#[derive(Debug, Clone, Default)]
pub struct EncryptionKeys {
    writing: Option<EncryptionKey>,
    old: Vec<EncryptionKey>,
}

impl EncryptionKeys {
    /// Returns the keys of an archive: one that new chunks are encrypted with, if they are, and older ones for reading.
    #[must_use]
    pub fn new(writing: Option<EncryptionKey>, old: Vec<EncryptionKey>) -> Self {
        Self { writing, old }
    }

    /// Returns the key that new chunks are encrypted with; `None` if they are not.
    #[must_use]
    pub fn writing(&self) -> Option<&EncryptionKey> {
        self.writing.as_ref()
    }

    /// Returns the key of this id.
    #[must_use]
    pub fn find(&self, id: &KeyId) -> Option<&EncryptionKey> {
        self.all().find(|key| key.id == *id)
    }

    /// Returns all keys.
    pub fn all(&self) -> impl Iterator<Item = &EncryptionKey> {
        self.writing.iter().chain(&self.old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_from_hex_and_base64_and_is_never_shown() {
        let hex = EncryptionKey::parse("000102030405060708090a0b0c0d0e0f\n").unwrap();
        let base64 = EncryptionKey::parse("AAECAwQFBgcICQoLDA0ODw==").unwrap();
        assert_eq!(hex, base64);
        assert_eq!(hex.id().to_string().len(), 16);
        assert!(!format!("{hex:?}").contains("0b0c"));
        let long = EncryptionKey::parse(&"_-".repeat(20)).map(|key| key.reveal().len());
        assert_eq!(
            long,
            Err("it has 240 bits; a key has 128 or 256: `openssl rand -hex 32` makes one".into())
        );
        assert_eq!(
            EncryptionKey::parse(&"ab".repeat(32))
                .unwrap()
                .reveal()
                .len(),
            32
        );
        for (text, message) in [
            ("", "0 bits"),
            ("not a key at all!", "neither hex nor base64"),
            (&"ab".repeat(24), "192 bits is not supported"),
            ("abcdef", "24 bits"),
        ] {
            let e = EncryptionKey::parse(text).unwrap_err();
            assert!(e.contains(message), "{text}: {e}");
            assert!(text.is_empty() || !e.contains(text), "{e}");
        }
    }

    #[test]
    fn a_key_is_found_by_its_id_whether_new_or_old() {
        let key = |digit: &str| EncryptionKey::parse(&digit.repeat(32)).unwrap();
        let keys = EncryptionKeys::new(Some(key("a")), vec![key("b")]);
        assert_eq!(keys.find(key("b").id()), Some(&key("b")));
        assert_eq!(keys.find(key("c").id()), None);
        assert_ne!(key("a").id(), key("b").id());
    }
}
