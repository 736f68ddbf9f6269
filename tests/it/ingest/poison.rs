//! Messages that nats-server stores and the client library cannot receive: each becomes a dead letter, all others land.

use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::support::daemon::World;
use crate::support::nats::publish;
use crate::support::trades::{check_trades, trade};
use crate::support::until;

/// A connection that publishes bytes as they are.
struct RawPublisher {
    lines: BufReader<TcpStream>,
}

impl RawPublisher {
    async fn connect(url: &str) -> Self {
        let address = url.trim_start_matches("nats://");
        let stream = TcpStream::connect(address).await.expect("connects");
        let mut raw = Self {
            lines: BufReader::new(stream),
        };
        raw.send(
            b"CONNECT {\"verbose\":false,\"headers\":true,\"lang\":\"test\",\"version\":\"1\"}\r\n",
        )
        .await;
        raw.flush().await;
        raw
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.lines.get_mut().write_all(bytes).await.expect("sent");
    }

    /// Waits until the server has handled everything before.
    async fn flush(&mut self) {
        self.send(b"PING\r\n").await;
        loop {
            let mut line = Vec::new();
            let length = self.lines.read_until(b'\n', &mut line).await;
            assert!(length.expect("an answer") > 0, "the server hung up");
            assert!(!line.starts_with(b"-ERR"), "{}", line.escape_ascii());
            if line.starts_with(b"PONG") {
                return;
            }
        }
    }

    /// Publishes one message; without a header block if that is empty.
    async fn publish(&mut self, subject: &[u8], headers: &[u8], payload: &[u8]) {
        let mut bytes = match headers {
            [] => [b"PUB ", subject].concat(),
            _ => [b"HPUB ", subject].concat(),
        };
        let lengths = match headers.len() {
            0 => format!(" {}\r\n", payload.len()),
            length => format!(" {length} {}\r\n", length + payload.len()),
        };
        bytes.extend_from_slice(lengths.as_bytes());
        bytes.extend_from_slice(headers);
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(b"\r\n");
        self.send(&bytes).await;
    }
}

const SUBJECT: &[u8] = b"trade.binance.spot.BTC-USDT";

/// Subjects and header blocks that close the connection of the client library.
fn corpus() -> Vec<(Vec<u8>, Vec<u8>)> {
    // An invalid status is not among them: nats-server removes the status of a publisher.
    let block = |lines: &[u8]| [b"NATS/1.0\r\n", lines, b"\r\n\r\n"].concat();
    let headers = [
        block(b"A: \xff\xfe"),
        block(b"no colon at all"),
        block(b"name with blanks: x"),
        block(b"A : x"),
        block("Größe: x".as_bytes()),
    ];
    let mut corpus: Vec<_> = headers
        .into_iter()
        .map(|headers| (SUBJECT.to_vec(), headers))
        .collect();
    for subject in [
        "trade.binance.spot.A\u{a0}B",
        "trade.binance.spot.A\u{3000}B",
    ] {
        corpus.push((subject.into(), block(b"A: x")));
    }
    corpus.push((b"trade.binance.spot.A\xffB".to_vec(), Vec::new()));
    corpus
}

/// Publishes trades with a malformed message after each `every` of them; returns how many malformed ones there are.
async fn publish_mixed(world: &World, trades: u64, every: u64) -> u64 {
    let jetstream = world.nats.jetstream().await;
    let mut raw = RawPublisher::connect(&world.nats.url()).await;
    let corpus = corpus();
    let mut bad = 0;
    for first in (0..trades).step_by(usize::try_from(every).expect("few")) {
        let end = (first + every).min(trades);
        publish(&jetstream, (first..end).map(trade)).await;
        let (subject, headers) = &corpus[usize::try_from(bad).expect("few") % corpus.len()];
        raw.publish(subject, headers, b"{\"bad\":true}").await;
        raw.flush().await;
        bad += 1;
    }
    bad
}

#[tokio::test]
async fn messages_that_the_client_cannot_receive_become_dead_letters() {
    let world = World::start(&["trades"], &[]).await;
    world.drain("trades").await;
    let bad = publish_mixed(&world, 1600, 200).await;
    assert_eq!(bad, corpus().len() as u64);
    let report = world.drain("trades").await;
    assert_eq!(
        report["dead_letters"]["unreadable_message"], bad,
        "{report}"
    );
    check_trades(&world, 1600).await;
    let again = world.drain("trades").await;
    assert_eq!(again["messages"], 0, "{again}");
}

#[tokio::test]
async fn malformed_messages_of_one_dataset_do_not_interrupt_another() {
    let world = World::start(&["trades", "orderbooks"], &[]).await;
    world.drain("trades").await;
    let mut daemon = world.daemon(&["--dataset", "trades", "--dataset", "orderbooks"]);
    until("both sessions", async || {
        daemon.lines("ingesting").len() == 2
    })
    .await;
    publish_mixed(&world, 600, 200).await;
    world.until_rows("trades", 600).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let of_orderbooks = daemon
        .lines("ingesting")
        .into_iter()
        .filter(|line| line["dataset"] == "orderbooks");
    assert_eq!(of_orderbooks.count(), 1, "{}", daemon.log());
    daemon.signal(Signal::TERM);
    daemon.ended().await;
    check_trades(&world, 600).await;
}

/// Newer servers remove the status of a publisher, older ones store it.
#[tokio::test]
async fn a_header_status_of_a_stored_message_is_not_taken_for_the_servers() {
    let world = World::start(&["trades"], &[]).await;
    world.drain("trades").await;
    let jetstream = world.nats.jetstream().await;
    let mut raw = RawPublisher::connect(&world.nats.url()).await;
    publish(&jetstream, (0..10).map(trade)).await;
    for status in [
        "503",
        "100 Idle Heartbeat",
        "409 Exceeded MaxWaiting",
        "408",
    ] {
        let headers = format!("NATS/1.0 {status}\r\nA: x\r\n\r\n");
        raw.publish(SUBJECT, headers.as_bytes(), b"{\"bad\":true}")
            .await;
    }
    raw.flush().await;
    publish(&jetstream, (10..20).map(trade)).await;
    let report = world.drain("trades").await;
    assert_eq!(report["lives"], 1, "{report}");
    check_trades(&world, 20).await;
}

#[tokio::test]
async fn malformed_messages_are_passed_where_each_message_is_acknowledged_by_itself() {
    let Some(nats) = crate::support::nats::NatsServer::start_old().await else {
        return;
    };
    let clickhouse = crate::support::clickhouse::ClickHouse::start().await;
    let settings = [("MPSYNC__INGEST__ACK_WAIT_SECONDS", "1")];
    let world = World::of(nats, clickhouse, &["trades"], &settings).await;
    world.drain("trades").await;
    let bad = publish_mixed(&world, 400, 200).await;
    let report = world.drain("trades").await;
    assert_eq!(
        report["dead_letters"]["unreadable_message"], bad,
        "{report}"
    );
    check_trades(&world, 400).await;
}
