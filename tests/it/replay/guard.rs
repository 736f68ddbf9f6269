//! A slip of the hand must not double what is ingested.

use super::{Archived, lines, parsed, run, succeed};
use crate::support::nats::NatsServer;
use crate::support::transfer::output_text;

async fn messages(server: &NatsServer, stream: &str) -> Option<u64> {
    let jetstream = server.jetstream().await;
    let mut found = jetstream.get_stream(stream).await.ok()?;
    Some(found.info().await.unwrap().state.messages)
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_into_the_ingested_stream_is_refused_unless_it_is_allowed() {
    let archived = Archived::of(1000).await;
    let before = messages(&archived.nats, "MARKET_DATA").await;
    for flags in [
        &[][..],
        &["--stream", "MARKET_DATA"],
        &["--stream", "MARKET_DATA", "--subject", "again.{subject}"],
        &["--stream", "REPLAYED", "--subject", "{subject}"],
        &["--into", "core"],
    ] {
        let refused = run(&archived.settings, &[&["replay"][..], flags].concat());
        let text = output_text(&refused);
        assert_eq!(refused.status.code(), Some(2), "{flags:?}: {text}");
        assert!(
            text.contains("MARKET_DATA") && text.contains("--into-live"),
            "{flags:?}: {text}"
        );
    }
    assert_eq!(messages(&archived.nats, "MARKET_DATA").await, before);

    // As documented: another stream, beside the one that is ingested.
    let stream = ["replay", "--stream", "REPLAYED"];
    let plan = succeed(&archived.settings, &[&stream[..], &["--dry-run"]].concat());
    assert!(
        plan.contains("into the JetStream stream REPLAYED, subjects REPLAYED."),
        "{plan}"
    );
    assert_eq!(messages(&archived.nats, "REPLAYED").await, None);
    let plan = parsed(&succeed(
        &archived.settings,
        &["replay", "--dry-run", "--output", "json"],
    ));
    assert_eq!(plan["target"]["stream"], "MARKET_DATA", "{plan}");
    assert_eq!(plan["target"]["is_live"], true, "{plan}");
    let report = parsed(&succeed(
        &archived.settings,
        &[&stream[..], &["--output", "json"]].concat(),
    ));
    assert_eq!(
        messages(&archived.nats, "REPLAYED").await,
        report["messages"].as_u64()
    );
    assert_eq!(messages(&archived.nats, "MARKET_DATA").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn generate_into_a_used_stream_or_in_production_is_refused_unless_it_is_allowed() {
    let nats = NatsServer::start().await;
    let settings = vec![("MPSYNC__NATS__URL".to_owned(), nats.url())];
    let generate = ["generate", "--count", "10"];
    succeed(&settings, &generate);
    let refused = run(&settings, &generate);
    let text = output_text(&refused);
    assert_eq!(refused.status.code(), Some(2), "{text}");
    assert!(text.contains("--into-live"), "{text}");
    assert_eq!(messages(&nats, "MARKET_DATA").await, Some(10));
    let live = [&generate[..], &["--into-live"]].concat();
    succeed(&settings, &[&live[..], &["--seed", "2"]].concat());
    assert_eq!(messages(&nats, "MARKET_DATA").await, Some(20));

    let mut production = settings;
    production.push(("ENVIRONMENT".to_owned(), "production".to_owned()));
    let refused = run(&production, &[&live[..], &["--seed", "3"]].concat());
    let text = output_text(&refused);
    assert_eq!(refused.status.code(), Some(2), "{text}");
    assert!(
        text.contains("production") && text.contains("--yes"),
        "{text}"
    );
    succeed(
        &production,
        &[&live[..], &["--yes", "--seed", "3"]].concat(),
    );
    assert_eq!(messages(&nats, "MARKET_DATA").await, Some(30));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("made.jsonl");
    let file = file.to_str().unwrap();
    succeed(&production, &[&generate[..], &["--to", file]].concat());
    assert_eq!(lines(file).len(), 10);
}
