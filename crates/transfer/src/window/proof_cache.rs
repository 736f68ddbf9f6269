//! The proofs of this run, so that nothing is read a second time. Pure.
//!
//! Parts are never changed (see [`PartSet`]), so that a proof of their contents holds for as long as they are there. The cache is
//! kept in memory only: another run, and another worker, asks the rows and reads the chunks again.
//!
//! - **Hot.** The export listed a partition's parts before and after it had read the window, and they were the same: every row
//!   of the window in exactly these parts is in the archive. A partition that consists of the same parts, set aside or not,
//!   holds nothing else.
//! - **Cold.** The staging table was proven to hold the manifests' rows, and its parts were moved into cold. While each of
//!   them is there unmerged, and cold counts no more rows in the window than they have, cold holds what was proven.
//! - **Archive.** The bytes of a chunk were read from the archive and had the SHA-256 of its manifest.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::window::holdings::total;
use mpsync_archive::Manifest;
use mpsync_clickhouse::PartSet;
use mpsync_core::dataset::Window;
use mpsync_core::fingerprint::Fingerprint;

/// The proofs of one run.
#[derive(Debug, Default)]
pub(crate) struct ProofCache {
    archived: Mutex<HashMap<Window, Archived>>,
    loaded: Mutex<HashMap<Window, Proven>>,
    /// The SHA-256 sums of chunks, with the path of the generation and the file name of each.
    whole_chunks: Mutex<HashSet<(String, String, String)>>,
}

#[derive(Debug)]
struct Proven {
    parts: PartSet,
    generations: usize,
    total: Fingerprint,
}

#[derive(Debug)]
struct Archived {
    proven: Proven,
    matched: u64,
}

impl Proven {
    fn new(parts: PartSet, generations: &[Manifest]) -> Self {
        Self {
            parts,
            generations: generations.len(),
            total: total(generations),
        }
    }

    fn is_of(&self, generations: &[Manifest]) -> bool {
        self.generations == generations.len() && self.total == total(generations)
    }
}

impl ProofCache {
    /// Records that all rows of the window in these parts are in these generations, and how many rows of the parts the proof
    /// matched.
    pub(crate) fn record_archived(
        &self,
        window: Window,
        parts: PartSet,
        generations: &[Manifest],
        matched: u64,
    ) {
        let proven = Proven::new(parts, generations);
        lock(&self.archived).insert(window, Archived { proven, matched });
    }

    /// Returns how many rows of the window in exactly these parts were matched with these generations, if all of them were.
    pub(crate) fn archived(
        &self,
        window: Window,
        parts: &PartSet,
        generations: &[Manifest],
    ) -> Option<u64> {
        lock(&self.archived)
            .get(&window)
            .filter(|found| found.proven.is_of(generations) && found.proven.parts == *parts)
            .map(|found| found.matched)
    }

    /// Records that these parts hold exactly these generations, and that no other rows are in the window.
    pub(crate) fn record_loaded(&self, window: Window, parts: PartSet, generations: &[Manifest]) {
        lock(&self.loaded).insert(window, Proven::new(parts, generations));
    }

    /// Returns the parts that hold exactly these generations, if they are known.
    pub(crate) fn loaded(&self, window: Window, generations: &[Manifest]) -> Option<PartSet> {
        lock(&self.loaded)
            .get(&window)
            .filter(|proven| proven.is_of(generations))
            .map(|proven| proven.parts.clone())
    }

    /// Records that the archive returned the bytes that the manifest names for a chunk.
    pub(crate) fn record_whole_chunk(&self, manifest: &Manifest, file: &str, sha256: &str) {
        let key = (
            manifest.id().to_string(),
            file.to_owned(),
            sha256.to_owned(),
        );
        lock(&self.whole_chunks).insert(key);
    }

    /// Returns whether this run has read every chunk of these generations from the archive and found it whole.
    pub(crate) fn are_whole(&self, generations: &[Manifest]) -> bool {
        let whole = lock(&self.whole_chunks);
        generations.iter().all(|manifest| {
            let id = manifest.id().to_string();
            manifest.chunks.iter().all(|chunk| {
                whole.contains(&(id.clone(), chunk.file.clone(), chunk.sha256.clone()))
            })
        })
    }
}

/// A panic elsewhere leaves the contents whole, since every change is one step.
fn lock<T>(map: &Mutex<T>) -> MutexGuard<'_, T> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}
