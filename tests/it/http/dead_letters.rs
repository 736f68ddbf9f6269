//! Dead letters, and what a daemon says of the side that it does not run.

use serde_json::json as document;

use super::ask;
use super::asked::{Asked, FIRST, seldom};
use crate::support::nats::publish;
use crate::support::until;

#[tokio::test]
async fn dead_letters_are_shown_the_newest_first_and_each_mode_says_what_it_does_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = seldom(&folder.path().join("archive")).await;
    let letters = folder.path().join("letters");
    world.set(
        "MPSYNC__INGEST__DEAD_LETTER_FOLDER",
        letters.to_str().unwrap(),
    );
    let asked = Asked::start(&world, "hot").await;
    assert_eq!(
        asked.get("/dead-letters"),
        document!({"total": 0, "letters": []})
    );
    let jetstream = world.nats.jetstream().await;
    for n in 0..3 {
        publish(
            &jetstream,
            [(format!("trade.okx.spot.BAD{n}"), b"{".to_vec())],
        )
        .await;
    }
    until("three letters", async || {
        asked.get("/dead-letters")["total"] == 3
    })
    .await;
    let newest = asked.get("/dead-letters?limit=2");
    let subjects: Vec<_> = newest["letters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| &l["subject"])
        .collect();
    assert_eq!(subjects, ["trade.okx.spot.BAD2", "trade.okx.spot.BAD1"]);
    let letter = &newest["letters"][0];
    assert_eq!(letter["dataset"], "trades", "{letter}");
    for field in ["id", "at", "reason", "detail"] {
        assert!(
            letter[field].as_str().is_some_and(|text| !text.is_empty()),
            "{letter}"
        );
    }
    for path in [
        "/windows",
        "/transfer-tasks",
        &format!("/transfer-tasks/{FIRST}"),
    ] {
        let (status, body) = ask(&asked.address, "GET", path, "", "");
        assert_eq!(status, 404, "{path}: {body}");
        assert!(body.contains("--mode cold or both"), "{path}: {body}");
    }
    assert_eq!(asked.post("/transfer-tasks", &document!({"data_type": "trade", "start": "2025-10-09T08:00:00Z", "end": "2025-10-09T09:00:00Z"})).0, 404);
    drop(asked);
    let asked = Asked::start(&world, "cold").await;
    let (status, body) = ask(&asked.address, "GET", "/dead-letters", "", "");
    assert_eq!(status, 404, "{body}");
    assert!(body.contains("--mode hot or both"), "{body}");
    assert_eq!(asked.get("/windows")["windows"], document!([]));
}
