//! What was done is asked of the data: which positions hot holds, and whether the stream is still the one they came from.

use async_nats::jetstream;

use super::epoch::{EpochHistory, Witness, witness};
use super::stream::{Facts, message_nanos};
use crate::clickhouse::{Tier, ident};
use crate::dataset::{
    ColumnSource, Dataset, EPOCH_COLUMN, Epoch, Position, PositionSet, SEQ_COLUMN,
};
use crate::error::{Error, Result};

/// How far below the floor the highest held row is looked for at first; then everywhere.
const NEAR_SEQUENCES: u64 = 1_000_000;

/// Asks hot and its sealed tables about positions.
#[derive(Debug, Clone)]
pub(super) struct Holdings {
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

impl Holdings {
    /// Of a dataset's table.
    pub(super) fn new(tier: &Tier, dataset: &Dataset) -> Result<Self> {
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
    pub(super) async fn held(&self, epoch: Epoch, after: u64, upto: u64) -> Result<PositionSet> {
        let mut held = PositionSet::new();
        self.add_held(&self.table, epoch, after, upto, &mut held)
            .await?;
        for table in self.tables().await? {
            self.add_held(&table, epoch, after, upto, &mut held).await?;
        }
        Ok(held)
    }

    /// Which positions above the floor are held, over the whole history of the stream.
    pub(super) async fn held_above(
        &self,
        history: &EpochHistory,
        floor: u64,
    ) -> Result<PositionSet> {
        let mut held = PositionSet::new();
        for (epoch, after, upto) in history.above(floor) {
            held.extend(&self.held(epoch, after, upto).await?);
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
                .doing(format!("asking which positions {table} holds"))
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
                self.tier.error(e).doing(format!(
                    "asking for the highest position that {table} holds"
                ))
            })
    }

    /// The latest epoch that is held and that begins no earlier than `created`, with its lowest sequence.
    async fn latest_epoch(&self, created: Epoch) -> Result<Option<(Epoch, u64)>> {
        let mut tables = vec![self.table.clone()];
        tables.extend(self.tables().await?);
        let mut latest: Option<(Epoch, u64)> = None;
        for table in tables {
            let sql = format!(
                "SELECT {epoch}, min({}) FROM {} WHERE {epoch} > {{created:UInt64}} \
                 GROUP BY {epoch} ORDER BY {epoch} DESC LIMIT 1",
                ident(SEQ_COLUMN),
                self.tier.table(&table),
                epoch = ident(EPOCH_COLUMN),
            );
            let found = self
                .tier
                .query(&sql)
                .param("created", created.0)
                .fetch_optional::<(u64, u64)>()
                .await
                .map_err(|e| {
                    self.tier
                        .error(e)
                        .doing(format!("asking which epochs {table} holds"))
                })?;
            if let Some((epoch, from)) = found {
                latest = match latest {
                    Some((known, low)) if known.0 == epoch => Some((known, low.min(from))),
                    Some((known, low)) if known.0 > epoch => Some((known, low)),
                    _ => Some((Epoch(epoch), from)),
                };
            }
        }
        Ok(latest)
    }
}

/// What was found out about the stream's epochs.
#[derive(Debug)]
pub(super) struct Epochs {
    /// The history to go by.
    pub(super) history: EpochHistory,
    /// The first sequence that was issued again, where the stream was found to be rewound just now.
    pub(super) rewound_from: Option<u64>,
    /// The highest sequence of the current epoch that is held.
    pub(super) highest: Option<u64>,
}

/// Finds out which epochs the stream's sequences belong to, and whether it was rewound since.
///
/// `remembered` is what the durable consumer's metadata says. Where it says nothing (a consumer that was made anew) the
/// tables are asked. `now_nanos` becomes the epoch of a rewind that is found.
pub(super) async fn epochs(
    holdings: &Holdings,
    stream: &jetstream::stream::Stream,
    facts: &Facts,
    remembered: Option<EpochHistory>,
    floor: u64,
    now_nanos: u64,
) -> Result<Epochs> {
    let mut history = match remembered {
        Some(history) => history,
        None => EpochHistory::new(facts.created),
    };
    if let Some((epoch, from)) = holdings.latest_epoch(facts.created).await?
        && epoch > history.current()
    {
        history.begin(from, epoch);
    }
    let epoch = history.current();
    let near = floor
        .min(facts.last_seq)
        .saturating_sub(NEAR_SEQUENCES)
        .max(history.current_from() - 1);
    let mut top = holdings.highest(epoch, near, u64::MAX).await?;
    if top.is_none() && near >= history.current_from() {
        top = holdings
            .highest(epoch, history.current_from() - 1, near)
            .await?;
    }
    // A life that slept here may find rows that a newer one landed meanwhile, of messages that came after `facts` was asked:
    // only what the stream says after the row was seen can testify against the row.
    let facts = &asked_again(stream, facts).await?;
    let rewound = match top {
        Some(top) => testify(stream, facts, top)
            .await?
            .is_rewind()
            .then_some(top),
        None => None,
    };
    let Some(top) = rewound else {
        return Ok(Epochs {
            history,
            rewound_from: None,
            highest: top.map(|row| row.seq),
        });
    };
    let from = divergence(holdings, stream, facts, &history, top.seq).await?;
    history.begin(from, Epoch(now_nanos.max(epoch.0 + 1)));
    Ok(Epochs {
        history,
        rewound_from: Some(from),
        highest: None,
    })
}

/// What the stream says now; an error that passes where it was made anew meanwhile.
async fn asked_again(stream: &jetstream::stream::Stream, before: &Facts) -> Result<Facts> {
    let facts = super::stream::facts(stream).await?;
    if facts.created == before.created {
        Ok(facts)
    } else {
        Err(Error::nats("the stream was made anew while it was asked"))
    }
}

async fn testify(
    stream: &jetstream::stream::Stream,
    facts: &Facts,
    row: HeldRow,
) -> Result<Witness> {
    let message = if row.seq > facts.last_seq {
        None
    } else {
        message_nanos(stream, row.seq).await?
    };
    Ok(witness(
        row.seq,
        row.stored_at_nanos,
        facts.last_seq,
        message,
    ))
}

/// The first sequence that was issued again: above the last held row whose message is still the same. By bisection, since
/// what a server loses is a tail.
async fn divergence(
    holdings: &Holdings,
    stream: &jetstream::stream::Stream,
    facts: &Facts,
    history: &EpochHistory,
    top_seq: u64,
) -> Result<u64> {
    let mut same = history.current_from() - 1;
    let mut end = top_seq.min(facts.last_seq);
    while same < end {
        let middle = same + (end - same).div_ceil(2);
        match holdings.highest(history.current(), same, middle).await? {
            Some(row) if testify(stream, facts, row).await?.is_rewind() => end = row.seq - 1,
            _ => same = middle,
        }
    }
    Ok(same + 1)
}
