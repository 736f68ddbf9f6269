//! A store's errors in words that say what to do.

use std::error::Error as _;
use std::path::Path as FilePath;

use crate::ArchivePlace;
use mpsync_core::error::{Error, chain};

/// Puts an error of a store into words that say what to do.
pub(super) fn to_error(e: object_store::Error, place: &ArchivePlace) -> Error {
    match place {
        ArchivePlace::Folder(root) => {
            let hint = io_cause(&e).and_then(|io| hint_for(io, Some(root)));
            with_hint(Error::from(e), hint)
        }
        ArchivePlace::S3(s3) => {
            let hint = match &e {
                object_store::Error::PermissionDenied { .. }
                | object_store::Error::Unauthenticated { .. } => Some(format!(
                    "{s3} does not let this key do that: check archive.s3_access_key_id or AWS_ACCESS_KEY_ID and the secret, \
                     the region, the clock of this machine, and what the key may do in the bucket (get, put, list, delete)"
                )),
                object_store::Error::NotFound { .. } => Some(format!(
                    "is there a bucket of that name in {s3}? mpsync makes none"
                )),
                e => chain(e).contains("HTTP error").then(|| {
                    format!(
                        "{s3} was not reached: check archive.s3_endpoint, the network, and archive.s3_tls_ca_file where its \
                         certificate is of an authority of your own"
                    )
                }),
            };
            with_hint(Error::from(plain(&e)), hint)
        }
    }
}

/// Puts an error of the operating system into words that say what to do.
pub(super) fn io_to_error(e: std::io::Error, root: Option<&FilePath>) -> Error {
    let hint = hint_for(&e, root);
    with_hint(Error::from(e), hint)
}

fn with_hint(e: Error, hint: Option<String>) -> Error {
    match hint {
        Some(hint) => e.with_hint(hint),
        None => e,
    }
}

/// The same error, its text without the XML that S3 answers with, and with what caused it.
fn plain(e: &object_store::Error) -> object_store::Error {
    let text = without_xml(&e.source().map_or_else(|| e.to_string(), chain));
    object_store::Error::Generic {
        store: "S3",
        source: text.into(),
    }
}

/// What an S3 error document says, in the place of the document.
fn without_xml(text: &str) -> String {
    let Some(begin) = text.find("<?xml").or_else(|| text.find("<Error>")) else {
        return text.to_owned();
    };
    let within = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        Some(rest.split_once('<')?.0)
    };
    let said: Vec<_> = [within("Code"), within("Message")]
        .into_iter()
        .flatten()
        .collect();
    format!("{}{}", &text[..begin], said.join(": "))
}

/// The operating system's error below a store's.
fn io_cause(e: &object_store::Error) -> Option<&std::io::Error> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(e);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Some(innermost(io));
        }
        next = error.source();
    }
    None
}

/// An error of the operating system can wrap another without naming it as its source.
fn innermost(io: &std::io::Error) -> &std::io::Error {
    io.get_ref()
        .and_then(|inner| inner.downcast_ref::<std::io::Error>())
        .map_or(io, innermost)
}

fn hint_for(e: &std::io::Error, root: Option<&FilePath>) -> Option<String> {
    use std::io::ErrorKind;
    let place = root.map_or_else(|| "the store".to_owned(), |root| root.display().to_string());
    match e.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some(format!(
            "the archive's disk is full: free space at {place}; nothing was lost, run the same command again"
        )),
        ErrorKind::PermissionDenied => Some(format!(
            "this user may not do that at {place}: check the owner and mode of the folder, or set archive.path"
        )),
        ErrorKind::ReadOnlyFilesystem => Some(format!(
            "{place} is mounted read-only: mount it for writing, or set archive.path"
        )),
        ErrorKind::StaleNetworkFileHandle => Some(format!(
            "{place} was mounted anew or its export changed: mount it again, then run the same command again"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_s3_says_is_told_without_its_xml() {
        let text = "Server returned non-2xx status code: 403 Forbidden: <?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code>\
            <Message>Access Denied.</Message><Resource>/x</Resource></Error>";
        assert_eq!(
            without_xml(text),
            "Server returned non-2xx status code: 403 Forbidden: AccessDenied: Access Denied."
        );
        assert_eq!(without_xml("no document"), "no document");
    }
}
