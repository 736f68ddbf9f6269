//! Multipart uploads to a bucket that were interrupted: no listing of objects shows them, and the store keeps their parts.

use std::time::{Duration, SystemTime};

use hyper::{Method, Request, StatusCode};
use jiff::Timestamp;
use object_store::ClientOptions;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpClient, HttpConnector as _, HttpRequestBody};
use serde::Deserialize;

use super::backend::UnfinishedUpload;
use super::config::{ArchivePlace, S3Config};
use super::error_hints::{S3ErrorDocument, to_error};
use super::s3_http_client::S3HttpClient;
use mpsync_core::error::{Error, Result};

/// Pages of a listing that are read at most: of a thousand uploads each.
const PAGES: usize = 100;

/// A page of the answer to `ListMultipartUploads`
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html>).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct UploadsPage {
    is_truncated: bool,
    next_key_marker: String,
    next_upload_id_marker: String,
    #[serde(rename = "Upload")]
    uploads: Vec<ListedUpload>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ListedUpload {
    key: String,
    upload_id: String,
    initiated: String,
}

/// Returns the uploads below the archive's root that were begun longer ago than `age`, by the store's clock.
pub(super) async fn old_uploads(
    s3: &S3Config,
    credential: &AwsCredential,
    now: SystemTime,
    age: Duration,
) -> Result<Vec<UnfinishedUpload>> {
    let client = client(s3)?;
    let prefix = prefix(s3);
    let (mut found, mut marker) = (Vec::new(), Vec::new());
    for _ in 0..PAGES {
        let mut query = vec![("prefix", prefix.as_str()), ("uploads", "")];
        query.extend(
            marker
                .iter()
                .map(|(k, v): &(&str, String)| (*k, v.as_str())),
        );
        let document = send(&client, s3, credential, Method::GET, "", &query).await?;
        let page = parse_page(&document).map_err(|e| failed(s3, &e.to_string()))?;
        found.extend(uploads(&page, &prefix, now).filter(|u| u.age >= age));
        if !page.is_truncated {
            return Ok(found);
        }
        marker = vec![
            ("key-marker", page.next_key_marker),
            ("upload-id-marker", page.next_upload_id_marker),
        ];
    }
    Ok(found)
}

/// Aborts an upload. One that is gone counts as aborted.
pub(super) async fn abort_upload(
    s3: &S3Config,
    credential: &AwsCredential,
    upload: &UnfinishedUpload,
) -> Result<()> {
    let query = [("uploadId", upload.id.as_str())];
    let key = format!("{}{}", prefix(s3), upload.path);
    let path = format!("/{}", encoded(&key, true));
    let client = client(s3)?;
    send(&client, s3, credential, Method::DELETE, &path, &query)
        .await
        .map(drop)
}

/// Returns the prefix of the key of every object of the archive.
fn prefix(s3: &S3Config) -> String {
    match s3.prefix.as_str() {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    }
}

fn client(s3: &S3Config) -> Result<HttpClient> {
    let client = S3HttpClient::new(s3.tls.as_ref(), None)?;
    client
        .connect(&ClientOptions::default())
        .map_err(|e| to_error(e, &ArchivePlace::S3(Box::new(s3.clone()))))
}

/// Sends a signed request and returns the document of a successful answer. An upload that is gone counts as aborted.
async fn send(
    client: &HttpClient,
    s3: &S3Config,
    credential: &AwsCredential,
    method: Method,
    path: &str,
    query: &[(&str, &str)],
) -> Result<String> {
    let base = s3.endpoint.clone().unwrap_or_else(|| {
        let host = format!("s3.{}.amazonaws.com", s3.region);
        if s3.virtual_host {
            format!("https://{}.{host}", s3.bucket)
        } else {
            format!("https://{host}")
        }
    });
    let bucket = if s3.virtual_host {
        String::new()
    } else {
        format!("/{}", s3.bucket)
    };
    let path = match format!("{bucket}{path}") {
        path if path.is_empty() => "/".to_owned(),
        path => path,
    };
    let query: Vec<_> = query
        .iter()
        .map(|(name, value)| format!("{name}={}", encoded(value, false)))
        .collect();
    let uri = format!("{base}{path}?{}", query.join("&"));
    let mut request = Request::builder()
        .method(method.clone())
        .uri(uri)
        .body(HttpRequestBody::empty())
        .map_err(|e| failed(s3, &e.to_string()))?;
    AwsAuthorizer::new(credential, "s3", &s3.region)
        .try_authorize(&mut request, None)
        .map_err(|e| failed(s3, &e.to_string()))?;
    let answer = client
        .execute(request)
        .await
        .map_err(|e| failed(s3, &e.to_string()))?;
    let (head, body) = answer.into_parts();
    let body = body.bytes().await.map_err(|e| failed(s3, &e.to_string()))?;
    let document = String::from_utf8_lossy(&body).into_owned();
    let gone = method == Method::DELETE && head.status == StatusCode::NOT_FOUND;
    if head.status.is_success() || gone {
        return Ok(document);
    }
    let reason = S3ErrorDocument::find(&document).map(|error| error.to_string());
    let reason = reason.unwrap_or_default();
    Err(failed(s3, &format!("{} {reason}", head.status)))
}

fn failed(s3: &S3Config, reason: &str) -> Error {
    Error::from(std::io::Error::other(reason.to_owned()))
        .context(format!("listing unfinished uploads of {s3}"))
}

fn parse_page(document: &str) -> Result<UploadsPage, quick_xml::DeError> {
    quick_xml::de::from_str(document)
}

/// Returns the uploads of one page whose begin is known.
fn uploads(
    page: &UploadsPage,
    prefix: &str,
    now: SystemTime,
) -> impl Iterator<Item = UnfinishedUpload> {
    page.uploads.iter().filter_map(move |upload| {
        let begun: Timestamp = upload.initiated.parse().ok()?;
        Some(UnfinishedUpload {
            path: upload.key.strip_prefix(prefix)?.to_owned(),
            id: upload.upload_id.clone(),
            age: now
                .duration_since(SystemTime::from(begun))
                .unwrap_or_default(),
        })
    })
}

/// Percent-encodes a text as signatures require; a key keeps its slashes.
fn encoded(text: &str, is_path: bool) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            b'/' if is_path => "/".to_owned(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_of_a_page_have_their_ages() {
        let page = "<?xml version=\"1.0\"?><ListMultipartUploadsResult><IsTruncated>false</IsTruncated>\
            <Upload><Key>a/date=2026-01-01/x &amp; y</Key><UploadId>u1</UploadId><Initiated>2026-01-01T00:00:00.000Z</Initiated></Upload>\
            <Upload><Key>no time</Key><UploadId>u2</UploadId></Upload></ListMultipartUploadsResult>";
        let now: Timestamp = "2026-01-01T02:00:00Z".parse().unwrap();
        let page = parse_page(page).unwrap();
        let found: Vec<_> = uploads(&page, "a/", now.into()).collect();
        assert_eq!(
            found,
            [UnfinishedUpload {
                path: "date=2026-01-01/x & y".into(),
                id: "u1".into(),
                age: Duration::from_hours(2),
            }]
        );
        assert!(!page.is_truncated);
        assert_eq!(encoded("a=1/ü", true), "a%3D1/%C3%BC");
    }
}
