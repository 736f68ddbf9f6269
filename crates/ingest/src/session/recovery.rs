//! What was done is asked of the data: which positions hot holds, and whether the stream is still the one they came from.

use std::collections::BTreeMap;

use async_nats::jetstream;
use roaring::RoaringTreemap;

use crate::session::epoch::{EpochHistory, SequenceCheck, check_sequence};
use crate::source::stream::{StreamFacts, message_nanos};
use mpsync_clickhouse::{Tier, ident};
use mpsync_core::dataset::{
    ColumnSource, Dataset, EPOCH_COLUMN, Epoch, Position, PositionSet, SEQ_COLUMN,
};
use mpsync_core::error::{Error, Result};

/// How far below the floor the highest held row is looked for at first; then everywhere.
const NEAR_SEQUENCES: u64 = 1_000_000;

/// Asks hot and its sealed tables about positions.
#[derive(Debug, Clone)]
pub(crate) struct HeldPositions {
    tier: Tier,
    table: String,
    stored_at_column: String,
}

/// A held row, as far as recovery is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clickhouse::Row, serde::Deserialize)]
struct HeldRow {
    seq: u64,
    stored_at_nanos: i64,
}

impl HeldPositions {
    /// Of a dataset's table.
    pub(crate) fn new(tier: &Tier, dataset: &Dataset) -> Result<Self> {
        let find = |wanted: &ColumnSource| {
            dataset
                .columns
                .iter()
                .find(|(_, source)| source == wanted)
                .map(|(name, _)| name.clone())
        };
        let lacking = |what: &str| {
            Error::config(format!(
                "dataset {} has no column for {what}; without it nobody can tell which rows have landed",
                dataset.name
            ))
        };
        for (column, source) in [
            (EPOCH_COLUMN, ColumnSource::Epoch),
            (SEQ_COLUMN, ColumnSource::Sequence),
        ] {
            if find(&source).as_deref() != Some(column) {
                return Err(lacking(&format!("the position (`{column}`)")));
            }
        }
        Ok(Self {
            tier: tier.clone(),
            table: dataset.table.clone(),
            stored_at_column: find(&ColumnSource::StoredAt)
                .ok_or_else(|| lacking("the time at which the message was stored"))?,
        })
    }

    /// The table and its sealed ones. In this order: a partition moves from the table into a sealed one, so that a row
    /// that was missed in the table is found afterwards.
    async fn tables(&self) -> Result<Vec<String>> {
        self.tier
            .tables_with_prefix(&format!("{}_sealed_", self.table))
            .await
    }

    /// Which positions of an epoch are held whose sequence lies above `after`, up to and with `upto`.
    ///
    /// Memory: a compressed bitmap, filled from a stream of numbers.
    pub(crate) async fn held(&self, epoch: Epoch, after: u64, upto: u64) -> Result<PositionSet> {
        let mut held = PositionSet::new();
        self.add_held(&self.table, epoch, after, upto, &mut held)
            .await?;
        for table in self.tables().await? {
            self.add_held(&table, epoch, after, upto, &mut held).await?;
        }
        Ok(held)
    }

    async fn add_held(
        &self,
        table: &str,
        epoch: Epoch,
        after: u64,
        upto: u64,
        held: &mut PositionSet,
    ) -> Result<()> {
        let failed = |e| {
            self.tier
                .error(e)
                .context(format!("asking which positions {table} holds"))
        };
        let sql = format!(
            "SELECT {seq} FROM {} WHERE {} = {{epoch:UInt64}} AND {seq} > {{after:UInt64}} AND {seq} <= {{upto:UInt64}}",
            self.tier.table(table),
            ident(EPOCH_COLUMN),
            seq = ident(SEQ_COLUMN)
        );
        let mut rows = self
            .tier
            .query(&sql)
            .param("epoch", epoch.0)
            .param("after", after)
            .param("upto", upto)
            .fetch::<u64>()
            .map_err(failed)?;
        while let Some(seq) = rows.next().await.map_err(failed)? {
            held.insert(Position { epoch, seq });
        }
        Ok(())
    }

    /// The held row with the highest sequence in `(after, upto]`.
    async fn highest(&self, epoch: Epoch, after: u64, upto: u64) -> Result<Option<HeldRow>> {
        let mut tables = vec![self.table.clone()];
        tables.extend(self.tables().await?);
        let mut highest: Option<HeldRow> = None;
        for table in tables {
            let found = self.highest_in(&table, epoch, after, upto).await?;
            highest = highest.into_iter().chain(found).max_by_key(|row| row.seq);
        }
        Ok(highest)
    }

    async fn highest_in(
        &self,
        table: &str,
        epoch: Epoch,
        after: u64,
        upto: u64,
    ) -> Result<Option<HeldRow>> {
        let sql = format!(
            "SELECT max({seq}) AS seq, toUnixTimestamp64Nano(argMax(toDateTime64({stored}, 9), {seq})) AS stored_at_nanos \
             FROM {} WHERE {} = {{epoch:UInt64}} AND {seq} > {{after:UInt64}} AND {seq} <= {{upto:UInt64}} \
             HAVING count() > 0",
            self.tier.table(table),
            ident(EPOCH_COLUMN),
            seq = ident(SEQ_COLUMN),
            stored = ident(&self.stored_at_column),
        );
        self.tier
            .query(&sql)
            .param("epoch", epoch.0)
            .param("after", after)
            .param("upto", upto)
            .fetch_optional::<HeldRow>()
            .await
            .map_err(|e| {
                self.tier.error(e).context(format!(
                    "asking for the highest position that {table} holds"
                ))
            })
    }

    /// The epochs of a stream that may be held, oldest first, each with its lowest sequence. That of its creation is always
    /// among them, so that the rows of a stream which was never rewound, most of the table, need not be read.
    async fn epochs(&self, created: Epoch) -> Result<BTreeMap<Epoch, u64>> {
        let mut tables = vec![self.table.clone()];
        tables.extend(self.tables().await?);
        let mut epochs = BTreeMap::from([(created, 1)]);
        for table in tables {
            let sql = format!(
                "SELECT {epoch}, min({}) FROM {} WHERE {epoch} > {{created:UInt64}} GROUP BY {epoch}",
                ident(SEQ_COLUMN),
                self.tier.table(&table),
                epoch = ident(EPOCH_COLUMN),
            );
            let found = self
                .tier
                .query(&sql)
                .param("created", created.0)
                .fetch_all::<(u64, u64)>()
                .await
                .map_err(|e| {
                    self.tier
                        .error(e)
                        .context(format!("asking which epochs {table} holds"))
                })?;
            for (epoch, from) in found {
                let lowest = epochs.entry(Epoch(epoch)).or_insert(from);
                *lowest = from.min(*lowest);
            }
        }
        Ok(epochs)
    }
}

/// What was found out about the stream's epochs.
#[derive(Debug)]
pub(crate) struct Epochs {
    /// The history to go by.
    pub(crate) history: EpochHistory,
    /// The first sequence that was issued again, where the stream was found to be rewound just now.
    pub(crate) rewound_from: Option<u64>,
    /// The highest sequence of the current epoch that is held.
    pub(crate) highest: Option<u64>,
}

/// What the tables hold of a stream, asked while a life begins.
pub(crate) struct Recovery<'a> {
    pub(crate) held_positions: &'a HeldPositions,
    pub(crate) stream: &'a jetstream::stream::Stream,
    pub(crate) facts: &'a StreamFacts,
}

impl Recovery<'_> {
    /// Finds out which epochs the stream's sequences belong to, and whether it was rewound since.
    ///
    /// `remembered` is what the durable consumer's metadata says. Where it says nothing, or less than the tables (a
    /// consumer that was made anew, or that the server lost), these are believed. `now_nanos` becomes the epoch of a
    /// rewind that is found.
    pub(crate) async fn epochs(
        &self,
        remembered: Option<EpochHistory>,
        floor: u64,
        now_nanos: u64,
    ) -> Result<Epochs> {
        let mut history = remembered.unwrap_or_else(|| EpochHistory::new(self.facts.created));
        let held = self.held_positions.epochs(self.facts.created).await?;
        if let Some((&latest, &lowest)) = held.last_key_value()
            && latest > history.current()
        {
            // It began above what older epochs still have in the stream.
            let from = self.last_same(held.range(..latest)).await?;
            history.begin(from.map_or(lowest, |same| same + 1), latest);
        }
        let epoch = history.current();
        let top = self.top(&history, floor).await?;
        // A life that slept here may find rows that a newer one landed meanwhile, of messages that came after the facts were
        // asked: only what the stream says after the row was seen can testify against the row.
        let facts = asked_again(self.stream, self.facts).await?;
        let later = Recovery {
            facts: &facts,
            ..*self
        };
        let rewound = match top {
            Some(top) => later.check_row(top).await?.is_rewind(),
            None => false,
        };
        if !rewound {
            return Ok(Epochs {
                history,
                rewound_from: None,
                highest: top.map(|row| row.seq),
            });
        }
        // A server that lost more this time than the last time issues sequences of older epochs again too.
        let from = later.last_same(held.iter()).await?.unwrap_or(0) + 1;
        history.begin(from, Epoch(now_nanos.max(epoch.0 + 1)));
        Ok(Epochs {
            history,
            rewound_from: Some(from),
            highest: None,
        })
    }

    /// Which of the stream's messages above the floor are held, whichever epoch they landed in: those of an earlier epoch
    /// are messages of the stream up to the last of them that it still has.
    pub(crate) async fn held_above(
        &self,
        history: &EpochHistory,
        floor: u64,
    ) -> Result<RoaringTreemap> {
        let mut held = RoaringTreemap::new();
        for epoch in self
            .held_positions
            .epochs(self.facts.created)
            .await?
            .into_keys()
        {
            let upto = match epoch == history.current() {
                true => u64::MAX,
                false => self.last_same_of(epoch).await?.unwrap_or(0),
            };
            if upto > floor {
                for (_, seqs) in self.held_positions.held(epoch, floor, upto).await?.epochs() {
                    held |= seqs;
                }
            }
        }
        Ok(held)
    }

    /// The held row of the current epoch with the highest sequence: near the floor, where it most likely is, then
    /// everywhere.
    async fn top(&self, history: &EpochHistory, floor: u64) -> Result<Option<HeldRow>> {
        let (epoch, after) = (history.current(), history.current_from() - 1);
        let near = floor
            .min(self.facts.last_seq)
            .saturating_sub(NEAR_SEQUENCES)
            .max(after);
        match self.held_positions.highest(epoch, near, u64::MAX).await? {
            None if near > after => self.held_positions.highest(epoch, after, near).await,
            found => Ok(found),
        }
    }

    async fn check_row(&self, row: HeldRow) -> Result<SequenceCheck> {
        let last_seq = self.facts.last_seq;
        let message = match row.seq > last_seq {
            true => None,
            false => message_nanos(self.stream, row.seq).await?,
        };
        Ok(check_sequence(
            row.seq,
            row.stored_at_nanos,
            last_seq,
            message,
        ))
    }

    /// The highest sequence at which one of these epochs has a row whose message the stream still has.
    async fn last_same(&self, epochs: impl Iterator<Item = (&Epoch, &u64)>) -> Result<Option<u64>> {
        let mut last = None;
        for (&epoch, _) in epochs {
            last = last.max(self.last_same_of(epoch).await?);
        }
        Ok(last)
    }

    /// The same of one epoch; by bisection, since what a server loses is a tail. A message that the stream dropped by its
    /// limits counts as the same.
    async fn last_same_of(&self, epoch: Epoch) -> Result<Option<u64>> {
        let (mut low, mut high, mut last) = (0, self.facts.last_seq, None);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            match self.held_positions.highest(epoch, low, middle).await? {
                Some(row) if self.check_row(row).await?.is_rewind() => high = row.seq - 1,
                found => {
                    last = found.map(|row| row.seq).or(last);
                    low = middle;
                }
            }
        }
        Ok(last)
    }
}

/// What the stream says now; an error that passes where it was made anew meanwhile.
async fn asked_again(
    stream: &jetstream::stream::Stream,
    before: &StreamFacts,
) -> Result<StreamFacts> {
    let facts = crate::source::stream::facts(stream).await?;
    if facts.created == before.created {
        Ok(facts)
    } else {
        Err(Error::nats("the stream was made anew while it was asked"))
    }
}
