//! Access control: read requests are open unless configured otherwise; write requests require the token.

use std::path::PathBuf;

use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, Method};

use crate::page::routes as page;
use mpsync_config::HttpConfig;
use mpsync_core::error::Result;
use mpsync_net::Secret;
use mpsync_net::access::{is_secret, own_secret};

/// Routes that never require the token: health checks have none, and the description of the API is public. The files of the page
/// are open as well: the page asks the operator for the token.
const OPEN: [&str; 3] = ["/health", "/ready", "/openapi.json"];

/// The requirements for a request.
#[derive(Debug, Clone)]
pub struct Access {
    /// The bearer token.
    pub token: Secret,
    /// The file of the token, for the log and for refusals; `None` if the token is configured itself.
    pub token_file: Option<PathBuf>,
    /// Whether read requests require the token as well.
    pub require_token_for_reads: bool,
    /// The names of the server, in addition to its addresses.
    pub hosts: Vec<String>,
}

impl Access {
    /// Returns the configured access. A token that is not configured is read from its file, which is created if it does not exist.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or created.
    pub fn of(config: &HttpConfig) -> Result<Self> {
        let (token, token_file) = match &config.token {
            Some(token) => (token.clone(), None),
            None => (
                own_secret(&config.token_file)?,
                Some(config.token_file.clone()),
            ),
        };
        Ok(Self {
            token,
            token_file,
            require_token_for_reads: config.require_token_for_reads,
            hosts: config.allow_hosts.clone(),
        })
    }

    /// Returns whether the request is permitted.
    pub(crate) fn allows(&self, method: &Method, path: &str, headers: &HeaderMap) -> bool {
        let is_read = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let is_open = || OPEN.contains(&path) || page::is_asset(path);
        if is_read && (!self.require_token_for_reads || is_open()) {
            return true;
        }
        let header = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
        let Some((scheme, token)) = header.and_then(|header| header.split_once(' ')) else {
            return false;
        };
        scheme.eq_ignore_ascii_case("bearer") && is_secret(&self.token, token.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_open_unless_protected_and_writes_require_the_token() {
        let access = |require_token_for_reads| Access {
            token: Secret::new("right"),
            token_file: None,
            require_token_for_reads,
            hosts: Vec::new(),
        };
        let headers = |value: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(AUTHORIZATION, value.parse().unwrap());
            }
            headers
        };
        let (open, closed) = (access(false), access(true));
        assert!(open.allows(&Method::GET, "/stats", &headers(None)));
        assert!(!closed.allows(&Method::GET, "/stats", &headers(None)));
        for path in ["/health", "/ready", "/openapi.json", "/", "/page.js"] {
            assert!(closed.allows(&Method::GET, path, &headers(None)), "{path}");
            assert!(
                !closed.allows(&Method::POST, path, &headers(None)),
                "{path}"
            );
        }
        for path in ["/metrics", "/health/", "//", "/page.js/x", "/windows"] {
            assert!(!closed.allows(&Method::GET, path, &headers(None)), "{path}");
        }
        assert!(closed.allows(&Method::GET, "/stats", &headers(Some("bearer right"))));
        assert!(open.allows(&Method::POST, "/sync", &headers(Some("Bearer right"))));
        for wrong in [
            None,
            Some("right"),
            Some("Bearer"),
            Some("Bearer "),
            Some("Bearer righ"),
            Some("Bearer right right"),
            Some("Basic right"),
        ] {
            assert!(
                !open.allows(&Method::POST, "/sync", &headers(wrong)),
                "{wrong:?}"
            );
            assert!(
                !open.allows(&Method::DELETE, "/health", &headers(wrong)),
                "{wrong:?}"
            );
        }
    }
}
