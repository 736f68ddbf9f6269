//! What the routes on windows, transfer tasks and dead letters answer and do.

use std::path::Path;
use std::time::Instant;

use async_nats::jetstream;
use serde_json::{Value, json as document};

use super::{ask, json, world};
use crate::support::daemon::{Daemon, World};
use crate::support::nats::publish;
use crate::support::trades::trade;
use crate::support::{PATIENCE, until};

/// Trades below this number are in the first hour, those from it on in the next.
const NEXT_HOUR: u64 = 400_000;
const FIRST: &str = "trades@20251009T080000Z-20251009T090000Z";
const SECOND: &str = "trades@20251009T090000Z-20251009T100000Z";
const DAY: &str = "from=2025-10-09T00:00:00Z&to=2025-10-10T00:00:00Z";

/// A daemon, and the token that it takes.
struct Asked<'a> {
    world: &'a World,
    address: String,
    _daemon: Daemon,
}

impl<'a> Asked<'a> {
    /// Of these sides, which syncs only when it is asked to; ready.
    async fn start(world: &'a World, mode: &str) -> Self {
        let daemon = world.daemon(&["--mode", mode, "--dataset", "trades"]);
        let address = daemon.http().await[0].clone();
        until("readiness", async || {
            ask(&address, "GET", "/ready", "", "").0 == 200
        })
        .await;
        Self {
            world,
            address,
            _daemon: daemon,
        }
    }

    /// What a route answers with; asked again where an archive on a busy machine was too slow for it.
    fn get(&self, path: &str) -> Value {
        let begun = Instant::now();
        loop {
            let answer = json(&self.address, path);
            let error = answer["error"].as_str().unwrap_or_default();
            if !error.contains("has not answered within") || begun.elapsed() > PATIENCE {
                return answer;
            }
        }
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let headers = format!(
            "Authorization: Bearer {}\r\nContent-Type: application/json\r\n",
            self.world.token()
        );
        let (status, text) = ask(&self.address, "POST", path, &headers, &body.to_string());
        let value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}: {text}"));
        (status, value)
    }

    /// Asks for a sync and waits for its end.
    async fn sync(&self) {
        let last = || self.get("/stats")["sync"]["last"]["started_at"].clone();
        until("a run that is over", async || last() != Value::Null).await;
        let before = last();
        assert_eq!(self.post("/sync", &document!({})).0, 202);
        until("another run's end", async || last() != before).await;
    }

    fn ids(&self, query: &str) -> Vec<String> {
        let page = self.get(&format!("/transfer-tasks?{query}"));
        let tasks = page["tasks"].as_array().unwrap_or_else(|| panic!("{page}"));
        tasks
            .iter()
            .map(|t| t["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Stage and rows of each window of the day.
    fn windows(&self) -> Vec<(String, u64)> {
        let answer = self.get(&format!("/windows?{DAY}"));
        let windows = answer["windows"]
            .as_array()
            .unwrap_or_else(|| panic!("{answer}"));
        let facts = |w: &Value| {
            (
                w["stage"].as_str().unwrap().to_owned(),
                w["rows"].as_u64().unwrap(),
            )
        };
        windows.iter().map(facts).collect()
    }

    async fn until_windows(&self, wanted: &[(&str, u64)]) {
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(stage, rows)| ((*stage).to_owned(), *rows))
            .collect();
        until(&format!("{wanted:?}"), async || self.windows() == wanted).await;
    }
}

/// Both tiers, an archive, and a schedule that runs once, at the start.
async fn seldom(archive: &Path) -> World {
    let mut world = world(archive).await;
    world.set("MPSYNC__SYNC__INTERVAL_HOURS", "10");
    world
}

/// Publishes so many trades in either hour, and waits until hot has them.
async fn two_hours(world: &World, jetstream: &jetstream::Context, rows: u64) {
    publish(jetstream, (0..rows).map(trade)).await;
    publish(jetstream, (NEXT_HOUR..NEXT_HOUR + rows).map(trade)).await;
    world.until_rows("trades", 2 * rows).await;
}

#[tokio::test]
async fn windows_and_tasks_are_told_as_they_stand_in_pages_and_by_filters() {
    let folder = tempfile::tempdir().unwrap();
    let world = seldom(&folder.path().join("archive")).await;
    let asked = Asked::start(&world, "both").await;
    two_hours(&world, &world.nats.jetstream().await, 300).await;
    asked.until_windows(&[("hot", 300), ("hot", 300)]).await;
    assert!(asked.ids("").is_empty());
    asked.sync().await;
    asked
        .until_windows(&[("verified", 300), ("verified", 300)])
        .await;
    let windows = asked.get(&format!("/windows?{DAY}&dataset=trade"));
    let first = &windows["windows"][0];
    assert_eq!(
        *first,
        document!({"dataset": "trades", "start": "2025-10-09T08:00:00Z", "end": "2025-10-09T09:00:00Z",
            "stage": "verified", "rows": 300, "generations": 1})
    );
    // A week up to now, in which nothing was.
    assert_eq!(asked.get("/windows")["windows"], document!([]));

    let page = asked.get("/transfer-tasks?limit=1");
    let task = &page["tasks"][0];
    assert_eq!(
        (&task["id"], &page["next"]),
        (&SECOND.into(), &SECOND.into())
    );
    for (field, value) in [
        ("dataset", document!("trades")),
        ("stage", document!("verified")),
        ("status", document!("done")),
        ("attempt", document!(1)),
        ("holder", Value::Null),
        ("error", Value::Null),
        ("hint", Value::Null),
    ] {
        assert_eq!(task[field], value, "{task}");
    }
    let rest = asked.get(&format!("/transfer-tasks?limit=1&after={SECOND}"));
    assert_eq!(
        (&rest["tasks"][0]["id"], &rest["next"]),
        (&FIRST.into(), &Value::Null)
    );
    assert_eq!(
        asked.ids("status=halted,done&stage=verified"),
        [SECOND, FIRST]
    );
    assert!(asked.ids("status=halted,waiting,cancelled").is_empty());
    assert!(asked.ids("stage=cleaned").is_empty());
    assert_eq!(asked.ids("to=2025-10-09T09:00:00Z"), [FIRST]);
    assert_eq!(
        asked.ids("from=2025-10-09T09:00:00Z&dataset=trades"),
        [SECOND]
    );

    let shown = asked.get(&format!("/transfer-tasks/{FIRST}"));
    assert_eq!(shown["status"], "done", "{shown}");
    let history = shown["history"].as_array().unwrap();
    let events: Vec<_> = history
        .iter()
        .map(|e| e["event"].as_str().unwrap())
        .collect();
    assert_eq!((events[0], *events.last().unwrap()), ("fenced", "ended"));
    assert!(
        history
            .iter()
            .any(|e| e["stage"] == "verified" && e["status"].is_null())
    );
    let described = asked.get("/openapi.json");
    assert!(described["paths"]["/transfer-tasks/{id}/retry"]["post"].is_object());
}

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
        ("/transfer-tasks?after=x", 400, "no task"),
        ("/transfer-tasks/x", 404, "no task"),
        ("/transfer-tasks/%ff", 400, ""),
        (
            "/transfer-tasks/trades@20200101T000000Z-20200101T010000Z",
            404,
            "there is no task",
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

/// A trade of a moment ago.
fn trade_now(n: u64) -> (String, Vec<u8>) {
    let (subject, payload) = trade(n);
    let mut message: Value = serde_json::from_slice(&payload).unwrap();
    for field in ["ts_ms", "collected_ts_ms", "trade_ts_ms"] {
        message[field] = jiff::Timestamp::now().as_millisecond().into();
    }
    (subject, message.to_string().into_bytes())
}

#[tokio::test]
async fn messages_that_the_stream_dropped_before_they_were_read_show_as_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let world = seldom(&folder.path().join("archive")).await;
    let jetstream = world.nats.jetstream().await;
    let asked = Asked::start(&world, "both").await;
    publish(&jetstream, (0..50).map(trade_now)).await;
    world.until_rows("trades", 50).await;
    let gaps = |asked: &Asked<'_>| {
        let answer = asked.get("/windows");
        let windows = answer["windows"].as_array().unwrap();
        windows.iter().filter(|w| w["stage"] == "gap").count()
    };
    assert_eq!(gaps(&asked), 0);
    drop(asked);
    publish(&jetstream, (50..200).map(trade_now)).await;
    let stream = jetstream.get_stream("MARKET_DATA").await.unwrap();
    stream.purge().sequence(151).await.unwrap();
    let asked = Asked::start(&world, "both").await;
    world.until_rows("trades", 100).await;
    until("a gap in the calendar", async || gaps(&asked) > 0).await;
    // This hour, and the one before where the test runs as it ends.
    assert!(gaps(&asked) <= 2);
    let health = asked.get("/health");
    assert_eq!(health["status"], "degraded", "{health}");
}

#[tokio::test]
async fn an_archive_that_is_gone_is_said_to_be_and_ingest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive");
    let world = seldom(&archive).await;
    let asked = Asked::start(&world, "both").await;
    let jetstream = world.nats.jetstream().await;
    two_hours(&world, &jetstream, 10).await;
    asked.sync().await;
    asked
        .until_windows(&[("verified", 10), ("verified", 10)])
        .await;
    std::fs::rename(&archive, folder.path().join("elsewhere")).unwrap();
    until("an answer that says it", async || {
        let (status, body) = ask(&asked.address, "GET", &format!("/windows?{DAY}"), "", "");
        status == 503 && body.contains("there is no archive")
    })
    .await;
    let retry = format!("/transfer-tasks/{FIRST}/retry");
    assert_eq!(asked.post(&retry, &Value::Null).0, 503);
    publish(&jetstream, (1000..1010).map(trade)).await;
    world.until_rows("trades", 30).await;
    std::fs::rename(folder.path().join("elsewhere"), &archive).unwrap();
    asked.until_windows(&[("hot", 20), ("verified", 10)]).await;
}
