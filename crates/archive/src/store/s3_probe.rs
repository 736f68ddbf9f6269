//! Tries that a store does what manifests, leases and the journal depend on.

use bytes::Bytes;
use object_store::path::Path;
use rand::RngExt as _;

use super::archive::Archive;
use super::backend::CreateOutcome;
use crate::format::layout::INTERNAL;
use mpsync_core::error::{Context as _, Error, Result};

/// Writers that create one object at the same time, to see that one of them wins.
const CONTENDERS: usize = 4;

/// Tries that the store does what manifests, leases and the journal depend on: of several writers of one object exactly one
/// creates it, a later one is refused, and the object is read and listed at once.
pub(crate) async fn probe(archive: &Archive) -> Result<()> {
    let folder = Path::from(INTERNAL).join("probe");
    let path = folder.clone().join(rand::rng().random::<u64>().to_string());
    let tried = try_to_create(archive, &folder, &path).await;
    let removed = archive.remove(&path).await;
    tried?;
    removed
}

async fn try_to_create(archive: &Archive, folder: &Path, path: &Path) -> Result<()> {
    let context = || format!("trying the archive {}", archive.place());
    let contenders = (0..CONTENDERS).map(|n| archive.create(path, Bytes::from(n.to_string())));
    let mut created: Vec<CreateOutcome> = Vec::new();
    for outcome in futures_util::future::join_all(contenders).await {
        created.push(outcome.context(context)?);
    }
    created.push(
        archive
            .create(path, Bytes::from_static(b"later"))
            .await
            .context(context)?,
    );
    let winner = created.iter().position(|c| *c == CreateOutcome::Yes);
    let winners = created.iter().filter(|c| **c == CreateOutcome::Yes).count();
    let (Some(winner), 1) = (winner, winners) else {
        return Err(unsuitable(
            archive,
            &format!(
                "it let {winners} of {} writers create one and the same object",
                created.len()
            ),
        ));
    };
    let held = archive.read(path).await.context(context)?;
    if held.as_deref() != Some(winner.to_string().as_bytes()) {
        return Err(unsuitable(
            archive,
            "an object has other content than its creator wrote",
        ));
    }
    let listed = archive.list(folder).await.context(context)?;
    if !listed.iter().any(|object| object.location == *path) {
        return Err(unsuitable(
            archive,
            "it does not list an object that it has just created",
        ));
    }
    Ok(())
}

fn unsuitable(archive: &Archive, reason: &str) -> Error {
    Error::config(format!(
        "the store of {} cannot hold an archive: {reason}, so that two workers could not find out which of them was first",
        archive.place()
    ))
    .with_hint("it must support conditional writes (If-None-Match: *) and list every object that it holds: use a newer version of it, or another one")
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use crate::testing::small;
    use std::sync::Arc;

    use object_store::ObjectStore;

    use super::*;
    use mpsync_core::error::ExitCode;
    use mpsync_testkit::{FaultyStore, StoreFault};

    #[tokio::test]
    async fn a_store_that_ignores_conditions_is_refused_by_name() {
        let config = small("/nas/archive".as_ref());
        let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let good = Archive::with_store(Arc::clone(&memory), &config);
        probe(&good).await.unwrap();
        let careless = FaultyStore::new(memory, u64::MAX, StoreFault::Careless);
        let e = probe(&Archive::with_store(careless, &config))
            .await
            .unwrap_err();
        assert_eq!(e.exit_code(), ExitCode::Usage);
        let text = e.to_string();
        assert!(
            text.contains("/nas/archive cannot hold an archive: it let 5 of 5 writers"),
            "{text}"
        );
        // The trials leave nothing.
        assert!(good.list(&Path::default()).await.unwrap().is_empty());
    }
}
