//! Single messages of a stream by the API that returns headers and payload encoded, so that it returns every message, also
//! one that the client library cannot receive from a subscription.

use std::str::FromStr as _;

use async_nats::header::HeaderName;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::Stream;
use async_nats::{Client, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use mpsync_core::error::{Context as _, Error, Result};

/// The first line of a header block begins with it.
const HEADER_VERSION: &str = "NATS/1.0";

/// A message as the stream stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawMessage {
    pub(crate) seq: u64,
    /// The subject; bytes that are not UTF-8 are replaced by U+FFFD.
    pub(crate) subject: String,
    /// The header block as published; empty if there is none.
    pub(crate) headers: Vec<u8>,
    pub(crate) payload: Bytes,
    /// When the stream stored the message, nanoseconds since 1970.
    pub(crate) stored_at_nanos: i64,
}

#[derive(Serialize)]
struct Request<'a> {
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_by_subj: Option<&'a str>,
}

#[derive(Deserialize)]
struct Response {
    message: Option<Stored>,
    error: Option<async_nats::jetstream::Error>,
}

#[derive(Deserialize)]
struct Stored {
    subject: String,
    seq: u64,
    hdrs: Option<String>,
    data: Option<String>,
    time: Timestamp,
}

impl RawMessage {
    /// Returns the message at a sequence; `None` if the stream does not have it.
    pub(crate) async fn at(client: &Client, stream: &Stream, seq: u64) -> Result<Option<Self>> {
        let request = Request {
            seq,
            next_by_subj: None,
        };
        Self::request(client, stream, &request)
            .await
            .context(|| format!("reading message {seq}"))
    }

    /// Returns the first message at or above a sequence that matches one of these subjects.
    pub(crate) async fn next(
        client: &Client,
        stream: &Stream,
        seq: u64,
        subjects: &[String],
    ) -> Result<Option<Self>> {
        let mut first: Option<Self> = None;
        for subject in subjects {
            let request = Request {
                seq,
                next_by_subj: Some(subject),
            };
            let found = Self::request(client, stream, &request)
                .await
                .context(|| format!("reading the next message of {subject} from {seq} on"))?;
            first = first.into_iter().chain(found).min_by_key(|m| m.seq);
        }
        Ok(first)
    }

    async fn request(
        client: &Client,
        stream: &Stream,
        request: &Request<'_>,
    ) -> Result<Option<Self>> {
        let name = &stream.cached_info().config.name;
        let subject = format!("$JS.API.STREAM.MSG.GET.{name}");
        let body = serde_json::to_vec(request).map_err(|e| Error::malformed(e.to_string()))?;
        let answer = client
            .request(subject, body.into())
            .await
            .map_err(Error::nats)?;
        Self::parse(&answer.payload)
    }

    fn parse(answer: &[u8]) -> Result<Option<Self>> {
        let bad = |text: String| Error::nats(format!("invalid answer of the stream: {text}"));
        let answer: Response = serde_json::from_slice(answer).map_err(|e| bad(e.to_string()))?;
        let message = match (answer.message, answer.error) {
            (Some(message), None) => message,
            (_, Some(e)) if e.error_code() == ErrorCode::NO_MESSAGE_FOUND => return Ok(None),
            (_, Some(e)) => return Err(Error::nats(e)),
            (None, None) => return Err(bad("it has no message".into())),
        };
        let decode = |text: Option<String>| {
            STANDARD
                .decode(text.unwrap_or_default())
                .map_err(|e| bad(e.to_string()))
        };
        Ok(Some(Self {
            seq: message.seq,
            subject: message.subject,
            headers: decode(message.hdrs)?,
            payload: decode(message.data)?.into(),
            stored_at_nanos: i64::try_from(message.time.as_nanosecond())
                .map_err(|_| bad("the message has an invalid time of storage".into()))?,
        }))
    }

    /// Returns the value of a header, if the header block can be read.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let text = std::str::from_utf8(&self.headers).ok()?;
        text.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            (found == name).then(|| value.trim().to_owned())
        })
    }

    /// Returns why the client library closes its connection when it receives the message; `None` if it can receive it.
    ///
    /// The rules are those of the parser of async-nats 0.51 (`connection.rs`, `HMSG` and `MSG`).
    pub(crate) fn client_fault(&self) -> Option<&'static str> {
        if self.subject.contains(char::REPLACEMENT_CHARACTER) {
            return Some("its subject is not UTF-8");
        }
        if self.headers.is_empty() {
            return None;
        }
        if self.subject.contains(char::is_whitespace) {
            return Some("its subject has a blank beside headers");
        }
        header_fault(&self.headers)
    }
}

fn header_fault(headers: &[u8]) -> Option<&'static str> {
    let Ok(text) = std::str::from_utf8(headers) else {
        return Some("its headers are not UTF-8");
    };
    let mut lines = text.lines().peekable();
    let Some(status) = lines.next().and_then(|l| l.strip_prefix(HEADER_VERSION)) else {
        return Some("its headers do not begin with `NATS/1.0`");
    };
    let status = status.trim();
    let status = status.split_once(' ').map_or(status, |(code, _)| code);
    if !status.is_empty() && StatusCode::from_str(status).is_err() {
        return Some("the status of its headers is not a number of three digits");
    }
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let Some((name, _)) = line.split_once(':') else {
            return Some("a header has no colon");
        };
        if HeaderName::from_str(name).is_err() {
            return Some("the name of a header has a blank or another invalid character");
        }
        while lines
            .next_if(|l| l.starts_with(char::is_whitespace))
            .is_some()
        {}
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_faults_are_those_of_the_client_library() {
        let good: [&[u8]; 6] = [
            b"NATS/1.0\r\n\r\n",
            b"NATS/1.0\r\nA:b\r\n\r\n",
            b"NATS/1.0 503\r\n\r\n",
            b"NATS/1.0 100 Idle Heartbeat\r\nA: b\r\n\r\n",
            b"NATS/1.0\r\nA: b\r\n continued without a colon\r\n\r\n",
            "NATS/1.0\r\nA: \u{3000}ü\r\n\r\n".as_bytes(),
        ];
        for headers in good {
            assert_eq!(header_fault(headers), None, "{}", headers.escape_ascii());
        }
        let bad: [&[u8]; 8] = [
            b"NATS/1.0\r\nA: \xff\r\n\r\n",
            b"NATS/1.0\r\nwithout colon\r\n\r\n",
            b"NATS/1.0\r\nA b: c\r\n\r\n",
            b"NATS/1.0\r\nA : c\r\n\r\n",
            b"NATS/1.0 teapot\r\n\r\n",
            b"NATS/2.0\r\n\r\n",
            "NATS/1.0\r\nÄ: c\r\n\r\n".as_bytes(),
            b"\r\n",
        ];
        for headers in bad {
            assert!(
                header_fault(headers).is_some(),
                "{}",
                headers.escape_ascii()
            );
        }
    }

    #[test]
    fn encoded_message_is_parsed_and_a_missing_one_is_none() {
        let answer = br#"{"type":"io.nats.jetstream.api.v1.stream_msg_get_response","message":{"subject":"trade.x","seq":7,
            "hdrs":"TkFUUy8xLjANCk5hdHMtTXNnLUlkOiA5DQoNCg==","data":"e30=","time":"2025-10-09T08:53:20.123456789Z"}}"#;
        let message = RawMessage::parse(answer).unwrap().unwrap();
        assert_eq!((message.seq, message.payload.as_ref()), (7, b"{}".as_ref()));
        assert_eq!(message.stored_at_nanos, 1_760_000_000_123_456_789);
        assert_eq!(message.header("Nats-Msg-Id").as_deref(), Some("9"));
        assert_eq!(message.client_fault(), None);
        let beside_headers = RawMessage {
            subject: "trade.a\u{3000}b".into(),
            ..message.clone()
        };
        assert!(beside_headers.client_fault().is_some());
        let without_headers = RawMessage {
            headers: Vec::new(),
            ..beside_headers
        };
        assert_eq!(without_headers.client_fault(), None);
        let missing =
            br#"{"error":{"code":404,"err_code":10037,"description":"no message found"}}"#;
        assert_eq!(RawMessage::parse(missing).unwrap(), None);
        assert!(RawMessage::parse(b"{}").is_err());
    }
}
