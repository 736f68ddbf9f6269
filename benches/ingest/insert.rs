//! Rows into hot: the engine's insert alone, and `mpsync run` as it is used.

use std::time::{Duration, Instant};

use arrow::ipc::writer::StreamWriter;
use async_nats::jetstream;
use bytes::Bytes;
use mpsync_clickhouse::Tier;
use mpsync_core::dataset::{Dataset, Epoch, Position};
use mpsync_core::error::{Context as _, Error, Result};
use mpsync_ingest::{Decoder, MessageMeta};

use crate::fetch::{STREAM, Took};
use crate::servers::{Engine, Nats, Process, mpsync};
use crate::shared::messages::{STORED_AT_MS, table};

/// Rows of an insert's body at most.
const BODY_ROWS: usize = 50_000;
/// Bytes of payload of an insert's body at most: as `ingest.batch_bytes`.
const BODY_BYTES: usize = 16 << 20;
/// How long one run of mpsync may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// A table's rows as Arrow streams.
pub(crate) fn bodies(
    dataset: &Dataset,
    subject: &str,
    messages: &[String],
    count: u64,
) -> Result<Vec<Bytes>> {
    let mut decoder = Decoder::new(dataset, &table(dataset)?)?;
    let mut bodies = Vec::new();
    for (seq, message) in (1..=count).zip(messages.iter().cycle()) {
        let meta = MessageMeta {
            subject,
            position: Position {
                epoch: Epoch(1),
                seq,
            },
            stored_at_nanos: i64::try_from(STORED_AT_MS * 1_000_000 + seq).unwrap_or(i64::MAX),
        };
        if let Err(rejection) = decoder.append(&meta, message.as_bytes()) {
            return Err(Error::malformed(rejection.to_string()));
        }
        let full = decoder.rows() == BODY_ROWS || decoder.rows() * message.len() >= BODY_BYTES;
        if full || seq == count {
            let batch = decoder.finish()?;
            let context = || "writing an Arrow stream";
            let mut body = Vec::new();
            let mut writer =
                StreamWriter::try_new(&mut body, batch.schema_ref()).context(context)?;
            writer.write(&batch).context(context)?;
            writer.finish().context(context)?;
            drop(writer);
            bodies.push(body.into());
        }
    }
    Ok(bodies)
}

/// Inserts the bodies one after the other into an empty table.
pub(crate) async fn insert(
    hot: &Tier,
    dataset: &Dataset,
    bodies: &[Bytes],
    engine: &Engine,
) -> Result<Took> {
    empty(hot, dataset).await?;
    let columns: Vec<&str> = dataset
        .columns
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    let (began, cpu) = (Instant::now(), engine.process.cpu_secs());
    for body in bodies {
        let mut insert = hot.insert(&dataset.table, &columns, "ArrowStream");
        insert.send(body.clone()).await?;
        insert.end().await?;
    }
    Ok(Took {
        secs: began.elapsed().as_secs_f64(),
        cpu_secs: engine.process.cpu_secs() - cpu,
    })
}

async fn empty(hot: &Tier, dataset: &Dataset) -> Result<()> {
    hot.execute(&format!("TRUNCATE TABLE {}", hot.table(&dataset.table)))
        .await
}

/// The time and memory of `mpsync run` from the first delivery to the last acknowledgement, and those of its servers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct EndToEnd {
    pub(crate) took: Took,
    pub(crate) peak_megabytes: f64,
    pub(crate) nats_cpu_secs: f64,
    pub(crate) engine_cpu_secs: f64,
}

/// Lets `mpsync run` ingest the whole stream into an empty table.
pub(crate) async fn end_to_end(
    hot: &Tier,
    dataset: &Dataset,
    nats: &Nats,
    engine: &Engine,
    jetstream: &jetstream::Context,
    count: u64,
) -> Result<EndToEnd> {
    empty(hot, dataset).await?;
    let name = format!("mpsync-{}", dataset.name);
    let stream = jetstream.get_stream(STREAM).await.map_err(Error::nats)?;
    // It may not be there.
    let _ = stream.delete_consumer(&name).await;
    let servers_before = (nats.process.cpu_secs(), engine.process.cpu_secs());
    let child = mpsync()
        .args(["run", "--log", "warn", "--dataset", dataset.name.as_str()])
        .env("MPSYNC__NATS__URL", &nats.url)
        .env("MPSYNC__HOT_STORAGE__CLICKHOUSE_HTTP_PORT", &engine.port)
        .stdout(std::process::Stdio::null())
        .spawn()
        .context(|| "starting mpsync")?;
    let mut daemon = Process(child);
    let spawned = Instant::now();
    let mut first = None;
    loop {
        let info = stream.consumer_info(&name).await.ok();
        let (delivered, floor) = info.map_or((0, 0), |info| {
            (
                info.delivered.stream_sequence,
                info.ack_floor.stream_sequence,
            )
        });
        if delivered > 0 {
            first.get_or_insert_with(Instant::now);
        }
        if floor >= count {
            break;
        }
        if spawned.elapsed() > PATIENCE || daemon.0.try_wait()?.is_some() {
            return Err(Error::nats(format!(
                "mpsync did not ingest everything: {floor} of {count}"
            )));
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    let report = EndToEnd {
        took: Took {
            secs: first.unwrap_or(spawned).elapsed().as_secs_f64(),
            cpu_secs: daemon.cpu_secs(),
        },
        peak_megabytes: daemon.peak_megabytes(),
        nats_cpu_secs: nats.process.cpu_secs() - servers_before.0,
        engine_cpu_secs: engine.process.cpu_secs() - servers_before.1,
    };
    daemon.terminate()?;
    let sql = format!("SELECT count() FROM {}", hot.table(&dataset.table));
    let rows = hot
        .query(&sql)
        .fetch_one::<u64>()
        .await
        .map_err(|e| hot.error(e))?;
    if rows != count {
        return Err(Error::malformed(format!("{rows} rows of {count} messages")));
    }
    Ok(report)
}
