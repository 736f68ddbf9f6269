//! Whichever call to ClickHouse or NATS fails, and however, every message is in hot once in the end.
//!
//! A proxy breaks the connection before, within or after the first call, then the second, and so on until a run makes fewer
//! calls. Time budget: 45 seconds on two idle cores.

use async_nats::jetstream;
use futures_util::future::join_all;
use mpsync_clickhouse::Tier;
use mpsync_config::Config;
use mpsync_core::dataset::{Dataset, TierRole};
use mpsync_core::error::{Disposition, Error};
use mpsync_ingest::{IngestOptions, SEQUENCE_HEADER, run};
use tokio_util::sync::CancellationToken;

use crate::support::PATIENCE;
use crate::support::breaker::{Breaker, Fault, Protocol};
use crate::support::clickhouse::ClickHouse;
use crate::support::daemon::dataset;
use crate::support::nats::{NatsServer, publish};

/// Messages of a run; a batch has 20.
const MESSAGES: u64 = 50;
/// The one of them that cannot be a row.
const BAD: u64 = 30;
/// More calls than any run makes: who gets here never ends.
const MOST_CALLS: u64 = 500;

/// More failures than one broken call and a busy machine make.
const MOST_FAILURES: usize = 12;

/// A stream, a table and proxies in front of both.
struct Place {
    nats: NatsServer,
    jetstream: jetstream::Context,
    to_nats: Breaker,
    to_engine: Breaker,
    /// Not through the proxy.
    hot: Tier,
    config: Config,
    dataset: &'static Dataset,
}

impl Place {
    async fn new(engine: &ClickHouse, database: &str) -> Self {
        let nats = NatsServer::start().await;
        let nats_port = nats
            .url()
            .rsplit(':')
            .next()
            .and_then(|p| p.parse().ok())
            .expect("a port");
        let to_nats = Breaker::start(Protocol::Nats, nats_port).await;
        let to_engine = Breaker::start(Protocol::Http, engine.port()).await;
        let config = |port: u16| {
            let settings = [
                (
                    "MPSYNC__NATS__URL",
                    format!("nats://127.0.0.1:{}", to_nats.port),
                ),
                (
                    "MPSYNC__HOT_STORAGE__CLICKHOUSE_HTTP_PORT",
                    port.to_string(),
                ),
                (
                    "MPSYNC__HOT_STORAGE__CLICKHOUSE_DATABASE",
                    database.to_owned(),
                ),
                ("MPSYNC__HOT_STORAGE__BATCH_SIZE", "20".to_owned()),
                ("MPSYNC__HOT_STORAGE__FLUSH_INTERVAL", "0.05".to_owned()),
            ];
            Config::load(None, settings.map(|(name, value)| (name.to_owned(), value)))
                .expect("a good configuration")
        };
        let hot = Tier::new(TierRole::Hot, &config(engine.port()).hot);
        let dataset = dataset("trades");
        hot.apply_schema(&[dataset])
            .await
            .expect("the table is made");
        Self {
            jetstream: nats.jetstream().await,
            nats,
            config: config(to_engine.port),
            to_nats,
            to_engine,
            hot,
            dataset,
        }
    }

    fn breaker(&self, protocol: Protocol) -> &Breaker {
        match protocol {
            Protocol::Http => &self.to_engine,
            Protocol::Nats => &self.to_nats,
        }
    }

    /// A new stream with messages, an empty table, no dead letters.
    async fn prepare(&self) {
        for name in ["MARKET_DATA", "MPSYNC_DEAD_LETTERS"] {
            // Neither is there at first.
            drop(self.jetstream.delete_stream(name).await);
        }
        let table = self.hot.table("trades");
        self.hot
            .execute(&format!("TRUNCATE TABLE {table}"))
            .await
            .expect("emptied");
        let stream = jetstream::stream::Config {
            name: "MARKET_DATA".into(),
            subjects: self.dataset.subjects.clone(),
            ..Default::default()
        };
        self.jetstream.create_stream(stream).await.expect("made");
        publish(&self.jetstream, (1..=MESSAGES).map(message)).await;
    }

    /// Ingests everything, starting again where an error ends it, as a service manager does.
    async fn ingest(&self, what: &str) {
        let options = IngestOptions {
            drain: true,
            ..IngestOptions::default()
        };
        let datasets = [self.dataset];
        let mut errors: Vec<Error> = Vec::new();
        while errors.len() < MOST_FAILURES {
            let hot = Tier::new(TierRole::Hot, &self.config.hot);
            let ended = run(
                &self.config,
                &datasets,
                hot,
                CancellationToken::new(),
                options.clone(),
            );
            let ended = tokio::time::timeout(PATIENCE, ended).await;
            match ended.unwrap_or_else(|_| panic!("{what}: ingest does not end")) {
                Ok(_) => return,
                Err(e) => {
                    assert_eq!(e.disposition(), Disposition::Retry, "{what}: {e}");
                    errors.push(e);
                }
            }
        }
        panic!("{what}: ingest fails again and again: {errors:?}");
    }

    /// Every message is a row or a dead letter, once.
    async fn check(&self, what: &str) {
        let sql = format!(
            "SELECT stream_seq, trade_id FROM {} ORDER BY stream_seq",
            self.hot.table("trades")
        );
        let rows = self
            .hot
            .query(&sql)
            .fetch_all::<(u64, String)>()
            .await
            .expect("rows");
        let expected: Vec<(u64, String)> = (1..=MESSAGES)
            .filter(|n| *n != BAD)
            .map(|n| (n, n.to_string()))
            .collect();
        assert_eq!(rows, expected, "{what}");
        let mut letters = self
            .jetstream
            .get_stream("MPSYNC_DEAD_LETTERS")
            .await
            .expect("the stream");
        assert_eq!(
            letters.info().await.expect("its state").state.messages,
            1,
            "{what}"
        );
        let letter = letters.get_raw_message(1).await.expect("a dead letter");
        let seq = letter
            .headers
            .get(SEQUENCE_HEADER)
            .map(|seq| seq.as_str().to_owned());
        assert_eq!(seq, Some(BAD.to_string()), "{what}");
    }
}

/// The Nth message.
fn message(n: u64) -> (String, Vec<u8>) {
    let mut payload = serde_json::json!({
        "exchange": "binance", "market_type": "spot", "symbol": "BTC-USDT", "data_source": "marketprism",
        "ts_ms": 1_760_000_000_000_u64 + n, "trade_id": n.to_string(), "price": "64900.5", "quantity": "0.25",
        "side": "buy",
    });
    if n == BAD {
        payload["price"] = "much".into();
    }
    (
        "trade.binance.spot.BTC-USDT".to_owned(),
        payload.to_string().into_bytes(),
    )
}

/// Breaks the `first` call, then the one `step` later, and so on; returns the last that a run makes.
async fn break_calls(
    engine: &ClickHouse,
    protocol: Protocol,
    fault: Fault,
    first: u64,
    step: usize,
) -> u64 {
    let database = format!("{protocol:?}_{fault:?}_{first}").to_lowercase();
    let place = Place::new(engine, &database).await;
    for nth in (first..MOST_CALLS).step_by(step) {
        let what = format!("{protocol:?} broken {fault:?} call {nth}");
        place.prepare().await;
        place.breaker(protocol).arm(fault, nth);
        place.ingest(&what).await;
        let was_broken = place.breaker(protocol).has_broken();
        place.breaker(protocol).arm(fault, u64::MAX);
        place.check(&what).await;
        if !was_broken {
            drop(place.nats);
            return nth - 1;
        }
    }
    panic!("a run of {MESSAGES} messages makes more than {MOST_CALLS} calls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_call_fails_every_message_is_a_row_or_a_dead_letter_once() {
    let engine = ClickHouse::start().await;
    let began = std::time::Instant::now();
    let mut all = Vec::new();
    // A lost answer of NATS is waited for in vain, for seconds each time: several such runs side by side.
    for (protocol, lanes) in [(Protocol::Http, 1), (Protocol::Nats, 4)] {
        for fault in [Fault::Before, Fault::Within, Fault::After] {
            for first in 1..=lanes {
                let engine = &engine;
                let step = usize::try_from(lanes).expect("few");
                all.push(async move {
                    let calls = break_calls(engine, protocol, fault, first, step).await;
                    (protocol, fault, calls)
                });
            }
        }
    }
    for (protocol, fault, calls) in join_all(all).await {
        println!("{protocol:?}: calls up to {calls} broken {fault:?}");
        assert!(calls > 10, "too few calls to be true");
    }
    println!("{:.1?}", began.elapsed());
}
