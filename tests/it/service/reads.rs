//! `http.require_token_for_reads`, and where settings come from.

use super::client::ask;
use crate::support::daemon::World;
use crate::support::until;

#[tokio::test]
async fn with_protected_reads_only_health_and_the_page_s_own_files_are_open() {
    let token = "a-token-of-the-environment";
    let settings = [
        ("MPSYNC__HTTP__PROTECT_READS", "true"),
        ("MPSYNC__HTTP__TOKEN", token),
        // The flag is stronger: nobody could listen here.
        ("MPSYNC__HTTP__HOT_LISTEN", "192.0.2.1:1"),
        ("MPSYNC__HTTP__ALLOW_HOSTS", "hot.internal"),
        ("MPSYNC__HTTP__MAX_BODY_BYTES", "1"),
    ];
    let world = World::start(&["trades"], &settings).await;
    let daemon = world.daemon(&["--mode", "hot", "--dataset", "trades"]);
    let address = daemon.http().await[0].clone();
    let status = async |method: &str, path: &str, headers: &str| {
        let answer = ask(&address, None, method, path, headers).await;
        let (status, text) = answer.expect("an answer");
        assert!(!text.contains(token), "{text}");
        assert_eq!(
            status == 401,
            text.contains("\r\nwww-authenticate: Bearer"),
            "{text}"
        );
        status
    };
    let right = format!("Authorization: Bearer {token}\r\n");
    for path in [
        "/stats",
        "/metrics",
        "/nothing",
        "/stats?x=/health",
        "/%2e/health",
    ] {
        assert_eq!(status("GET", path, "").await, 401, "{path}");
        assert_eq!(status("HEAD", path, "").await, 401, "{path}");
        assert_ne!(status("GET", path, &right).await, 401, "{path}");
        let wrong = right.replace("token", "t0ken");
        assert_eq!(status("GET", path, &wrong).await, 401, "{path}");
    }
    assert_eq!(status("GET", "/stats", &right).await, 200);
    for path in [
        "/health",
        "/ready",
        "/",
        "/page.css",
        "/page.js",
        "/openapi.json",
    ] {
        assert_ne!(status("GET", path, "").await, 401, "{path}");
        assert_eq!(status("POST", path, "").await, 401, "{path}");
    }
    let named = ask(
        &address,
        None,
        "GET",
        "/ready",
        "Origin: http://hot.internal\r\n",
    )
    .await;
    assert_ne!(named.expect("an answer").0, 403);
    let foreign = ask(
        &address,
        None,
        "GET",
        "/ready",
        "Origin: http://cold.internal\r\n",
    )
    .await;
    assert_eq!(foreign.expect("an answer").0, 403);
    assert_eq!(status("POST", "/sync", &right).await, 413);
    // Who asked for a change finds in the log what became of it.
    let refused = ask(&address, None, "POST", "/sync", "").await;
    let (_, text) = refused.expect("an answer");
    let id = text
        .split("x-request-id: ")
        .nth(1)
        .and_then(|rest| rest.split("\r\n").next());
    let id = id.unwrap_or_else(|| panic!("no id in {text}"));
    until("the request in the log", async || {
        let log = daemon.log();
        log.lines()
            .any(|line| line.contains(id) && line.contains("401"))
    })
    .await;
}
