//! What doors are called, and which of them a new one shuts. Pure.
//!
//! `<table>_in_<life>`, or `<table>_in_<shard>_<life>` where several daemons share a dataset by their subject filters; its
//! view has `_mv` after that.

use std::collections::BTreeSet;

/// Numbers of lives, milliseconds since 1970, lie above it since 2001; numbers of doors beside them below.
pub(crate) const SESSION_TOKENS_FROM: u64 = 1_000_000_000_000;

/// Which part of a dataset a daemon ingests: `None` is all of it, else the name of its filters.
pub(crate) type Shard = Option<String>;

/// What one door is called after its table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct InsertGateName {
    pub(crate) shard: Shard,
    pub(crate) token: u64,
}

impl InsertGateName {
    /// The beginning of all door names of a table.
    pub(crate) fn stem(table: &str) -> String {
        format!("{table}_in_")
    }

    /// Reads the name of a door or of its view; other names are none.
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

    /// The door's table.
    pub(crate) fn table(&self, table: &str) -> String {
        let stem = Self::stem(table);
        match &self.shard {
            Some(shard) => format!("{stem}{shard}_{}", self.token),
            None => format!("{stem}{}", self.token),
        }
    }

    /// Whether it is no life's, but that of a replay of dead letters.
    pub(crate) fn is_for_replay(&self) -> bool {
        self.shard.is_none() && self.token < SESSION_TOKENS_FROM
    }

    /// Whether a new door shuts another one: an older one of its own shard, one beside the lives, and one of a shard that
    /// has no consumer any more, so that nobody else can be its owner's successor.
    ///
    /// `live`: the shards that have a consumer; nobody, where the new door is one beside the lives.
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

/// Whether a text can name a shard: lower-case letters and digits, a letter first, at most 32.
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
            token: token,
        }
    }

    #[test]
    fn doors_are_told_from_other_tables() {
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
    fn a_door_shuts_the_older_ones_of_its_shard_those_beside_and_those_whose_consumer_is_gone() {
        const NOW: u64 = 1_760_000_000_000;
        let live: BTreeSet<Shard> = [Some("a".to_owned()), Some("b".to_owned())].into();
        let mine = gate(Some("a"), NOW);
        assert!(mine.fences(&gate(Some("a"), NOW - 1), &live));
        assert!(!mine.fences(&gate(Some("a"), NOW + 1), &live));
        assert!(!mine.fences(&mine, &live));
        // Somebody else's, whether it is older or newer.
        assert!(!mine.fences(&gate(Some("b"), NOW - 1), &live));
        // A replay's, and those of daemons that were set up otherwise.
        assert!(mine.fences(&gate(None, 5), &live));
        assert!(mine.fences(&gate(None, NOW - 1), &live));
        assert!(mine.fences(&gate(Some("c"), NOW + 1), &live));
        // A replay shuts nothing but an older replay's.
        let beside = gate(None, 7);
        assert!(beside.fences(&gate(None, 6), &live));
        assert!(!beside.fences(&gate(None, 8), &live));
        assert!(!beside.fences(&mine, &live) && !beside.fences(&gate(None, NOW), &live));
    }
}
