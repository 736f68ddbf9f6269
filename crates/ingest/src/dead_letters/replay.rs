//! Replaying dead letters: each into its original position, exactly once.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::letter::DeadLetter;
use super::queue::DeadLetterQueue;
use super::store::DeadLetterStore;
use crate::decode::{Decoder, MessageMeta, Reason};
use crate::session::end::SessionEnd;
use crate::session::epoch::EpochHistory;
use crate::session::recovery::HeldPositions;
use crate::source::durable::Durable;
use crate::source::stream::facts;
use crate::stats::IngestStats;
use crate::writer::insert_gate::InsertGate;
use crate::writer::sink::{REFUSED_LABEL, Sink};
use mpsync_clickhouse::{TableSchema, Tier, check_columns};
use mpsync_config::Config;
use mpsync_core::dataset::{Dataset, Epoch, PositionSet};
use mpsync_core::error::{Cause, Context as _, Error, Result};

/// What became of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is a row now, and no letter any more.
    Landed,
    /// Its position was held already; it is no letter any more.
    Held,
    /// It still cannot be a row; the letter stays, with the reason of now.
    Remains,
    /// Ingest has not acknowledged its original yet and may deliver it again; the letter stays as it is.
    Unsettled,
}

/// A letter that was replayed.
#[derive(Debug, Clone, Serialize)]
pub struct Replayed {
    /// Which one, see [`Letter::id`].
    pub dead_letter: String,
    /// What became of it.
    pub fate: Fate,
    /// Why it is no row, where it is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The same for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Which of these positions a tier holds. A tier without the table holds none; one that does not answer is an error.
pub async fn held_in(tier: &Tier, dataset: &Dataset, wanted: &PositionSet) -> Result<PositionSet> {
    if tier.describe(&dataset.table).await?.is_none() {
        return Ok(PositionSet::new());
    }
    held(&HeldPositions::new(tier, dataset)?, wanted).await
}

async fn held(held_positions: &HeldPositions, wanted: &PositionSet) -> Result<PositionSet> {
    let mut all = PositionSet::new();
    for (epoch, seqs) in wanted.epochs() {
        if let (Some(lowest), Some(highest)) = (seqs.min(), seqs.max()) {
            all.extend(
                &held_positions
                    .held(epoch, lowest.saturating_sub(1), highest)
                    .await?,
            );
        }
    }
    Ok(all)
}

/// A replay of the letters of one dataset, with the dataset and the table of now: [`consider`](Self::consider) all of them,
/// [`ask`](Self::ask) once what is held, [`land`](Self::land) them, [`close`](Self::close).
///
/// Exactly once: the rows go through a door of the replay's own, which every life that begins and every later replay
/// shuts before it asks what is held. Behind that door it is asked what ingest may still deliver, which is left alone, then
/// hot and its sealed tables, then archive and cold: rows move in this direction only, so that one which was missed here
/// is found there. A letter is deleted after its row has landed; ended in between, the next replay finds the row.
///
/// Its methods are not cancel-safe, but harmless: a door that is left behind is shut by the next life or replay.
pub struct DeadLetterReplay<'a> {
    config: &'a Config,
    hot: &'a Tier,
    dataset: &'a Dataset,
    store: &'a DeadLetterStore,
    live: TableSchema,
    gate: InsertGate,
    /// What was asked of each stream's consumers.
    streams: BTreeMap<String, Vec<ConsumerFloor>>,
    /// The letters that may become rows.
    wanted: PositionSet,
    /// Those of them that are rows.
    known: PositionSet,
}

/// What a consumer has acknowledged of a stream.
struct ConsumerFloor {
    durable: Durable,
    history: EpochHistory,
    floor: u64,
}

impl<'a> DeadLetterReplay<'a> {
    /// Opens the replay's door.
    pub async fn open(
        config: &'a Config,
        hot: &'a Tier,
        dataset: &'a Dataset,
        store: &'a DeadLetterStore,
    ) -> Result<Self> {
        let context = || format!("replaying dead letters of {}", dataset.name);
        let live = hot
            .describe_existing(&dataset.table)
            .await
            .context(context)?;
        check_columns(dataset, &live).context(context)?;
        Ok(Self {
            config,
            hot,
            dataset,
            store,
            live,
            gate: InsertGate::open_for_replay(hot, dataset)
                .await
                .context(context)?,
            streams: BTreeMap::new(),
            wanted: PositionSet::new(),
            known: PositionSet::new(),
        })
    }

    /// Takes up letters, and returns those whose originals ingest may still deliver: they are left as they are.
    pub async fn consider(&mut self, dead_letters: &[DeadLetter]) -> Result<Vec<Replayed>> {
        let mut unsettled = Vec::new();
        for dead_letter in dead_letters {
            // Asked behind the door: a life that begins later shuts it.
            if !self.streams.contains_key(&dead_letter.stream) {
                let asked = self.consumers(&dead_letter.stream).await?;
                self.streams.insert(dead_letter.stream.clone(), asked);
            }
            if self.may_come(dead_letter) {
                unsettled.push(replayed(
                    dead_letter,
                    Fate::Unsettled,
                    &dead_letter.reason,
                    "ingest has not acknowledged the original yet: let `mpsync run --drain` end, then replay again",
                ));
            } else {
                self.wanted.insert(dead_letter.position);
            }
        }
        Ok(unsettled)
    }

    /// Asks hot, and then `elsewhere` (archive and cold), which of the considered letters are rows.
    pub async fn ask(
        &mut self,
        elsewhere: impl AsyncFnOnce(&PositionSet) -> Result<PositionSet>,
    ) -> Result<()> {
        self.known = held(&HeldPositions::new(self.hot, self.dataset)?, &self.wanted).await?;
        let known = &self.known;
        let rest: PositionSet = self.wanted.iter().filter(|p| !known.contains(*p)).collect();
        if !rest.is_empty() {
            self.known.extend(&elsewhere(&rest).await?);
        }
        Ok(())
    }

    /// Lands letters that were considered before it was asked; others are passed over.
    pub async fn land(&self, dead_letters: Vec<DeadLetter>) -> Result<Vec<Replayed>> {
        let mut done = Vec::new();
        let mut rest = Vec::new();
        for dead_letter in dead_letters {
            if self.known.contains(dead_letter.position) {
                self.store.discard(&dead_letter).await?;
                done.push(replayed(&dead_letter, Fate::Held, "", ""));
            } else if self.wanted.contains(dead_letter.position) {
                rest.push(dead_letter);
            }
        }
        self.decode_and_land(rest, &mut done).await?;
        Ok(done)
    }

    /// Takes the door away.
    pub async fn close(self) -> Result<()> {
        self.gate.close().await
    }

    /// Whether ingest may deliver the original again.
    fn may_come(&self, dead_letter: &DeadLetter) -> bool {
        let position = dead_letter.position;
        let consumers = self.streams.get(&dead_letter.stream).into_iter().flatten();
        consumers
            .filter(|c| c.durable.takes(&dead_letter.subject))
            .any(|c| c.history.position(position.seq) == position && position.seq > c.floor)
    }

    /// How far each of the dataset's consumers has come in a stream.
    async fn consumers(&self, name: &str) -> Result<Vec<ConsumerFloor>> {
        let context = || format!("asking how far ingest has come in stream {name}");
        let Some(stream) = mpsync_nats::find_stream(&self.store.jetstream, name)
            .await
            .context(context)?
        else {
            return Ok(Vec::new());
        };
        let created: Epoch = facts(&stream).await.context(context)?.created;
        let mut all = Vec::new();
        for mut durable in Durable::of_dataset(&stream, self.dataset)
            .await
            .context(context)?
        {
            let history = durable
                .remembered(created)
                .context(context)?
                .unwrap_or_else(|| EpochHistory::new(created));
            all.push(ConsumerFloor {
                floor: durable.consumer_position().await.context(context)?.floor,
                durable,
                history,
            });
        }
        Ok(all)
    }

    /// Decodes letters, lands those that are rows, and writes new reasons into the others.
    async fn decode_and_land(
        &self,
        dead_letters: Vec<DeadLetter>,
        done: &mut Vec<Replayed>,
    ) -> Result<()> {
        let mut decoder = Decoder::new(self.dataset, &self.live)?;
        let mut rows: Vec<DeadLetter> = Vec::new();
        for dead_letter in dead_letters {
            let meta = MessageMeta {
                subject: &dead_letter.subject,
                position: dead_letter.position,
                stored_at_nanos: dead_letter.stored_at_nanos,
            };
            let mut appended = decoder.append(&meta, &dead_letter.body);
            if matches!(&appended, Err(e) if e.reason == Reason::BatchFull) {
                self.insert(&mut decoder, &mut rows, done).await?;
                appended = decoder.append(&meta, &dead_letter.body);
            }
            match appended {
                Ok(_) => rows.push(dead_letter),
                Err(e) => {
                    let detail = e.to_string();
                    self.update_reason(&dead_letter, e.reason.label(), &detail, done)
                        .await?;
                }
            }
        }
        self.insert(&mut decoder, &mut rows, done).await
    }

    /// Lands what is buffered, then deletes its letters.
    async fn insert(
        &self,
        decoder: &mut Decoder,
        dead_letters: &mut Vec<DeadLetter>,
        done: &mut Vec<Replayed>,
    ) -> Result<()> {
        if dead_letters.is_empty() {
            return Ok(());
        }
        let batch = decoder.finish()?;
        let refused = match self.sink().await?.insert(&batch).await {
            Ok(refused) => refused,
            Err(SessionEnd::Failed(e)) => return Err(e),
            Err(SessionEnd::Uncertain(uncertainty)) => {
                return Err(Error::new(Cause::Transport(uncertainty.to_string())).with_hint(
                    "replay again: rows that have landed are found, and only their letters are deleted",
                ));
            }
        };
        let refused: BTreeMap<_, _> = refused.into_iter().map(|r| (r.position, r.text)).collect();
        for dead_letter in dead_letters.drain(..) {
            if let Some(text) = refused.get(&dead_letter.position) {
                self.update_reason(&dead_letter, REFUSED_LABEL, text, done)
                    .await?;
            } else {
                self.store.discard(&dead_letter).await?;
                done.push(replayed(&dead_letter, Fate::Landed, "", ""));
            }
        }
        Ok(())
    }

    /// Leaves a letter where it is, with the reason of now.
    async fn update_reason(
        &self,
        dead_letter: &DeadLetter,
        reason: &str,
        detail: &str,
        done: &mut Vec<Replayed>,
    ) -> Result<()> {
        // What has no bytes any more cannot be judged anew: the old reason says more.
        let judged = !dead_letter.body.is_empty();
        if judged && (dead_letter.reason != reason || dead_letter.detail != detail) {
            self.store.rewrite(dead_letter, reason, detail).await?;
        }
        let (reason, detail) = match judged {
            true => (reason, detail),
            false => (dead_letter.reason.as_str(), dead_letter.detail.as_str()),
        };
        done.push(replayed(dead_letter, Fate::Remains, reason, detail));
        Ok(())
    }

    /// The sink of ingest, behind the replay's door: it splits by partitions, retries what can pass, and names the rows that
    /// are refused.
    async fn sink(&self) -> Result<Sink> {
        let name = &self.config.ingest.dead_letter_stream;
        let stats = IngestStats::new([self.dataset.name.as_str()]);
        Ok(Sink {
            tier: self.hot.clone(),
            dataset: Arc::new(self.dataset.clone()),
            live: self.live.clone(),
            gate: self.gate.clone(),
            held_positions: HeldPositions::new(self.hot, self.dataset)?,
            dead_letters: DeadLetterQueue::open(&self.store.jetstream, self.config).await?,
            stream: mpsync_nats::find_stream(&self.store.jetstream, name)
                .await?
                .ok_or_else(|| Error::nats(format!("stream {name} is gone")))?,
            client: self.store.client.clone(),
            stats: stats.dataset(self.dataset.name.as_str()).ok_or_else(|| {
                Error::config(format!(
                    "there are no counters for dataset {}",
                    self.dataset.name
                ))
            })?,
        })
    }
}

fn replayed(dead_letter: &DeadLetter, fate: Fate, reason: &str, detail: &str) -> Replayed {
    Replayed {
        dead_letter: dead_letter.id(),
        fate,
        reason: reason.to_owned(),
        detail: detail.to_owned(),
    }
}
