//! The contract between the archive and its store, checked for every store: a folder, memory, a real S3-compatible server, and
//! the wrapper with which other tests inject faults.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use mpsync_archive::ArchiveConfig;
use mpsync_archive::{Archive, CreateOutcome};
use mpsync_config::Config;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload,
    UpdateVersion,
};

use crate::support::s3::S3;
use mpsync_testkit::{FaultyStore, StoreFault};

/// Bytes of a part; S3 takes no smaller ones but the last.
const PART: usize = 5 << 20;
/// More objects than a page of S3's listings holds.
const MANY: usize = 1_030;

fn config(archive: &str) -> ArchiveConfig {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mpsync.yaml");
    std::fs::write(&file, format!("archive: {archive}\n")).unwrap();
    Config::load(Some(&file), []).unwrap().archive
}

/// The whole contract.
async fn keeps_the_contract(archive: &Archive) {
    creates_once(archive).await;
    numbers_count_up(archive).await;
    overwrites_and_removes(archive).await;
    updates_on_condition_or_says_that_it_cannot(archive).await;
    reads_ranges(archive).await;
    lists_whole_names_at_once(archive).await;
    lists_many(archive).await;
    uploads_large_objects_whole_or_not_at_all(archive).await;
}

async fn creates_once(archive: &Archive) {
    let path = Path::from("contract/create/date=2026-01-01/x.json");
    let create = async |text: String| archive.create(&path, text.into()).await.unwrap();
    let writers = (0..8).map(|n| create(format!("writer {n}")));
    let created = join_all(writers).await;
    let winners: Vec<usize> = (0..8)
        .filter(|n| created[*n] == CreateOutcome::Yes)
        .collect();
    let read = archive.read(&path).await.unwrap().unwrap();
    assert_eq!(winners.len(), 1, "{created:?}");
    assert_eq!(read, format!("writer {}", winners[0]));
    assert_eq!(create("later".into()).await, CreateOutcome::Exists);
    assert_eq!(archive.read(&path).await.unwrap().unwrap(), read);
    // Gone is gone: the name is free again.
    archive.remove(&path).await.unwrap();
    assert_eq!(create("again".into()).await, CreateOutcome::Yes);
}

async fn numbers_count_up(archive: &Archive) {
    let folder = Path::from("contract/numbers");
    let writers = (0..8).map(|n| archive.create_numbered(&folder, n.to_string()));
    let mut numbers: Vec<u64> = join_all(writers)
        .await
        .into_iter()
        .map(|n| n.unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=8).collect::<Vec<_>>());
    assert_eq!(archive.numbers(&folder).await.unwrap(), numbers);
}

async fn overwrites_and_removes(archive: &Archive) {
    let path = Path::from("contract/overwrite/x");
    assert_eq!(archive.read(&path).await.unwrap(), None);
    assert_eq!(archive.head(&path).await.unwrap(), None);
    for text in ["one", "", "another"] {
        archive.overwrite(&path, text.into()).await.unwrap();
        assert_eq!(archive.read(&path).await.unwrap().unwrap(), text);
        let size = archive.head(&path).await.unwrap().unwrap().size;
        assert_eq!(size, text.len() as u64);
    }
    archive.remove(&path).await.unwrap();
    assert_eq!(archive.read(&path).await.unwrap(), None);
    archive.remove(&path).await.unwrap();
}

/// The archive needs no conditional update: a store that knows none has to say so rather than to write.
async fn updates_on_condition_or_says_that_it_cannot(archive: &Archive) {
    let path = Path::from("contract/update/x");
    archive.overwrite(&path, "one".into()).await.unwrap();
    let version = async || {
        let meta = archive.head(&path).await.unwrap().unwrap();
        UpdateVersion {
            e_tag: meta.e_tag,
            version: meta.version,
        }
    };
    let update = async |version: UpdateVersion, text: &'static str| {
        let options = PutOptions::from(PutMode::Update(version));
        archive
            .store()
            .put_opts(&path, PutPayload::from(text), options)
            .await
    };
    let stale = version().await;
    match update(stale.clone(), "two").await {
        Ok(_) => {
            let refused = update(stale, "three").await;
            assert!(
                matches!(refused, Err(object_store::Error::Precondition { .. })),
                "{refused:?}"
            );
            assert_eq!(archive.read(&path).await.unwrap().unwrap(), "two");
            update(version().await, "four").await.unwrap();
            assert_eq!(archive.read(&path).await.unwrap().unwrap(), "four");
        }
        Err(e) => {
            assert!(archive.root().is_some(), "only a folder may: {e}");
            assert!(
                matches!(e, object_store::Error::NotImplemented { .. }),
                "{e}"
            );
            assert_eq!(archive.read(&path).await.unwrap().unwrap(), "one");
        }
    }
}

async fn reads_ranges(archive: &Archive) {
    let path = Path::from("contract/ranges/x");
    let content: Bytes = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    archive.overwrite(&path, content.clone()).await.unwrap();
    let store = archive.store();
    assert_eq!(
        store.get_range(&path, 17..4_000).await.unwrap(),
        content[17..4_000]
    );
    let ranges = [0..1, 399_990..400_000, 5..6];
    let read = store.get_ranges(&path, &ranges).await.unwrap();
    assert_eq!(read, [&content[..1], &content[399_990..], &content[5..6]]);
    // How a reader finds the footer of a Parquet file.
    let options = GetOptions {
        range: Some(GetRange::Suffix(8)),
        ..GetOptions::default()
    };
    let end = store.get_opts(&path, options).await.unwrap();
    assert_eq!(end.meta.size, 400_000);
    assert_eq!(end.bytes().await.unwrap(), content[399_992..]);
    assert!(store.get_range(&path, 400_000..400_001).await.is_err());
    let missing = store
        .get_range(&Path::from("contract/ranges/y"), 0..1)
        .await;
    assert!(
        matches!(missing, Err(object_store::Error::NotFound { .. })),
        "{missing:?}"
    );
}

async fn lists_whole_names_at_once(archive: &Archive) {
    let root = Path::from("contract/list");
    for name in ["b/2", "b/1", "b/c/3", "bc/4", "5"] {
        let path: Path = format!("{root}/{name}").into();
        archive.overwrite(&path, name.into()).await.unwrap();
    }
    let names = async |folder: &Path| {
        let found = archive.list(folder).await.unwrap();
        let below = |path: &Path| {
            path.to_string()
                .trim_start_matches("contract/list/")
                .to_owned()
        };
        found
            .iter()
            .map(|object| below(&object.location))
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&root).await, ["5", "b/1", "b/2", "b/c/3", "bc/4"]);
    assert_eq!(
        names(&Path::from("contract/list/b")).await,
        ["b/1", "b/2", "b/c/3"]
    );
    assert_eq!(names(&Path::from("contract/list/a")).await, [""; 0]);
    let level = archive.list_folder(&root).await.unwrap();
    let mut folders: Vec<String> = level
        .common_prefixes
        .iter()
        .map(ToString::to_string)
        .collect();
    folders.sort();
    assert_eq!(folders, ["contract/list/b", "contract/list/bc"]);
    assert_eq!(level.objects.len(), 1);
    archive
        .remove(&Path::from("contract/list/b/1"))
        .await
        .unwrap();
    assert_eq!(
        names(&Path::from("contract/list/b")).await,
        ["b/2", "b/c/3"]
    );
}

async fn lists_many(archive: &Archive) {
    let folder = Path::from("contract/many");
    let writes = (0..MANY).map(|n| {
        let path = folder.clone().join(format!("{n:05}"));
        async move {
            archive
                .overwrite(&path, Bytes::from_static(b"x"))
                .await
                .unwrap();
        }
    });
    let written = futures_util::stream::iter(writes)
        .buffer_unordered(16)
        .count()
        .await;
    assert_eq!(written, MANY);
    let found = archive.list(&folder).await.unwrap();
    assert_eq!(found.len(), MANY);
    assert_eq!(
        archive.list_folder(&folder).await.unwrap().objects.len(),
        MANY
    );
    assert!(
        found
            .windows(2)
            .all(|two| two[0].location < two[1].location)
    );
}

async fn uploads_large_objects_whole_or_not_at_all(archive: &Archive) {
    let path = Path::from("contract/large/x.parquet");
    let folder = Path::from("contract/large");
    let content = Bytes::from((0..=255).cycle().take(2 * PART + 4711).collect::<Vec<u8>>());
    let nothing_is_there = async || {
        assert_eq!(archive.read(&path).await.unwrap(), None);
        assert_eq!(archive.head(&path).await.unwrap(), None);
        assert!(archive.list(&folder).await.unwrap().is_empty());
    };
    let part = |n: usize| content.slice(n * PART..content.len().min((n + 1) * PART));
    // Begun, and left as a crash leaves it.
    let mut left = archive.store().put_multipart(&path).await.unwrap();
    left.put_part(part(0).into()).await.unwrap();
    drop(left);
    nothing_is_there().await;
    // Begun, and given up.
    let mut given_up = archive.store().put_multipart(&path).await.unwrap();
    given_up.put_part(part(0).into()).await.unwrap();
    given_up.abort().await.unwrap();
    nothing_is_there().await;
    // Two at once, each of which is whole: the later one stays.
    let mut first = archive.store().put_multipart(&path).await.unwrap();
    let mut second = archive.store().put_multipart(&path).await.unwrap();
    for n in 0..2 {
        first.put_part(part(n).into()).await.unwrap();
    }
    let (one, other) = (
        first.put_part(part(2).into()),
        second.put_part(part(2).into()),
    );
    let (one, other) = tokio::join!(one, other);
    one.unwrap();
    other.unwrap();
    nothing_is_there().await;
    first.complete().await.unwrap();
    assert_eq!(archive.read(&path).await.unwrap().unwrap(), content);
    second.complete().await.unwrap();
    assert_eq!(archive.read(&path).await.unwrap().unwrap(), part(2));
    assert_eq!(archive.list(&folder).await.unwrap().len(), 1);
}

#[tokio::test]
async fn memory_keeps_the_store_s_contract() {
    let archive = Archive::with_store(Arc::new(InMemory::new()), &config("{path: x}"));
    keeps_the_contract(&archive).await;
}

#[tokio::test]
async fn a_folder_keeps_the_store_s_contract() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&format!("{{path: {}}}", folder.path().display()));
    keeps_the_contract(&Archive::open(&config).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_keeps_the_store_s_contract() {
    let s3 = S3::start();
    let archive = Archive::open(&config(&s3.section("contract")))
        .await
        .unwrap();
    keeps_the_contract(&archive).await;
}

#[tokio::test]
async fn the_store_that_fails_keeps_the_contract_until_it_does() {
    let config = config("{path: x}");
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let sound = FaultyStore::new(Arc::clone(&memory), u64::MAX, StoreFault::After);
    keeps_the_contract(&Archive::with_store(sound, &config)).await;
    // Then the answer is lost: a caller that asks again learns the outcome.
    let path = Path::from("x");
    let lossy = FaultyStore::new(Arc::clone(&memory), 1, StoreFault::After);
    let archive = Archive::with_store(Arc::clone(&lossy) as Arc<dyn ObjectStore>, &config);
    assert!(archive.create(&path, "ours".into()).await.is_err());
    assert!(lossy.has_failed() && lossy.failed().is_cancelled());
    assert_eq!(
        archive.create(&path, "ours".into()).await.unwrap(),
        CreateOutcome::Exists
    );
    assert_eq!(archive.read(&path).await.unwrap().unwrap(), "ours");
    // Nothing that is to fail before it takes effect takes effect, and what is read breaks off.
    let refusing = FaultyStore::new(Arc::clone(&memory), 1, StoreFault::Before);
    let archive = Archive::with_store(refusing, &config);
    assert!(archive.remove(&path).await.is_err());
    for nth in 1..=2 {
        let breaking = FaultyStore::new(Arc::clone(&memory), nth, StoreFault::After);
        let archive = Archive::with_store(breaking, &config);
        assert_eq!(archive.read(&path).await.is_err(), nth == 1);
        assert_eq!(archive.list(&Path::default()).await.is_err(), nth == 2);
    }
    // One that has ended does nothing more.
    let ended = FaultyStore::new(Arc::clone(&memory), 1, StoreFault::Last);
    let archive = Archive::with_store(ended, &config);
    assert!(archive.overwrite(&path, "last".into()).await.is_err());
    assert!(archive.remove(&path).await.is_err());
    assert_eq!(
        memory.get(&path).await.unwrap().bytes().await.unwrap(),
        "last"
    );
}
