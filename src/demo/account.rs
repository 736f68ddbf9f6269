//! The account of a demo: messages in, rows out, and whether every message is accounted for. All figures are computed from the
//! data, so that a demo that is killed and started again ends with the same table.

use std::collections::{BTreeMap, HashSet};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use mpsync_archive::Archive;
use mpsync_clickhouse::{Tier, row_hash};
use mpsync_core::dataset::Dataset;
use mpsync_core::error::{Error, Result};
use mpsync_core::fingerprint::{Fingerprint, HashedColumn};

/// Messages that were published to JetStream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PublishedMessages {
    /// Messages, repeats included.
    pub(super) messages: u64,
    /// Ids that an earlier message had: JetStream's duplicate window rejects them.
    pub(super) repeats: Vec<String>,
}

/// Counts messages and repeats of ids by the first token of the subject.
#[derive(Debug, Default)]
pub(super) struct MessageCounter {
    seen: HashSet<String>,
    by_kind: BTreeMap<String, PublishedMessages>,
}

impl MessageCounter {
    /// Counts one message.
    pub(super) fn count(&mut self, subject: &str, msg_id: &str) {
        let kind = subject.split('.').next().unwrap_or(subject);
        let published = self.by_kind.entry(kind.to_owned()).or_default();
        published.messages += 1;
        if !self.seen.insert(msg_id.to_owned()) {
            published.repeats.push(msg_id.to_owned());
        }
    }

    /// Returns the counts of the kinds that a dataset's subjects cover.
    pub(super) fn of(&self, dataset: &Dataset) -> PublishedMessages {
        let mut sum = PublishedMessages::default();
        for (kind, published) in &self.by_kind {
            if dataset
                .subjects
                .iter()
                .any(|subject| subject.split('.').next() == Some(kind))
            {
                sum.messages += published.messages;
                sum.repeats.extend_from_slice(&published.repeats);
            }
        }
        sum
    }
}

/// The account of one dataset.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Account {
    pub(super) dataset: String,
    /// Messages published to JetStream.
    pub(super) published: u64,
    /// Of those, rejected by JetStream as repeats.
    pub(super) repeats: u64,
    /// Messages in the dead-letter stream.
    pub(super) dead_letters: u64,
    /// Rows in hot when ingest was complete.
    pub(super) rows_hot_before: u64,
    pub(super) chunks: u64,
    pub(super) archive_bytes: u64,
    /// Bytes of the rows, uncompressed, over the archive's bytes.
    pub(super) ratio: f64,
    pub(super) rows_cold: u64,
    /// Whether hot before the transfer, the manifests and cold have one fingerprint.
    pub(super) fingerprints_equal: bool,
    pub(super) rows_hot_after: u64,
    pub(super) seconds: f64,
}

impl Account {
    /// Returns the first difference in the account, if there is one.
    pub(super) fn fault(&self) -> Option<String> {
        let settled = self.repeats + self.dead_letters + self.rows_hot_before;
        let fault = |what: String| Some(format!("{}: {what}", self.dataset));
        if settled != self.published {
            return fault(format!(
                "{} messages were published, but {} are repeats, {} dead letters and {} rows",
                self.published, self.repeats, self.dead_letters, self.rows_hot_before
            ));
        }
        if self.rows_cold != self.rows_hot_before {
            return fault(format!(
                "{} rows in cold, {} were in hot",
                self.rows_cold, self.rows_hot_before
            ));
        }
        if !self.fingerprints_equal {
            return fault("the fingerprints of hot, archive and cold differ".into());
        }
        if self.rows_hot_after != 0 {
            return fault(format!("{} rows are left in hot", self.rows_hot_after));
        }
        None
    }
}

/// Returns the fingerprint of a whole table over a dataset's columns.
pub(super) async fn table_fingerprint(tier: &Tier, dataset: &Dataset) -> Result<Fingerprint> {
    let live = tier.describe_existing(&dataset.table).await?;
    let columns: Vec<_> = live
        .stored_columns()
        .map(|c| HashedColumn {
            name: c.name.clone(),
            type_name: c.column_type.to_string(),
        })
        .collect();
    let hash = row_hash(&columns, |name| live.column_type(name).cloned());
    let (rows, sum) = tier
        .query(&format!(
            "SELECT count(), sum({hash}) FROM {}",
            tier.table(&dataset.table)
        ))
        .fetch_one::<(u64, u64)>()
        .await
        .map_err(|e| {
            tier.error(e)
                .context(format!("fingerprinting {} {}", tier.role(), dataset.table))
        })?;
    Ok(Fingerprint { rows, sum })
}

/// Returns the uncompressed bytes of a table's active parts.
pub(super) async fn uncompressed_bytes(tier: &Tier, dataset: &Dataset) -> Result<u64> {
    tier.query(
        "SELECT sum(data_uncompressed_bytes) FROM system.parts \
         WHERE active AND database = {database:String} AND table = {table:String}",
    )
    .param("database", tier.database())
    .param("table", &dataset.table)
    .fetch_one()
    .await
    .map_err(|e| {
        tier.error(e)
            .context(format!("measuring {}", dataset.table))
    })
}

/// The sum over a dataset's manifests.
#[derive(Debug, Default)]
pub(super) struct Archived {
    pub(super) fingerprint: Fingerprint,
    pub(super) chunks: u64,
    pub(super) bytes: u64,
}

/// Adds up a dataset's manifests.
pub(super) async fn archived(archive: &Archive, dataset: &Dataset) -> Result<Archived> {
    let mut sum = Archived::default();
    for window in archive.windows(&dataset.name, None).await? {
        for manifest in archive.generations(&dataset.name, window).await? {
            sum.fingerprint = sum.fingerprint + manifest.fingerprint;
            sum.chunks += manifest.chunks.len() as u64;
            sum.bytes += manifest.bytes();
        }
    }
    Ok(sum)
}

/// Returns the table at the end of the demo.
pub(super) fn table(accounts: &[Account]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "dataset",
        "published",
        "repeats",
        "dead letters",
        "rows hot before",
        "chunks",
        "archive bytes",
        "ratio",
        "rows cold",
        "fingerprints",
        "rows hot after",
        "seconds",
    ]);
    for a in accounts {
        table.add_row([
            a.dataset.clone(),
            a.published.to_string(),
            a.repeats.to_string(),
            a.dead_letters.to_string(),
            a.rows_hot_before.to_string(),
            a.chunks.to_string(),
            a.archive_bytes.to_string(),
            format!("{:.1}", a.ratio),
            a.rows_cold.to_string(),
            if a.fingerprints_equal {
                "equal"
            } else {
                "DIFFER"
            }
            .to_owned(),
            a.rows_hot_after.to_string(),
            format!("{:.1}", a.seconds),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Returns an integrity error that lists all differences, if there are any.
pub(super) fn audit(accounts: &[Account]) -> Result<()> {
    let faults: Vec<_> = accounts.iter().filter_map(Account::fault).collect();
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Error::integrity(faults.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_id_is_counted_as_a_repeat_of_its_kind() {
        let mut counter = MessageCounter::default();
        for (subject, id) in [
            ("trade.a.spot.X", "1"),
            ("orderbook.a.spot.X", "2"),
            ("orderbook.a.spot.Y", "2"),
        ] {
            counter.count(subject, id);
        }
        let of = |name: &str| {
            counter.of(mpsync_core::dataset::builtin()
                .iter()
                .find(|d| d.name.as_str() == name)
                .unwrap())
        };
        assert_eq!(
            of("orderbooks"),
            PublishedMessages {
                messages: 2,
                repeats: vec!["2".into()]
            }
        );
        assert_eq!(
            of("trades"),
            PublishedMessages {
                messages: 1,
                repeats: vec![]
            }
        );
        assert_eq!(of("liquidations"), PublishedMessages::default());
    }

    #[test]
    fn an_account_that_does_not_add_up_is_a_fault() {
        let good = Account {
            dataset: "trades".into(),
            published: 10,
            repeats: 1,
            dead_letters: 2,
            rows_hot_before: 7,
            chunks: 1,
            archive_bytes: 1,
            ratio: 1.0,
            rows_cold: 7,
            fingerprints_equal: true,
            rows_hot_after: 0,
            seconds: 0.0,
        };
        assert_eq!(good.fault(), None);
        assert!(
            Account {
                repeats: 0,
                ..good.clone()
            }
            .fault()
            .is_some()
        );
        assert!(
            Account {
                rows_cold: 6,
                ..good.clone()
            }
            .fault()
            .is_some()
        );
        assert!(
            Account {
                fingerprints_equal: false,
                ..good.clone()
            }
            .fault()
            .is_some()
        );
        assert!(
            Account {
                rows_hot_after: 1,
                ..good
            }
            .fault()
            .is_some()
        );
    }
}
