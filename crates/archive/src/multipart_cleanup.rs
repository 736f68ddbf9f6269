//! Uploads to a bucket that were broken off between their parts: no listing of objects shows them, and the store keeps them.

use std::time::{Duration, SystemTime};

use hyper::{Method, Request, StatusCode};
use jiff::Timestamp;
use object_store::ClientOptions;
use object_store::aws::AwsAuthorizer;
use object_store::client::{HttpClient, HttpConnector as _, HttpRequestBody};

use super::s3::credential;
use super::s3_http_client::S3HttpClient;
use super::store::Archive;
use crate::{ArchivePlace, S3Config};
use mpsync_core::error::{Error, Result};

/// Pages of a listing that are read at most: of a thousand uploads each.
const PAGES: usize = 100;

/// An upload that was begun and not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedUpload {
    /// The object's path in the archive.
    pub path: String,
    /// Which upload of it.
    pub id: String,
    /// How long ago it was begun.
    pub age: Duration,
}

impl Archive {
    /// The uploads below the archive's root that were begun longer ago than `age`, by the store's clock. None where the archive
    /// is no bucket.
    pub async fn old_uploads(
        &self,
        now: SystemTime,
        age: Duration,
    ) -> Result<Vec<UnfinishedUpload>> {
        let ArchivePlace::S3(s3) = self.place() else {
            return Ok(Vec::new());
        };
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
            let page = ask(&client, s3, Method::GET, "", &query).await?;
            found.extend(uploads(&page, &prefix, now).filter(|u| u.age >= age));
            if text(&page, "IsTruncated") != Some("true".into()) {
                return Ok(found);
            }
            let next = |tag| text(&page, tag).unwrap_or_default();
            marker = vec![
                ("key-marker", next("NextKeyMarker")),
                ("upload-id-marker", next("NextUploadIdMarker")),
            ];
        }
        Ok(found)
    }

    /// Has the store forget an upload; its owner, if it still is there, gets an error at its next part.
    pub async fn abort_upload(&self, upload: &UnfinishedUpload) -> Result<()> {
        let ArchivePlace::S3(s3) = self.place() else {
            return Ok(());
        };
        let query = [("uploadId", upload.id.as_str())];
        let key = format!("{}{}", prefix(s3), upload.path);
        let path = format!("/{}", encoded(&key, true));
        ask(&client(s3)?, s3, Method::DELETE, &path, &query)
            .await
            .map(drop)
    }
}

/// What stands before the path of every object of the archive.
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
        .map_err(|e| super::error_hints::to_error(e, &ArchivePlace::S3(Box::new(s3.clone()))))
}

/// Sends a signed request and gives the document of a good answer; an upload that is gone is as good as aborted.
async fn ask(
    client: &HttpClient,
    s3: &S3Config,
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
    let failed = |what: String| {
        Error::from(std::io::Error::other(what))
            .context(format!("asking {s3} for unfinished uploads"))
    };
    let mut request = Request::builder()
        .method(method.clone())
        .uri(uri)
        .body(HttpRequestBody::empty())
        .map_err(|e| failed(e.to_string()))?;
    let credential = credential(s3)?;
    AwsAuthorizer::new(&credential, "s3", &s3.region)
        .try_authorize(&mut request, None)
        .map_err(|e| failed(e.to_string()))?;
    let answer = client
        .execute(request)
        .await
        .map_err(|e| failed(e.to_string()))?;
    let (head, body) = answer.into_parts();
    let body = body.bytes().await.map_err(|e| failed(e.to_string()))?;
    let document = String::from_utf8_lossy(&body).into_owned();
    let gone = method == Method::DELETE && head.status == StatusCode::NOT_FOUND;
    if head.status.is_success() || gone {
        return Ok(document);
    }
    let said = text(&document, "Message").or_else(|| text(&document, "Code"));
    Err(failed(format!(
        "{} {}",
        head.status,
        said.unwrap_or_default()
    )))
}

/// The uploads of one page.
fn uploads(page: &str, prefix: &str, now: SystemTime) -> impl Iterator<Item = UnfinishedUpload> {
    let blocks = page.split("<Upload>").skip(1);
    blocks.filter_map(move |block| {
        let begun: Timestamp = text(block, "Initiated")?.parse().ok()?;
        Some(UnfinishedUpload {
            path: text(block, "Key")?.strip_prefix(prefix)?.to_owned(),
            id: text(block, "UploadId")?,
            age: now
                .duration_since(SystemTime::from(begun))
                .unwrap_or_default(),
        })
    })
}

/// What stands within the first element of this name.
fn text(document: &str, tag: &str) -> Option<String> {
    let (_, rest) = document.split_once(&format!("<{tag}>"))?;
    let (text, _) = rest.split_once(&format!("</{tag}>"))?;
    // The ampersand last, or what it begins would be read twice.
    let plain = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ];
    Some(
        plain
            .iter()
            .fold(text.to_owned(), |text, (entity, character)| {
                text.replace(entity, character)
            }),
    )
}

/// Percent-encoded, as signatures ask for it; a key keeps its slashes.
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
    fn the_uploads_of_a_page_are_read_with_their_ages() {
        let page = "<?xml version=\"1.0\"?><ListMultipartUploadsResult><IsTruncated>false</IsTruncated>\
            <Upload><Key>a/date=2026-01-01/x &amp; y</Key><UploadId>u1</UploadId><Initiated>2026-01-01T00:00:00.000Z</Initiated></Upload>\
            <Upload><Key>no time</Key><UploadId>u2</UploadId></Upload></ListMultipartUploadsResult>";
        let now: Timestamp = "2026-01-01T02:00:00Z".parse().unwrap();
        let found: Vec<_> = uploads(page, "a/", now.into()).collect();
        assert_eq!(
            found,
            [UnfinishedUpload {
                path: "date=2026-01-01/x & y".into(),
                id: "u1".into(),
                age: Duration::from_hours(2),
            }]
        );
        assert_eq!(text(page, "IsTruncated").as_deref(), Some("false"));
        assert_eq!(encoded("a=1/ü", true), "a%3D1/%C3%BC");
    }
}
