//! An archive that others can write: what is put in it does not lead out of it, and is not read without end.

use std::os::unix::fs::symlink;
use std::path::Path as FilePath;
use std::time::Duration;

use object_store::path::Path;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::testing::{generation, id, manifest, small, trades, write};
use crate::{Archive, Depth, Finding, FindingKind, Leftover, Manifest, Severity, verify};
use mpsync_core::error::ExitCode;

const DAY: Duration = Duration::from_hours(24);

async fn open(root: &FilePath) -> Archive {
    Archive::open(&small(root)).await.unwrap()
}

async fn findings(archive: &Archive, depth: Depth) -> Vec<Finding> {
    verify(archive, &id(0).dataset, id(0).window, depth).await
}

async fn leftovers(archive: &Archive) -> Vec<Leftover> {
    let later = archive.now().await.unwrap() + 2 * DAY;
    archive
        .old_leftovers(&id(0).dataset, later, DAY)
        .await
        .unwrap()
}

/// Moves a part of an archive out of it, and puts a link in its place.
fn replace_by_link(place: &FilePath, outside: &FilePath) {
    std::fs::rename(place, outside).unwrap();
    symlink(outside, place).unwrap();
}

#[tokio::test]
async fn links_are_not_followed_by_sweeps_reads_or_writes() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("archive");
    let archive = open(&root).await;
    generation(&archive, 0, 500).await;
    write(&archive, &id(1), 9, &trades(1, 10)).await.unwrap();
    let outside = folder.path().join("photos");
    replace_by_link(&root.join(id(1).folder().as_ref()), &outside);
    std::fs::write(outside.join("manifest.json#12"), "half").unwrap();
    let before = std::fs::read_dir(&outside).unwrap().count();

    assert_eq!(leftovers(&archive).await, []);
    let later = archive.now().await.unwrap() + 2 * DAY;
    assert!(
        archive
            .old_temporaries(later, DAY)
            .await
            .unwrap()
            .is_empty()
    );
    let chunk = id(1).file("part-00000-a9.parquet");
    let temporary = root.join(id(1).folder().as_ref()).join("manifest.json#12");
    for refused in [
        archive.read(&chunk).await.map(drop),
        archive.head(&chunk).await.map(drop),
        archive.remove(&chunk).await,
        archive.overwrite(&chunk, "x".into()).await,
        archive
            .create(&id(1).manifest(), "x".into())
            .await
            .map(drop),
        archive.list(&id(1).folder()).await.map(drop),
        archive.remove_temporaries(vec![temporary]).await,
        write(&archive, &id(1), 10, &trades(1, 10)).await.map(drop),
    ] {
        let e = refused.unwrap_err();
        assert_eq!(e.exit_code(), ExitCode::Integrity, "{e}");
        assert!(e.to_string().contains("is a symbolic link"), "{e}");
    }
    archive
        .remove_window(&id(0).dataset, id(0).window)
        .await
        .unwrap();
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), before);
}

#[tokio::test]
async fn links_in_place_of_files_are_findings() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("archive");
    let archive = open(&root).await;
    let first = generation(&archive, 0, 500).await;
    let chunk = id(0).file(&first.chunks[0].file);
    replace_by_link(&root.join(chunk.as_ref()), &folder.path().join("elsewhere"));
    for depth in [Depth::Quick, Depth::Deep] {
        let found = findings(&archive, depth).await;
        assert!(
            found
                .iter()
                .any(|f| f.kind == FindingKind::ChunkUnreadable
                    && f.text.contains("is a symbolic link")),
            "{found:?}"
        );
    }
    assert_eq!(leftovers(&archive).await, []);
    replace_by_link(
        &root.join(id(0).manifest().as_ref()),
        &folder.path().join("manifest"),
    );
    let e = archive.manifest(&id(0)).await.unwrap_err();
    assert!(e.to_string().contains("is a symbolic link"), "{e}");
}

#[tokio::test]
async fn pipe_in_place_of_a_chunk_is_a_finding_and_no_wait() {
    let folder = tempfile::tempdir().unwrap();
    let archive = open(folder.path()).await;
    let first = generation(&archive, 0, 500).await;
    let path = folder
        .path()
        .join(id(0).file(&first.chunks[0].file).as_ref());
    std::fs::remove_file(&path).unwrap();
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let looked = tokio::time::timeout(Duration::from_secs(30), async {
        let found = findings(&archive, Depth::Deep).await;
        let read = archive.read_chunk(&id(0), &first.chunks[0]).await;
        (found, read.unwrap_err())
    });
    let (found, e) = looked.await.expect("nothing waits for the other end");
    assert!(
        found.iter().any(|f| f.kind == FindingKind::ChunkUnreadable),
        "{found:?}"
    );
    assert!(e.to_string().contains("is not a regular file"), "{e}");
}

#[tokio::test]
async fn sizes_are_bounded_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let archive = open(folder.path()).await;
    let first = generation(&archive, 0, 500).await;
    let task = crate::layout::tasks_folder(&id(0).dataset, id(0).window).join("0000000001.json");
    let lease = crate::layout::leases_folder(&id(0).dataset, id(0).window).join("0000000001.json");
    for (path, bytes) in [
        (id(0).manifest(), 2 << 30),
        (task, 1 << 30),
        (lease, 1 << 30),
        (id(0).sums(), 1 << 30),
        (id(0).file(&first.chunks[0].file), 3 << 30),
    ] {
        let file = folder.path().join(path.as_ref());
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        // Sparse: it takes no room on the disk.
        std::fs::File::create(&file)
            .unwrap()
            .set_len(bytes)
            .unwrap();
        let e = archive.read(&path).await.unwrap_err();
        assert_eq!(e.exit_code(), ExitCode::Integrity, "{e}");
        assert!(e.to_string().contains(&bytes.to_string()), "{e}");
    }
    // A manifest that says so of its chunk.
    let mut huge = first.chunks[0].clone();
    huge.bytes = 3 << 30;
    let e = archive.read_chunk(&id(0), &huge).await.unwrap_err();
    assert!(e.to_string().contains("a chunk has at most"), "{e}");
}

fn refusal(change: impl FnOnce(&mut Manifest)) -> String {
    let batch = trades(0, 2);
    let chunk = crate::Chunk {
        file: "part-00000-a1.parquet".into(),
        rows: 2,
        bytes: 10,
        sha256: "ab".into(),
        min_time: id(0).window.start(),
        max_time: id(0).window.start(),
        key_id: None,
    };
    let mut manifest = manifest(&id(0), 1, &batch, vec![chunk]);
    change(&mut manifest);
    let json = manifest.to_json().unwrap();
    match Manifest::from_json(&json, &id(0)) {
        Ok(_) => String::new(),
        Err(e) => e.to_string(),
    }
}

#[test]
fn manifests_that_cannot_have_been_written_are_refused() {
    assert_eq!(refusal(|_| ()), "");
    let rows = |first: u64, second: u64| {
        move |m: &mut Manifest| {
            m.chunks.push(m.chunks[0].clone());
            (m.chunks[0].rows, m.chunks[1].rows) = (first, second);
            m.fingerprint.rows = first.wrapping_add(second);
        }
    };
    // The sum of these wraps to 1.
    assert!(refusal(rows(u64::MAX, 2)).contains("more than"));
    assert!(refusal(rows(1 << 41, 0)).contains("more than"));
    assert!(refusal(|m| m.chunks[0].bytes = u64::MAX).contains("more than"));
    for name in ["../x", "part-00000-a1.parquet\n", "SHA256SUMS", "notes"] {
        let refused = refusal(|m| m.chunks[0].file = name.into());
        assert!(
            refused.contains("invalid chunk name"),
            "{name:?}: {refused}"
        );
        assert!(!refused.contains("parquet\n`"), "{refused:?}");
    }
    for text in ["\u{1b}[31m", "a\r\nforged", "\u{9b}2J"] {
        let refused = refusal(|m| m.source.table = text.into());
        assert!(refused.contains("control characters"), "{refused}");
        let first = refused.lines().next().unwrap();
        assert!(!first.contains(char::is_control), "{first:?}");
        assert!(refusal(|m| m.writer = text.into()).contains("control characters"));
    }
    let e = Manifest::from_json(br#"{"format":1,"\u001b[2J":0}"#, &id(0)).unwrap_err();
    assert!(!e.message().contains('\u{1b}'), "{e}");
}

#[tokio::test]
async fn names_in_findings_are_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let archive = open(folder.path()).await;
    generation(&archive, 0, 500).await;
    let hostile = root_of(folder.path()).join("\u{9b}31mx");
    std::fs::write(hostile, "theirs").unwrap();
    for finding in findings(&archive, Depth::Quick).await {
        assert_eq!(finding.kind.severity(), Severity::Info);
        assert!(!finding.to_string().contains('\u{9b}'), "{finding}");
    }
    assert_eq!(leftovers(&archive).await, []);
    let objects = archive.list(&Path::default()).await.unwrap();
    assert!(
        objects
            .iter()
            .all(|o| !o.location.as_ref().contains('\u{9b}'))
    );
}

fn root_of(archive: &FilePath) -> std::path::PathBuf {
    archive.join(id(0).folder().as_ref())
}
