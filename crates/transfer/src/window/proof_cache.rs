//! What this run has proven of parts that were there, so that it need not read them again while they still are. Pure.
//!
//! Parts are never changed (see [`Parts`]), so a proof of what they hold stays one for as long as they are there. It is
//! kept in memory only: another run, or another worker, asks the rows.
//!
//! - **Hot.** The export listed a partition's parts before and after it had read the window, and they were the same: every row
//!   of the window in exactly these parts is in the archive. A partition that consists of the same parts, moved aside or
//!   not, holds nothing else.
//! - **Cold.** The staging table was proven to be what the manifests say, and its parts were moved into cold. While each of
//!   them is there unmerged, and cold counts no more rows in the window than they have, cold holds what was proven.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::window::holdings::total;
use mpsync_archive::Manifest;
use mpsync_clickhouse::PartSet;
use mpsync_core::dataset::Window;
use mpsync_core::fingerprint::Fingerprint;

/// What was proven in this run.
#[derive(Debug, Default)]
pub(crate) struct ProofCache {
    archived: Mutex<HashMap<Window, Proven>>,
    loaded: Mutex<HashMap<Window, Proven>>,
}

#[derive(Debug)]
struct Proven {
    parts: PartSet,
    generations: usize,
    total: Fingerprint,
}

impl Proven {
    fn is_of(&self, generations: &[Manifest]) -> bool {
        self.generations == generations.len() && self.total == total(generations)
    }
}

impl ProofCache {
    /// Notes that all rows of the window in these parts are in these generations.
    pub(crate) fn record_archived(&self, window: Window, parts: PartSet, generations: &[Manifest]) {
        record(&self.archived, window, parts, generations);
    }

    /// Whether all rows of the window in exactly these parts are known to be in these generations.
    pub(crate) fn is_archived(
        &self,
        window: Window,
        parts: &PartSet,
        generations: &[Manifest],
    ) -> bool {
        lock(&self.archived)
            .get(&window)
            .is_some_and(|proven| proven.is_of(generations) && proven.parts == *parts)
    }

    /// Notes that these parts hold exactly these generations, and nobody else's rows are in the window.
    pub(crate) fn record_loaded(&self, window: Window, parts: PartSet, generations: &[Manifest]) {
        record(&self.loaded, window, parts, generations);
    }

    /// The parts that hold exactly these generations, where they are known.
    pub(crate) fn loaded(&self, window: Window, generations: &[Manifest]) -> Option<PartSet> {
        lock(&self.loaded)
            .get(&window)
            .filter(|proven| proven.is_of(generations))
            .map(|proven| proven.parts.clone())
    }
}

fn record(
    map: &Mutex<HashMap<Window, Proven>>,
    window: Window,
    parts: PartSet,
    generations: &[Manifest],
) {
    let proven = Proven {
        parts,
        generations: generations.len(),
        total: total(generations),
    };
    lock(map).insert(window, proven);
}

/// What is behind the lock is replaced in one step, so that a panic elsewhere leaves it whole.
fn lock<T>(map: &Mutex<T>) -> MutexGuard<'_, T> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}
