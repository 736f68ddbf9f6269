//! Who may ask for what: anyone may look, unless the configuration says otherwise; only the token changes something.

use std::path::PathBuf;

use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, Method};

use super::page;
use mpsync_config::HttpConfig;
use mpsync_core::error::Result;
use mpsync_net::Secret;
use mpsync_net::access::{is_secret, own_secret};

/// Routes that anyone may look at whatever is protected: health checks have no token, and what may be asked is no secret. The files
/// of the page are open too: it has to be there to ask for the token.
const OPEN: [&str; 3] = ["/health", "/ready", "/openapi.json"];

/// What a request must present.
#[derive(Debug, Clone)]
pub struct Access {
    /// The bearer token.
    pub token: Secret,
    /// Where it lies, for the log and for refusals; `None` where it came from the environment or the configuration.
    pub token_file: Option<PathBuf>,
    /// Whether looking needs it too.
    pub protect_reads: bool,
    /// Names by which the server is reached, beside its addresses.
    pub hosts: Vec<String>,
}

impl Access {
    /// As configured; a token that is not said is read from its file, which is made where it is not there.
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
            protect_reads: config.protect_reads,
            hosts: config.allow_hosts.clone(),
        })
    }

    /// Whether this request may go on.
    pub(super) fn allows(&self, method: &Method, path: &str, headers: &HeaderMap) -> bool {
        let looks = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let is_open = || OPEN.contains(&path) || page::is_asset(path);
        if looks && (!self.protect_reads || is_open()) {
            return true;
        }
        let given = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
        let Some((scheme, token)) = given.and_then(|given| given.split_once(' ')) else {
            return false;
        };
        scheme.eq_ignore_ascii_case("bearer") && is_secret(&self.token, token.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anyone_may_look_unless_told_otherwise_and_only_the_token_changes_something() {
        let access = |protect_reads| Access {
            token: Secret::new("right"),
            token_file: None,
            protect_reads,
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
