//! Transfer tasks that are asked for, retried and cancelled, and what cannot be asked for.

use serde_json::{Value, json as document};

use super::ask;
use super::asked::{Asked, DAY, FIRST, seldom, two_hours};
use crate::support::nats::publish;
use crate::support::trades::trade;
use crate::support::until;

#[tokio::test]
async fn what_cannot_be_asked_for_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let world = seldom(&folder.path().join("archive")).await;
    let asked = Asked::start(&world, "both").await;
    two_hours(&world, &world.nats.jetstream().await, 10).await;
    asked.sync().await;
    for (path, status, said) in [
        ("/windows?from=yesterday", 400, "from"),
        ("/windows?frm=2025-10-09T00:00:00Z", 400, "frm"),
        (
            "/windows?from=2025-01-01T00:00:00Z&to=2025-03-01T00:00:00Z",
            400,
            "31 days",
        ),
        ("/windows?dataset=nothing", 400, "nothing"),
        ("/transfer-tasks?status=done,gone", 400, "gone"),
        ("/transfer-tasks?limit=0", 400, "limit"),
        ("/transfer-tasks?after=x", 400, "invalid task"),
        ("/transfer-tasks/x", 404, "invalid task"),
        ("/transfer-tasks/%ff", 400, ""),
        (
            "/transfer-tasks/trades@20200101T000000Z-20200101T010000Z",
            404,
            "unknown task",
        ),
        ("/dead-letters?limit=201", 400, "limit"),
    ] {
        let (answered, body) = ask(&asked.address, "GET", path, "", "");
        let refusal: Value =
            serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}"));
        assert_eq!(answered, status, "{path}: {body}");
        assert!(
            refusal["error"].as_str().unwrap().contains(said),
            "{path}: {body}"
        );
    }
    let task = |body: &Value| asked.post("/transfer-tasks", body);
    let span = document!({"data_type": "trade", "start": "2025-10-09T08:00:00Z", "end": "2025-10-09T09:00:00Z"});
    let with = |field: &str, value: Value| {
        let mut body = span.clone();
        body[field] = value;
        body
    };
    for (body, said) in [
        (with("data_type", "nothing".into()), "nothing"),
        (with("exchange", "".into()), "exchange"),
        (with("symbols", "BTC-USDT".into()), "symbols"),
        (
            with("end", "2025-10-09T08:00:00Z".into()),
            "start must be before end",
        ),
        (with("start", "soon".into()), "start"),
        (document!({"data_type": "trade"}), "start"),
        (document!([]), ""),
    ] {
        let (status, refusal) = task(&body);
        assert_eq!(status, 400, "{body}: {refusal}");
        assert!(
            refusal["error"].as_str().unwrap().contains(said),
            "{body}: {refusal}"
        );
    }
    for verb in ["retry", "cancel"] {
        let path = format!("/transfer-tasks/{FIRST}/{verb}");
        let (status, refusal) = asked.post(&path, &Value::Null);
        assert_eq!(
            (status, refusal["hint"].is_string()),
            (409, true),
            "{path}: {refusal}"
        );
        let (status, body) = ask(&asked.address, "POST", &path, "", "");
        assert_eq!(status, 401, "{body}");
        let unknown = format!("/transfer-tasks/trades@20200101T000000Z-20200101T010000Z/{verb}");
        assert_eq!(asked.post(&unknown, &Value::Null).0, 404);
    }
    let (status, _) = ask(
        &asked.address,
        "POST",
        "/transfer-tasks",
        "",
        &span.to_string(),
    );
    assert_eq!(status, 401);
}

#[tokio::test]
async fn a_window_that_halted_is_shown_and_done_at_once_when_it_is_retried() {
    let folder = tempfile::tempdir().unwrap();
    let world = seldom(&folder.path().join("archive")).await;
    let asked = Asked::start(&world, "both").await;
    two_hours(&world, &world.nats.jetstream().await, 100).await;
    asked.sync().await;
    let cold = world.config().cold.database;
    let sql = async |statement: &str| {
        let statement = statement
            .replace("cold.", &format!("{cold}."))
            .replace("hot.", "marketprism_hot.");
        world
            .hot()
            .execute(&statement)
            .await
            .unwrap_or_else(|e| panic!("{statement}: {e}"));
    };
    let missing = "trade_id = '7'";
    sql(&format!(
        "ALTER TABLE cold.trades DELETE WHERE {missing} SETTINGS mutations_sync = 2"
    ))
    .await;
    asked.sync().await;
    let halted = asked.get("/transfer-tasks?status=halted");
    let task = &halted["tasks"][0];
    assert_eq!(task["id"], FIRST, "{halted}");
    assert!(
        task["error"].is_string() && task["hint"].as_str().unwrap().contains("retry"),
        "{task}"
    );
    asked
        .until_windows(&[("halted", 100), ("verified", 100)])
        .await;
    let figures = asked.get("/stats");
    let run = &figures["sync"]["last"];
    assert_eq!(run["ok"], false, "{run}");
    assert!(!run["error"].as_str().unwrap().contains("hint:"), "{run}");
    let health = asked.get("/health");
    assert!(!health.to_string().contains("hint: "), "{health}");

    sql(&format!(
        "INSERT INTO cold.trades SELECT * FROM hot.trades WHERE {missing}"
    ))
    .await;
    let retry = format!("/transfer-tasks/{FIRST}/retry");
    assert_eq!(
        ask(
            &asked.address,
            "POST",
            &retry,
            "Authorization: Bearer wrong\r\n",
            ""
        )
        .0,
        401
    );
    assert_eq!(asked.ids("status=halted"), [FIRST]);
    let (status, answer) = asked.post(&retry, &Value::Null);
    assert_eq!(
        (status, answer),
        (202, document!({"task": FIRST, "status": "queued"}))
    );
    // The schedule would run in ten hours.
    asked
        .until_windows(&[("verified", 100), ("verified", 100)])
        .await;
    assert!(asked.ids("status=halted,waiting,queued").is_empty());
    let shown = asked.get(&format!("/transfer-tasks/{FIRST}"));
    let history = shown["history"].as_array().unwrap();
    assert!(history.iter().any(|e| e["event"] == "retried"), "{shown}");
}

#[tokio::test]
async fn a_window_that_is_cancelled_over_http_is_passed_over_until_it_is_retried() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive");
    let world = seldom(&archive).await;
    let asked = Asked::start(&world, "both").await;
    two_hours(&world, &world.nats.jetstream().await, 50).await;
    asked.sync().await;
    // As if the attempt had broken off before it said how it ended.
    std::fs::remove_dir_all(archive.join("_mpsync/tasks/trades/2025-10-09T08")).unwrap();
    let cancel = format!("/transfer-tasks/{FIRST}/cancel");
    let cancelled = document!({"task": FIRST, "status": "cancelled"});
    assert_eq!(asked.post(&cancel, &Value::Null), (202, cancelled.clone()));
    assert_eq!(asked.post(&cancel, &Value::Null), (202, cancelled));
    publish(&world.nats.jetstream().await, (1000..1010).map(trade)).await;
    world.until_rows("trades", 110).await;
    asked.sync().await;
    assert_eq!(asked.ids("status=cancelled"), [FIRST]);
    asked.until_windows(&[("hot", 60), ("verified", 50)]).await;
    assert_eq!(
        asked
            .post(&format!("/transfer-tasks/{FIRST}/retry"), &Value::Null)
            .0,
        202
    );
    asked
        .until_windows(&[("verified", 60), ("verified", 50)])
        .await;
    assert!(asked.ids("status=cancelled").is_empty());
}

#[tokio::test]
async fn a_transfer_that_is_submitted_over_http_is_taken_up_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive");
    let world = seldom(&archive).await;
    let asked = Asked::start(&world, "both").await;
    until("the first run's end", async || {
        asked.get("/stats")["sync"]["last"]["ok"] == true
    })
    .await;
    two_hours(&world, &world.nats.jetstream().await, 90).await;
    let (status, answer) = asked.post(
        "/transfer-tasks",
        &document!({"data_type": "trade", "exchange": "okx", "symbol": null,
            "start": "2025-10-09T08:00:00Z", "end": "2025-10-09T09:00:00Z"}),
    );
    assert_eq!(
        (status, &answer["accepted"]),
        (202, &true.into()),
        "{answer}"
    );
    assert!(answer["request"].is_string(), "{answer}");
    asked
        .until_windows(&[("verified", 90), ("verified", 90)])
        .await;
    // The exchange that was asked for, and the rest of what was due.
    let windows = asked.get(&format!("/windows?{DAY}"));
    assert_eq!(windows["windows"][0]["generations"], 2, "{windows}");
    until("an end of the request", async || {
        std::fs::read_dir(archive.join("_mpsync/requests"))
            .is_ok_and(|mut left| left.next().is_none())
    })
    .await;
}
