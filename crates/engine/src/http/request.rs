//! The fields of a request: the statement, its parameters and settings, and the form of the answer.

use base64::Engine as _;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};

use crate::exception::Exception;
use crate::http::compression::Encoding;

/// Names in the query string that belong to the interface and are not settings.
const OF_THE_INTERFACE: [&str; 12] = [
    "buffer_size",
    "client_protocol_version",
    "close_session",
    "http_response_buffer_size",
    "quota_key",
    "role",
    "session_check",
    "stacktrace",
    "send_progress_in_http_headers",
    "http_headers_progress_interval_ms",
    "http_write_exception_in_output_format",
    "progress",
];

/// User and password of a request; either may be missing.
#[derive(Default, Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
}

/// The session that a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionWish {
    pub(crate) id: String,
    /// Seconds that it outlives its last request.
    pub(crate) timeout_seconds: u64,
    /// It must exist already.
    pub(crate) must_exist: bool,
    /// It ends with this request.
    pub(crate) close: bool,
}

/// A request, without its body.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of ClickHouse's interface"
)]
pub(crate) struct EngineRequest {
    /// `query` of the query string; the body continues it.
    pub(crate) query: String,
    pub(crate) credentials: Credentials,
    pub(crate) database: Option<String>,
    pub(crate) query_id: Option<String>,
    pub(crate) session: Option<SessionWish>,
    pub(crate) settings: Vec<(String, String)>,
    /// Values of `{name:Type}`, without the prefix `param_`.
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) default_format: Option<String>,
    /// The answer waits for the end of the query, so that the status covers all of it.
    pub(crate) wait_end_of_query: bool,
    /// Only reads are allowed: GET.
    pub(crate) read_only: bool,
    /// The compression of the body: by HTTP's encoding, in ClickHouse's blocks, or both.
    pub(crate) body_encoding: Option<Encoding>,
    pub(crate) body_blocks: bool,
    pub(crate) answer_encoding: Option<Encoding>,
    pub(crate) answer_blocks: bool,
    /// The boundary of a `multipart/form-data` body.
    pub(crate) boundary: Option<String>,
}

impl EngineRequest {
    /// Parses request line and headers.
    pub(crate) fn parse(parts: &Parts) -> Result<Self, Exception> {
        let mut request = Self {
            read_only: parts.method == Method::GET,
            ..Self::default()
        };
        request.read_headers(&parts.headers)?;
        let mut http_compression = true;
        let (mut timeout_seconds, mut check, mut close, mut session) = (60, false, false, None);
        for (name, value) in pairs(parts.uri.query().unwrap_or_default()) {
            match name.as_str() {
                "query" => request.query.push_str(&value),
                "user" => request.credentials.user = Some(value),
                "password" => request.credentials.password = Some(value),
                "database" => request.database = Some(value).filter(|v| !v.is_empty()),
                "query_id" => request.query_id = Some(value).filter(|v| !v.is_empty()),
                "default_format" => request.default_format = Some(value).filter(|v| !v.is_empty()),
                "wait_end_of_query" => request.wait_end_of_query = is_true(&value),
                "compress" => request.answer_blocks = is_true(&value),
                "decompress" => request.body_blocks = is_true(&value),
                "enable_http_compression" => http_compression = is_true(&value),
                "session_id" => session = Some(value).filter(|v| !v.is_empty()),
                "session_timeout" => {
                    timeout_seconds = value
                        .parse()
                        .map_err(|_| Exception::bad_arguments("Invalid session timeout"))?;
                }
                "session_check" => check = is_true(&value),
                "close_session" => close = is_true(&value),
                name if OF_THE_INTERFACE.contains(&name) => {}
                _ => request.accept_field(name, value)?,
            }
        }
        request.session = session.map(|id| SessionWish {
            id,
            timeout_seconds,
            must_exist: check,
            close,
        });
        if !http_compression {
            request.answer_encoding = None;
        }
        Ok(request)
    }

    /// Accepts a parameter or a setting, from the query string or from a form.
    fn accept_field(&mut self, name: String, value: String) -> Result<(), Exception> {
        if let Some(parameter) = name.strip_prefix("param_") {
            self.parameters.push((parameter.to_owned(), value));
            return Ok(());
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(Exception::new(
                115,
                "UNKNOWN_SETTING",
                "Invalid name of a setting in the query string",
            ));
        }
        self.settings.push((name, value));
        Ok(())
    }

    fn read_headers(&mut self, headers: &HeaderMap) -> Result<(), Exception> {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        self.credentials = credentials(headers)?;
        self.database = text("x-clickhouse-database")
            .filter(|v| !v.is_empty())
            .map(str::to_owned);
        self.default_format = text("x-clickhouse-format")
            .filter(|v| !v.is_empty())
            .map(str::to_owned);
        self.answer_encoding = text("accept-encoding").and_then(Encoding::accepted);
        if let Some(name) = text("content-encoding")
            .filter(|n| !n.is_empty() && !n.eq_ignore_ascii_case("identity"))
        {
            let unknown = || {
                Exception::new(
                    48,
                    "NOT_IMPLEMENTED",
                    format!("Unknown compression method: {name}"),
                )
            };
            self.body_encoding = Some(Encoding::named(name).ok_or_else(unknown)?);
        }
        self.boundary = text("content-type").and_then(boundary);
        Ok(())
    }

    /// Accepts the fields of a form: `query`, `param_x` and settings.
    pub(crate) fn accept_form(&mut self, form: Vec<(String, String)>) -> Result<(), Exception> {
        for (name, value) in form {
            match name.as_str() {
                "query" => self.query.push_str(&value),
                "database" => self.database = Some(value).filter(|v| !v.is_empty()),
                "query_id" => self.query_id = Some(value).filter(|v| !v.is_empty()),
                "default_format" => self.default_format = Some(value).filter(|v| !v.is_empty()),
                "user" | "password" => {}
                name if OF_THE_INTERFACE.contains(&name) => {}
                _ => self.accept_field(name, value)?,
            }
        }
        Ok(())
    }
}

fn is_true(value: &str) -> bool {
    value == "1" || value.eq_ignore_ascii_case("true")
}

/// Returns the credentials in headers; those in the query string override them.
fn credentials(headers: &HeaderMap) -> Result<Credentials, Exception> {
    let text = |name: &str| {
        headers
            .get(name)
            .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
    };
    if let Some(authorization) = text("authorization")
        && let Some((scheme, encoded)) = authorization.split_once(' ')
        && scheme.eq_ignore_ascii_case("basic")
    {
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(encoded.trim())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| Exception::bad_arguments("Invalid Authorization header"))?;
        let (user, password) = decoded.split_once(':').unwrap_or((&decoded, ""));
        return Ok(Credentials {
            user: Some(user.to_owned()),
            password: Some(password.to_owned()),
        });
    }
    Ok(Credentials {
        user: text("x-clickhouse-user"),
        password: text("x-clickhouse-key"),
    })
}

fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameters.split(';').find_map(|p| {
        let (name, value) = p.trim().split_once('=')?;
        name.eq_ignore_ascii_case("boundary")
            .then(|| value.trim_matches('"').to_owned())
    })
}

/// Returns the decoded pairs of a query string.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    query.split('&').filter(|p| !p.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or_default());
                at += 3;
            }
            (b'+', ..) => {
                out.push(b' ');
                at += 1;
            }
            (other, ..) => {
                out.push(other);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// Parses the fields of a `multipart/form-data` body. A part with a file is an external table, which is not
/// supported.
pub(crate) fn form(body: &[u8], boundary: &str) -> Result<Vec<(String, String)>, Exception> {
    let malformed = || Exception::bad_arguments("The multipart body is malformed");
    let delimiter = format!("--{boundary}");
    let mut fields = Vec::new();
    let mut rest = body;
    let start = memchr::memmem::find(rest, delimiter.as_bytes()).ok_or_else(malformed)?;
    rest = &rest[start + delimiter.len()..];
    loop {
        if rest.starts_with(b"--") {
            return Ok(fields);
        }
        rest = rest.strip_prefix(b"\r\n").ok_or_else(malformed)?;
        let head_end = memchr::memmem::find(rest, b"\r\n\r\n").ok_or_else(malformed)?;
        let head = String::from_utf8_lossy(&rest[..head_end]).into_owned();
        rest = &rest[head_end + 4..];
        let ending = format!("\r\n{delimiter}");
        let end = memchr::memmem::find(rest, ending.as_bytes()).ok_or_else(malformed)?;
        let value = String::from_utf8(rest[..end].to_vec()).map_err(|_| malformed())?;
        rest = &rest[end + ending.len()..];
        let disposition = head
            .lines()
            .find(|line| {
                line.get(..20)
                    .is_some_and(|n| n.eq_ignore_ascii_case("content-disposition:"))
            })
            .ok_or_else(malformed)?;
        if disposition.contains("filename=") {
            return Err(Exception::new(
                48,
                "NOT_IMPLEMENTED",
                "External tables are not served by the embedded engine",
            ));
        }
        let name = disposition
            .split(';')
            .find_map(|p| p.trim().strip_prefix("name="))
            .ok_or_else(malformed)?;
        fields.push((name.trim_matches('"').to_owned(), value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(uri: &str, headers: &[(&str, &str)]) -> Result<EngineRequest, Exception> {
        let mut builder = hyper::Request::builder().uri(uri).method("POST");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        EngineRequest::parse(&builder.body(()).expect("a request").into_parts().0)
    }

    #[test]
    fn query_string_has_interface_fields_parameters_and_settings() {
        let r = parse("/?query=SELECT+%7Bx:Int8%7D%2B1&param_x=5&max_threads=2&database=d&compress=1&session_id=s", &[])
            .expect("parses");
        assert_eq!(r.query, "SELECT {x:Int8}+1");
        assert_eq!(r.parameters, [("x".to_owned(), "5".to_owned())]);
        assert_eq!(r.settings, [("max_threads".to_owned(), "2".to_owned())]);
        assert_eq!((r.database.as_deref(), r.answer_blocks), (Some("d"), true));
        assert_eq!(r.session.expect("session").timeout_seconds, 60);
        assert_eq!(parse("/?a%27=1", &[]).err().map(|e| e.code), Some(115));
    }

    #[test]
    fn credentials_are_in_headers_or_the_query_string() {
        let r = parse("/", &[("authorization", "Basic dTpwOnE=")])
            .expect("parses")
            .credentials;
        assert_eq!(
            (r.user.as_deref(), r.password.as_deref()),
            (Some("u"), Some("p:q"))
        );
        let r = parse("/?user=a&password=b", &[("x-clickhouse-user", "c")])
            .expect("parses")
            .credentials;
        assert_eq!(
            (r.user.as_deref(), r.password.as_deref()),
            (Some("a"), Some("b"))
        );
    }

    #[test]
    fn form_fields_are_parsed() {
        let body = "--b\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT {x:String}\r\n\
                    --b\r\nContent-Disposition: form-data; name=\"param_x\"\r\n\r\nline\r\nline\r\n--b--\r\n";
        let fields = form(body.as_bytes(), "b").expect("parses");
        assert_eq!(fields[1], ("param_x".to_owned(), "line\r\nline".to_owned()));
        assert!(form(&body.as_bytes()[..60], "b").is_err());
    }
}
