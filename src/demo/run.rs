//! Runs the demo, step by step.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::account::{self, Account, MessageCounter};
use crate::servers::{EngineServer, NatsServer};
use mpsync_archive::ArchivePlace;
use mpsync_archive::{Archive, LeaseWatcher};
use mpsync_clickhouse::Tier;
use mpsync_config::Config;
use mpsync_core::dataset::{Dataset, TierRole};
use mpsync_core::error::{Cause, Context as _, Error, Result};
use mpsync_core::fingerprint::Fingerprint;
use mpsync_core::progress::Progress;
use mpsync_generate::{Message, PublishOptions};
use mpsync_transfer::{CleanupPolicy, Goal, TransferContext};

/// The generated messages spread over three hours: three windows.
const GENERATED_SPAN_MS: u32 = 3 * 3_600_000;

/// The options of a demo.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// The working folder.
    pub folder: PathBuf,
    /// The folder of the real messages, `*.jsonl`.
    pub messages: PathBuf,
    /// The number of messages to generate.
    pub generate: u64,
    /// The seed of the generated messages.
    pub seed: u64,
}

/// The servers and the clients of one demo.
#[derive(Debug)]
pub struct Demo {
    options: DemoOptions,
    datasets: Vec<Dataset>,
    config: Config,
    nats: NatsServer,
    engine: EngineServer,
    hot: Tier,
    cold: Tier,
}

/// The contents of hot before the transfer began, by dataset.
#[derive(Debug, Serialize, Deserialize)]
struct HotBefore {
    datasets: BTreeMap<String, HotFacts>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct HotFacts {
    fingerprint: Fingerprint,
    uncompressed_bytes: u64,
}

/// The demo's result.
#[derive(Debug, Serialize)]
pub struct DemoReport {
    datasets: Vec<Account>,
    /// Ids that an earlier message had: JetStream's duplicate window rejected them.
    repeated_ids: Vec<String>,
    seconds: f64,
}

impl DemoReport {
    /// Returns the report as a table.
    #[must_use]
    pub fn table(&self) -> String {
        let repeats = match self.repeated_ids.len() {
            0 => String::new(),
            n => format!(
                "\n{n} repeats: messages with the id of an earlier one, rejected by JetStream's duplicate window \
                 (snapshots with the update id of a delta): {}, …",
                self.repeated_ids
                    .iter()
                    .take(3)
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        };
        format!(
            "{}{repeats}\n{:.1} s in all",
            account::table(&self.datasets),
            self.seconds
        )
    }

    /// Checks that every message is accounted for; an integrity error lists the differences.
    pub fn audit(&self) -> Result<()> {
        account::audit(&self.datasets)
    }
}

impl Demo {
    /// Starts the servers below the folder. `program` is the mpsync binary, which serves the engine.
    pub async fn start(
        program: &Path,
        options: DemoOptions,
        datasets: Vec<Dataset>,
        mut config: Config,
    ) -> Result<Self> {
        let folder = &options.folder;
        std::fs::create_dir_all(folder).context(|| format!("creating {}", folder.display()))?;
        let (nats_folder, engine_folder) = (folder.join("nats"), folder.join("engine"));
        let (nats, engine) = tokio::try_join!(
            NatsServer::start(&nats_folder),
            EngineServer::start(program, &engine_folder)
        )?;
        config.nats.url.clone_from(&nats.url);
        // Longer than any pause between two starts of one demo, so that repeats stay rejected.
        config.nats.duplicate_window = Duration::from_hours(24 * 7);
        engine.serve(&mut config);
        config.archive.place = ArchivePlace::Folder(folder.join("archive"));
        let hot = Tier::new(TierRole::Hot, &config.hot);
        let cold = Tier::new(TierRole::Cold, &config.cold);
        tracing::info!(nats = nats.url, clickhouse = engine.url, folder = %folder.display(), "servers started");
        Ok(Self {
            options,
            datasets,
            config,
            nats,
            engine,
            hot,
            cold,
        })
    }

    /// Runs the whole pipeline. Run again after any interruption it ends with the same table.
    pub async fn run(&self, shutdown: &CancellationToken) -> Result<DemoReport> {
        let started = Instant::now();
        let selected: Vec<_> = self.datasets.iter().collect();
        self.hot.apply_schema(&selected).await?;
        self.cold.apply_schema(&selected).await?;
        let counter = self.publish(shutdown).await?;
        self.ingest(shutdown).await?;
        let before = self.hot_before().await?;
        let archive = Archive::open(&self.config.archive).await?;
        let mut report = DemoReport {
            datasets: Vec::new(),
            repeated_ids: Vec::new(),
            seconds: 0.0,
        };
        for dataset in &self.datasets {
            let transfer = Instant::now();
            self.transfer(&archive, dataset, shutdown).await?;
            let published = counter.of(dataset);
            let facts = before
                .datasets
                .get(dataset.name.as_str())
                .copied()
                .ok_or_else(|| {
                    Error::malformed(format!(
                        "{} has no entry for {}",
                        self.facts_file().display(),
                        dataset.name
                    ))
                })?;
            report.datasets.push(
                self.account(&archive, dataset, &published, facts, transfer.elapsed())
                    .await?,
            );
            report.repeated_ids.extend(published.repeats);
        }
        report.seconds = started.elapsed().as_secs_f64();
        Ok(report)
    }

    /// Publishes the real messages, then the generated ones, and counts both.
    async fn publish(&self, shutdown: &CancellationToken) -> Result<MessageCounter> {
        let client = mpsync_nats::connect(&self.config.nats).await?;
        let subjects: Vec<String> = self
            .datasets
            .iter()
            .flat_map(|d| d.subjects.clone())
            .collect();
        let jetstream = async_nats::jetstream::new(client.clone());
        let stream = mpsync_nats::ensure_stream(&jetstream, &self.config.nats, &subjects).await?;
        let mut counter = MessageCounter::default();
        let messages = self.messages()?.inspect(|message| {
            if let Ok(message) = message {
                counter.count(&message.subject, &message.msg_id);
            }
        });
        let options = PublishOptions {
            after_sequence: stream.cached_info().state.last_sequence,
            shutdown: shutdown.clone(),
            ..PublishOptions::default()
        };
        let report = mpsync_generate::publish(&client, messages, &options).await?;
        tracing::info!(
            messages = report.total.published,
            repeats = report.total.duplicates,
            duration = report.seconds,
            "published"
        );
        Ok(counter)
    }

    /// Returns the real messages, file by file, then the generated ones.
    fn messages(&self) -> Result<impl Iterator<Item = Result<Message>> + Send + use<>> {
        let folder = &self.options.messages;
        let context = || format!("reading the real messages in {}", folder.display());
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).context(context)? {
            files.push(entry.context(context)?.path());
        }
        files.retain(|path| path.extension().is_some_and(|e| e == "jsonl"));
        files.sort();
        let real = files
            .iter()
            .map(|path| mpsync_generate::read_messages(path))
            .collect::<Result<Vec<_>>>()?;
        // A fixed event time, so that a demo that is started again generates the same messages.
        let options = mpsync_generate::GeneratorOptions {
            seed: self.options.seed,
            count: self.options.generate,
            span_ms: GENERATED_SPAN_MS,
            ..mpsync_generate::GeneratorOptions::default()
        };
        Ok(real
            .into_iter()
            .flatten()
            .chain(mpsync_generate::Generator::new(options)?.map(Ok)))
    }

    /// Ingests until every message of the stream is a row or a dead letter.
    async fn ingest(&self, shutdown: &CancellationToken) -> Result<()> {
        let started = Instant::now();
        let datasets: Vec<_> = self.datasets.iter().collect();
        let options = mpsync_ingest::IngestOptions {
            drain: true,
            ..mpsync_ingest::IngestOptions::default()
        };
        let report = mpsync_ingest::run(
            &self.config,
            &datasets,
            self.hot.clone(),
            shutdown.clone(),
            options,
        )
        .await?;
        if shutdown.is_cancelled() {
            return Err(Error::new(Cause::Interrupted));
        }
        tracing::info!(rows = report.rows(), dead_letters = report.dead_letters(), duration = ?started.elapsed(), "ingested");
        Ok(())
    }

    /// Transfers a dataset and deletes proven windows from hot.
    async fn transfer(
        &self,
        archive: &Archive,
        dataset: &Dataset,
        shutdown: &CancellationToken,
    ) -> Result<()> {
        let context = TransferContext {
            hot: self.hot.clone(),
            cold: self.cold.clone(),
            archive: archive.clone(),
            datasets: vec![dataset.clone()],
            progress: Progress::default(),
            shutdown: shutdown.clone(),
            watcher: LeaseWatcher::default(),
        };
        let mut request = mpsync_transfer::TransferRequest::new(Goal::Sync, &self.config.sync);
        request.cleanup = CleanupPolicy::Now;
        let mut report = mpsync_transfer::run(&context, &request).await;
        match report.take_failure() {
            None => Ok(()),
            Some(e) => Err(e),
        }
    }

    fn facts_file(&self) -> PathBuf {
        self.options.folder.join("hot-before.json")
    }

    /// Returns the contents of hot before the first cleanup: stored by the first run, read back by later runs.
    async fn hot_before(&self) -> Result<HotBefore> {
        let path = self.facts_file();
        let context = || format!("reading {}", path.display());
        match std::fs::read(&path) {
            Ok(json) => {
                return serde_json::from_slice(&json)
                    .map_err(|e| Error::malformed(e.to_string()).context(context()));
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::from(e).context(context())),
        }
        let mut facts = HotBefore {
            datasets: BTreeMap::new(),
        };
        for dataset in &self.datasets {
            let fingerprint = account::table_fingerprint(&self.hot, dataset).await?;
            let uncompressed_bytes = account::uncompressed_bytes(&self.hot, dataset).await?;
            facts.datasets.insert(
                dataset.name.to_string(),
                HotFacts {
                    fingerprint,
                    uncompressed_bytes,
                },
            );
        }
        let mut file = tempfile::NamedTempFile::new_in(&self.options.folder)?;
        serde_json::to_writer_pretty(&mut file, &facts)
            .map_err(|e| Error::from(std::io::Error::from(e)))?;
        file.as_file().sync_all()?;
        file.persist(&path)
            .map_err(|e| Error::from(e.error).context(format!("writing {}", path.display())))?;
        Ok(facts)
    }

    /// Returns the account of a dataset, computed from the data.
    async fn account(
        &self,
        archive: &Archive,
        dataset: &Dataset,
        published: &account::PublishedMessages,
        before: HotFacts,
        took: Duration,
    ) -> Result<Account> {
        let archived = account::archived(archive, dataset).await?;
        let cold = account::table_fingerprint(&self.cold, dataset).await?;
        let hot = account::table_fingerprint(&self.hot, dataset).await?;
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        let ratio = before.uncompressed_bytes as f64 / archived.bytes.max(1) as f64;
        Ok(Account {
            dataset: dataset.name.to_string(),
            published: published.messages,
            repeats: published.repeats.len() as u64,
            dead_letters: self.dead_letters(dataset).await?,
            rows_hot_before: before.fingerprint.rows,
            chunks: archived.chunks,
            archive_bytes: archived.bytes,
            ratio,
            rows_cold: cold.rows,
            fingerprints_equal: before.fingerprint == archived.fingerprint
                && archived.fingerprint == cold,
            rows_hot_after: hot.rows,
            seconds: took.as_secs_f64(),
        })
    }

    async fn dead_letters(&self, dataset: &Dataset) -> Result<u64> {
        let name = &self.config.ingest.dead_letter_stream;
        let context = || format!("counting the dead letters of {}", dataset.name);
        let jetstream = async_nats::jetstream::new(mpsync_nats::connect(&self.config.nats).await?);
        let stream = jetstream
            .get_stream(name)
            .await
            .map_err(Error::nats)
            .context(context)?;
        let subjects = format!("{}.{}.>", name.to_lowercase(), dataset.name);
        let mut counts = stream
            .info_with_subjects(subjects)
            .await
            .map_err(Error::nats)
            .context(context)?;
        let mut letters = 0;
        while let Some((_, count)) = counts
            .try_next()
            .await
            .map_err(Error::nats)
            .context(context)?
        {
            letters += count as u64;
        }
        Ok(letters)
    }

    /// Returns the cold tier.
    #[must_use]
    pub fn cold(&self) -> &Tier {
        &self.cold
    }

    /// Returns the report and the addresses of the servers as one JSON document.
    pub fn json(&self, report: &DemoReport) -> Result<String> {
        let document = serde_json::json!({
            "report": report,
            "archive": self.config.archive.place.folder(),
            "nats": self.nats.url,
            "clickhouse": {
                "url": self.engine.url,
                "user": "default",
                "password_file": self.engine.password_file,
                "hot": self.hot.database(),
                "cold": self.cold.database(),
            },
        });
        serde_json::to_string(&document).map_err(|e| Error::malformed(e.to_string()))
    }

    /// Returns instructions for reaching the servers while they run.
    #[must_use]
    pub fn how_to_look(&self) -> String {
        format!(
            "archive     {}\nnats        {}\nclickhouse  {} (user default, password in {})\n\n  curl -s '{}/?user=default' \
             -H \"X-ClickHouse-Key: $(cat {})\" \\\n    --data 'SELECT symbol, count(), min(price), max(price) FROM {}.trades \
             GROUP BY symbol ORDER BY count() DESC LIMIT 10 FORMAT PrettyCompact'\n",
            self.config.archive.place,
            self.nats.url,
            self.engine.url,
            self.engine.password_file.display(),
            self.engine.url,
            self.engine.password_file.display(),
            self.cold.database(),
        )
    }

    /// Stops the servers and waits for their exit.
    pub async fn stop(self) -> Result<()> {
        let (nats, engine) = tokio::join!(self.nats.stop(), self.engine.stop());
        nats.and(engine)
    }
}
