//! Names of insert gates, and which gates a new one fences. Pure.
//!
//! `<table>_in_<token>`, or `<table>_in_<shard>_<token>` if several daemons share a dataset by their subject filters; the
//! view's name adds `_mv`.

use std::collections::BTreeSet;

/// Fencing tokens of sessions, milliseconds since 1970, have been above it since 2001; tokens of replays are below.
pub(crate) const SESSION_TOKENS_FROM: u64 = 1_000_000_000_000;

/// The part of a dataset that a daemon ingests: `None` is all of it, else the name of its filters.
pub(crate) type Shard = Option<String>;

/// The part of a gate's name after its table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct InsertGateName {
    pub(crate) shard: Shard,
    pub(crate) token: u64,
}

impl InsertGateName {
    /// Returns the prefix of all gate names of a table.
    pub(crate) fn stem(table: &str) -> String {
        format!("{table}_in_")
    }

    /// Parses the name of a gate or of its view; `None` for other names.
    pub(crate) fn parse(table: &str, name: &str) -> Option<Self> {
        let rest = name.strip_prefix(table)?.strip_prefix("_in_")?;
        let rest = rest.strip_suffix("_mv").unwrap_or(rest);
        let (shard, number) = match rest.rsplit_once('_') {
            Some((shard, number)) => (Some(shard.to_owned()), number),
            None => (None, rest),
        };
        let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        match shard.as_deref() {
            Some(shard) if !is_shard(shard) => None,
            _ if !is_number => None,
            _ => Some(Self {
                shard,
                token: number.parse().ok()?,
            }),
        }
    }

    /// Returns the name of the gate's table.
    pub(crate) fn table(&self, table: &str) -> String {
        let stem = Self::stem(table);
        match &self.shard {
            Some(shard) => format!("{stem}{shard}_{}", self.token),
            None => format!("{stem}{}", self.token),
        }
    }

    /// Returns whether it belongs to a replay of dead letters instead of a session.
    pub(crate) fn is_for_replay(&self) -> bool {
        self.shard.is_none() && self.token < SESSION_TOKENS_FROM
    }

    /// Returns whether a new gate fences another one: an older gate of its own shard, a gate of a replay, and a gate of a
    /// shard that has no consumer any more, so that no other session can succeed its owner.
    ///
    /// `live`: the shards that have a consumer; empty if the new gate belongs to a replay.
    pub(crate) fn fences(&self, other: &Self, live: &BTreeSet<Shard>) -> bool {
        if self.shard == other.shard && other.token < self.token {
            return true;
        }
        if self.is_for_replay() || self.shard == other.shard {
            return false;
        }
        other.is_for_replay() || !live.contains(&other.shard)
    }
}

/// Returns whether a text can name a shard: lower-case letters and digits, a letter first, at most 32.
pub(crate) fn is_shard(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= 32
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(shard: Option<&str>, token: u64) -> InsertGateName {
        InsertGateName {
            shard: shard.map(str::to_owned),
            token,
        }
    }

    #[test]
    fn gate_names_differ_from_other_tables() {
        for name in [
            gate(None, 5),
            gate(Some("okx"), 1_760_000_000_000),
            gate(None, u64::MAX),
        ] {
            assert_eq!(
                InsertGateName::parse("trades", &name.table("trades")),
                Some(name.clone())
            );
            assert_eq!(
                InsertGateName::parse("trades", &format!("{}_mv", name.table("trades"))),
                Some(name.clone())
            );
        }
        for name in [
            "trades_in_x",
            "trades_in_",
            "trades_in_9_mv_mv",
            "trades_in_99999999999999999999999",
            "trades_in_a_b_5",
            "trades_in__5",
            "trades_in_5_5",
            "trades",
            "tradesx_in_5",
        ] {
            assert_eq!(InsertGateName::parse("trades", name), None, "{name}");
        }
    }

    #[test]
    fn gate_fences_older_gates_replays_and_orphans() {
        const NOW: u64 = 1_760_000_000_000;
        let live: BTreeSet<Shard> = [Some("a".to_owned()), Some("b".to_owned())].into();
        let mine = gate(Some("a"), NOW);
        assert!(mine.fences(&gate(Some("a"), NOW - 1), &live));
        assert!(!mine.fences(&gate(Some("a"), NOW + 1), &live));
        assert!(!mine.fences(&mine, &live));
        // One of another live shard, whether it is older or newer.
        assert!(!mine.fences(&gate(Some("b"), NOW - 1), &live));
        // One of a replay, and those of daemons with another configuration.
        assert!(mine.fences(&gate(None, 5), &live));
        assert!(mine.fences(&gate(None, NOW - 1), &live));
        assert!(mine.fences(&gate(Some("c"), NOW + 1), &live));
        // A replay fences nothing but older replays.
        let beside = gate(None, 7);
        assert!(beside.fences(&gate(None, 6), &live));
        assert!(!beside.fences(&gate(None, 8), &live));
        assert!(!beside.fences(&mine, &live) && !beside.fences(&gate(None, NOW), &live));
    }
}
