//! Objects of an archive, whatever its place.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::store::error_hints::{io_to_error, to_error};
use crate::store::folder_probe::FolderAbilities;
use crate::testing::{generation, id, small};
use crate::{Depth, verify};
use mpsync_core::error::ExitCode;

#[tokio::test]
async fn opening_makes_a_folder_for_its_owner_only_and_leaves_nothing_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("deep").join("archive");
    let archive = Archive::open(&small(&root)).await.unwrap();
    let mode = std::fs::metadata(&root).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(archive.list(&Path::default()).await.unwrap(), []);
    let left = std::fs::read_dir(root.join("_mpsync")).unwrap().count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn missing_archive_and_file_in_its_place_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("archive");
    let e = Archive::open_read_only(&small(&root)).await.unwrap_err();
    assert!(e.to_string().contains("there is no archive at"), "{e}");
    assert!(!root.exists());
    std::fs::write(&root, "").unwrap();
    for e in [
        Archive::open_read_only(&small(&root)).await.unwrap_err(),
        Archive::open(&small(&root)).await.unwrap_err(),
    ] {
        assert_eq!(e.exit_code(), ExitCode::Usage);
        assert!(e.to_string().contains("is a file, not a folder"), "{e}");
    }
}

#[tokio::test]
async fn an_object_is_created_once_and_overwritten_as_often_as_wanted() {
    let folder = tempfile::tempdir().unwrap();
    for hard_links in [true, false] {
        let root = folder.path().join(hard_links.to_string());
        std::fs::create_dir(&root).unwrap();
        let local = FolderAbilities {
            root,
            hard_links,
            fsync: true,
        };
        let archive = Archive::in_folder(&small(folder.path()), local).unwrap();
        let path = Path::from("a/b/c.json");
        assert_eq!(archive.read(&path).await.unwrap(), None);
        let create = async |text: &'static str| archive.create(&path, text.into()).await.unwrap();
        assert_eq!(create("first").await, CreateOutcome::Yes);
        assert_eq!(create("second").await, CreateOutcome::Exists);
        assert_eq!(archive.read(&path).await.unwrap().unwrap(), "first");
        archive.overwrite(&path, "third".into()).await.unwrap();
        assert_eq!(archive.read(&path).await.unwrap().unwrap(), "third");
        archive.remove(&path).await.unwrap();
        archive.remove(&path).await.unwrap();
        // And all of an archive works on such a file system.
        generation(&archive, 0, 1500).await;
        let found = verify(&archive, &id(0).dataset, id(0).window, Depth::Deep).await;
        assert_eq!(found, []);
        assert_eq!(archive.list(&id(0).folder()).await.unwrap().len(), 4);
    }
}

#[test]
fn a_full_disk_says_what_to_do_however_deep_the_error_lies() {
    let full = || std::io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
    let deep = object_store::Error::Generic {
        store: "LocalFileSystem",
        source: Box::new(std::io::Error::other(full())),
    };
    let root = FilePath::new("/nas/archive");
    for e in [
        to_error(deep, &ArchivePlace::Folder(root.to_owned())),
        io_to_error(full(), Some(root)),
    ] {
        let text = e.to_string();
        assert!(
            text.contains("free space at /nas/archive; nothing was lost"),
            "{text}"
        );
        assert_eq!(e.disposition(), mpsync_core::error::Disposition::Retry);
    }
}

#[tokio::test]
async fn numbered_objects_count_up_and_the_highest_holds() {
    let store = Arc::new(object_store::memory::InMemory::new());
    let archive = Archive::with_store(store, &small("".as_ref()));
    let folder = Path::from("_mpsync/tasks/trades/2026-01-01T05");
    assert_eq!(archive.latest(&folder).await.unwrap(), None);
    let writers: Vec<_> = (0..8)
        .map(|n| {
            let (archive, folder) = (archive.clone(), folder.clone());
            tokio::spawn(async move { archive.create_numbered(&folder, n.to_string()).await })
        })
        .collect();
    let mut numbers = Vec::new();
    for writer in writers {
        numbers.push(writer.await.unwrap().unwrap());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=8).collect::<Vec<_>>());
    assert_eq!(archive.latest(&folder).await.unwrap().unwrap().0, 8);
}
