//! Traces of transfer tasks, as an OpenTelemetry collector takes them.

use std::sync::{Arc, Mutex};

use axum::Json;
use axum::routing::post;
use serde_json::{Value, json};

use crate::support::free_port;
use crate::support::transfer::World;

/// Listens for traces; returns its address and what comes.
async fn collector() -> (String, Arc<Mutex<Vec<Value>>>) {
    let came = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&came);
    let take = async move |Json(body): Json<Value>| {
        kept.lock().expect("no panic").push(body);
        Json(json!({}))
    };
    let routes = axum::Router::new().route("/v1/traces", post(take));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (format!("http://{address}"), came)
}

/// The spans that came.
fn spans(bodies: &[Value]) -> Vec<&Value> {
    let spans = bodies.iter().flat_map(|body| {
        let resource = &body["resourceSpans"][0];
        assert_eq!(
            resource["resource"]["attributes"][0]["value"]["stringValue"],
            "mpsync"
        );
        resource["scopeSpans"][0]["spans"]
            .as_array()
            .expect("spans")
    });
    spans.collect()
}

/// A sync of two windows with traces to this place; what it logged.
async fn synced(endpoint: String) -> String {
    let work = move || {
        let world = World::bare(&format!(
            "logging: {{otlp_endpoint: '{endpoint}', level: debug}}"
        ));
        for tier in ["hot", "cold"] {
            world.succeed(&["schema", "apply", "--tier", tier]);
        }
        world.insert_trades("trades", "2026-01-01 05", 1, 1_000);
        world.insert_trades("trades", "2026-01-01 06", 5_000, 1_000);
        let output = world.command(&["sync", "--dataset", "trades"]).output();
        let output = output.expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{text}");
        text
    };
    tokio::task::spawn_blocking(work).await.expect("a sync")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_transfer_task_is_a_trace_and_a_collector_that_is_away_costs_only_traces() {
    let is_task = |span: &&Value| span["name"] == "task";
    let (endpoint, came) = collector().await;
    let mut bodies = Vec::new();
    // The last traces are given a moment at the end of the program, in which a busy machine may have had other things to do.
    for _ in 0..5 {
        synced(endpoint.clone()).await;
        bodies = std::mem::take(&mut *came.lock().expect("no panic"));
        if spans(&bodies).into_iter().filter(is_task).count() == 2 {
            break;
        }
    }
    let spans = spans(&bodies);
    let tasks: Vec<&Value> = spans.iter().copied().filter(is_task).collect();
    assert_eq!(tasks.len(), 2, "{bodies:?}");
    assert_ne!(tasks[0]["traceId"], tasks[1]["traceId"]);
    for task in tasks {
        let attributes = task["attributes"].to_string();
        assert!(
            attributes.contains("trades") && attributes.contains("window"),
            "{task}"
        );
        assert!(task["parentSpanId"].is_null(), "{task}");
        let steps: Vec<&str> = spans
            .iter()
            .filter(|span| {
                span["parentSpanId"] == task["spanId"] && span["traceId"] == task["traceId"]
            })
            .filter_map(|span| span["name"].as_str())
            .collect();
        for step in ["exported", "loaded and proven", "window driven"] {
            assert!(steps.contains(&step), "{step} is not among {steps:?}");
        }
    }
    let log = synced(format!("http://127.0.0.1:{}", free_port())).await;
    assert_eq!(
        log.matches("trace collector does not accept traces")
            .count(),
        1,
        "{log}"
    );
}
