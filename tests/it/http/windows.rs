//! Windows and their transfers over HTTP, and the report of hours that are lost or out of reach.

use serde_json::{Value, json as document};

use super::ask;
use super::asked::{Asked, DAY, FIRST, SECOND, seldom, two_hours};
use crate::support::nats::publish;
use crate::support::trades::trade;
use crate::support::until;

#[tokio::test]
async fn windows_and_tasks_are_listed_with_their_status_in_pages_and_by_filters() {
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
