//! Who may ask for what: anyone may look, unless the configuration says otherwise; only the token changes something.

use std::path::PathBuf;

use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, Method};

use crate::access::is_secret;
use crate::config::Secret;

/// Routes that tell nothing but whether the daemon lives: for health checks, which have no token.
const OPEN: [&str; 2] = ["/health", "/ready"];

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
    /// Whether this request may go on.
    pub(super) fn allows(&self, method: &Method, path: &str, headers: &HeaderMap) -> bool {
        let looks = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        if looks && (!self.protect_reads || OPEN.contains(&path)) {
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
        assert!(closed.allows(&Method::GET, "/health", &headers(None)));
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
