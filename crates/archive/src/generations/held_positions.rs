//! The positions that the archive holds.

use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::store::archive::Archive;
use mpsync_core::dataset::{DatasetName, PositionSet};
use mpsync_core::error::Result;

/// Windows whose manifests are read at a time.
const WINDOWS: usize = 16;

impl Archive {
    /// Returns those of these positions that any generation of the dataset holds, whatever its window. Reads every manifest of the
    /// dataset, and none of its chunks. A manifest that cannot be read is an error: its positions are unknown.
    pub async fn held(&self, dataset: &DatasetName, wanted: &PositionSet) -> Result<PositionSet> {
        let windows = self.windows(dataset, None).await?;
        let asked = windows.into_iter().map(|window| async move {
            let manifests = self.generations(dataset, window).await?;
            let positions = manifests.iter().map(|manifest| &manifest.positions);
            let mut held = PositionSet::new();
            for positions in positions.filter(|p| p.intersection_len(wanted) > 0) {
                let both: PositionSet = wanted.iter().filter(|p| positions.contains(*p)).collect();
                held.extend(&both);
            }
            Ok::<_, mpsync_core::error::Error>(held)
        });
        let found: Vec<PositionSet> = futures_util::stream::iter(asked)
            .buffer_unordered(WINDOWS)
            .try_collect()
            .await?;
        let mut held = PositionSet::new();
        for some in &found {
            held.extend(some);
        }
        Ok(held)
    }
}
