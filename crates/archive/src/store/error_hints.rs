//! Errors of a store with hints that say what to do.

use std::error::Error as _;
use std::fmt;
use std::path::Path as FilePath;

use object_store::client::HttpError;
use serde::Deserialize;

use super::beneath;
use super::config::ArchivePlace;
use super::s3_http_client::FeatureMissing;
use mpsync_core::error::{Error, chain};

/// How to deal with a name that mpsync does not write.
const FOREIGN: &str = "mpsync writes folders and regular files only: find out who put it there, and put the original back from a \
                       copy of the archive; to keep a part of the archive on another disk, mount it there";

/// Converts an error of a store, with a hint that says what to do.
pub(crate) fn to_error(e: object_store::Error, place: &ArchivePlace) -> Error {
    match place {
        ArchivePlace::Folder(root) => {
            let io = io_cause(&e);
            if let Some(foreign) = io.and_then(beneath::foreign) {
                return Error::integrity(foreign.to_string()).with_hint(FOREIGN);
            }
            let hint = io.and_then(|io| hint_for(io, Some(root)));
            with_hint(Error::from(e), hint)
        }
        ArchivePlace::S3(s3) => {
            let document = S3ErrorDocument::find(&text_of(&e));
            let lacks_feature = find::<FeatureMissing>(&e).is_some()
                || document.is_some_and(|document| document.code == "NotImplemented");
            let hint = match &e {
                _ if lacks_feature => Some(
                    "the store must support conditional writes (If-None-Match: *): use a newer version of it, or another one"
                        .to_owned(),
                ),
                object_store::Error::PermissionDenied { .. }
                | object_store::Error::Unauthenticated { .. } => Some(format!(
                    "{s3} does not let this key do that: check archive.s3_access_key_id or AWS_ACCESS_KEY_ID and the secret, \
                     the region, the clock of this machine, and the key's permissions in the bucket (get, put, list, delete)"
                )),
                object_store::Error::NotFound { .. } => Some(format!(
                    "check that {s3} has a bucket of that name; mpsync creates none"
                )),
                e => find::<HttpError>(e).map(|_| {
                    format!(
                        "{s3} was not reached: check archive.s3_endpoint, the network, and archive.s3_tls_ca_file if its \
                         certificate is of a private authority"
                    )
                }),
            };
            with_hint(Error::from(plain(&e)), hint)
        }
    }
}

/// Converts an error of the operating system, with a hint that says what to do.
pub(crate) fn io_to_error(e: std::io::Error, root: Option<&FilePath>) -> Error {
    if let Some(foreign) = beneath::foreign(&e) {
        return Error::integrity(foreign.to_string()).with_hint(FOREIGN);
    }
    let hint = hint_for(&e, root);
    with_hint(Error::from(e), hint)
}

fn with_hint(e: Error, hint: Option<String>) -> Error {
    match hint {
        Some(hint) => e.with_hint(hint),
        None => e,
    }
}

/// Returns the same error with its cause, and without the XML that S3 answers with.
fn plain(e: &object_store::Error) -> object_store::Error {
    object_store::Error::Generic {
        store: "S3",
        source: without_xml(&text_of(e)).into(),
    }
}

fn text_of(e: &object_store::Error) -> String {
    e.source().map_or_else(|| e.to_string(), chain)
}

/// The document that S3 answers a failed request with.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct S3ErrorDocument {
    /// The name of the failure.
    #[serde(default)]
    pub(super) code: String,
    /// The same in words.
    #[serde(default)]
    message: String,
}

impl S3ErrorDocument {
    /// Finds the document in an answer, or in an error's text that quotes the answer.
    pub(super) fn find(text: &str) -> Option<Self> {
        let document = &text[text.find("<Error>")?..];
        let end = document.find("</Error>")? + "</Error>".len();
        quick_xml::de::from_str(&document[..end]).ok()
    }
}

impl fmt::Display for S3ErrorDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.as_str(), self.message.as_str()) {
            (text, "") | ("", text) => f.write_str(text),
            (code, message) => write!(f, "{code}: {message}"),
        }
    }
}

/// Replaces an S3 error document in a text by the message in it.
fn without_xml(text: &str) -> String {
    let Some(begin) = text.find("<?xml").or_else(|| text.find("<Error>")) else {
        return text.to_owned();
    };
    let before = &text[..begin];
    match S3ErrorDocument::find(text) {
        Some(document) => format!("{before}{document}"),
        None => before.to_owned(),
    }
}

/// Returns the error of this type among the causes of an error.
fn find<E: std::error::Error + 'static>(e: &object_store::Error) -> Option<&E> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(e);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Returns the operating system's error below a store's.
fn io_cause(e: &object_store::Error) -> Option<&std::io::Error> {
    find(e).map(innermost)
}

/// Unwraps an error of the operating system, which can wrap another without naming it as its source.
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
            "this user has no permission for that at {place}: check the owner and mode of the folder, or set archive.path"
        )),
        ErrorKind::ReadOnlyFilesystem => Some(format!(
            "{place} is mounted read-only: mount it for writing, or set archive.path"
        )),
        ErrorKind::StaleNetworkFileHandle => Some(format!(
            "{place} was remounted or its export changed: mount it again, then run the same command again"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_s3_error_document_is_reduced_to_its_message() {
        let text = "Server returned non-2xx status code: 403 Forbidden: <?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code>\
            <Message>Access Denied.</Message><Resource>/x</Resource></Error>";
        assert_eq!(
            without_xml(text),
            "Server returned non-2xx status code: 403 Forbidden: AccessDenied: Access Denied."
        );
        assert_eq!(without_xml("no document"), "no document");
    }
}
