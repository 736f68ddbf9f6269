//! Leases with observers of little patience.

use object_store::memory::InMemory;

use super::*;
use std::sync::Arc;

use crate::testing::{id, small};
use bytes::Bytes;

fn archive() -> Archive {
    Archive::with_store(Arc::new(InMemory::new()), &small("".as_ref()))
}

async fn acquire(archive: &Archive, watcher: &LeaseWatcher) -> Result<Lease> {
    let id = id(0);
    Lease::acquire_watching(archive, &id.dataset, id.window, "worker", watcher).await
}

/// A lease of a process that no longer tells anything of itself.
async fn silent(archive: &Archive, attempt: u64, process: Option<Process>) {
    let record = LeaseRecord {
        attempt,
        holder: "sleeper".into(),
        nonce: "n".into(),
        process,
        acquired_at: id(0).window.start(),
        ttl_ms: None,
        heartbeat: 3,
        released: false,
    };
    let path = leases_folder(&id(0).dataset, id(0).window).join(numbered_file(attempt));
    archive
        .overwrite(&path, record.to_json().unwrap())
        .await
        .unwrap();
}

#[test]
fn a_lease_expires_when_it_did_not_change_for_the_observer_s_patience() {
    let watcher = LeaseWatcher::new(Duration::from_mins(1));
    let folder = Path::from("x");
    let start = Instant::now();
    let look = |number: u64, content: &'static str, after: u64| {
        let now = start + Duration::from_secs(after);
        watcher.check(&folder, number, &Bytes::from(content), now)
    };
    let unknown = |left| LeaseVerdict::Unknown(Duration::from_secs(left));
    assert_eq!(look(1, "a", 0), unknown(60));
    assert_eq!(look(1, "a", 59), unknown(1));
    assert_eq!(look(1, "b", 59), LeaseVerdict::Alive);
    assert_eq!(look(1, "b", 118), LeaseVerdict::Alive);
    assert_eq!(look(1, "b", 119), LeaseVerdict::Free);
    assert_eq!(look(2, "b", 130), LeaseVerdict::Alive);
    assert_eq!(look(2, "b", 190), LeaseVerdict::Free);
}

#[tokio::test]
async fn a_released_lease_is_free_at_once_and_the_attempt_grows() {
    let archive = archive();
    let watcher = LeaseWatcher::default();
    for attempt in 1..=3 {
        let lease = acquire(&archive, &watcher).await.unwrap();
        assert_eq!(lease.attempt, attempt);
        lease.check().await.unwrap();
        let id = id(0);
        let e = Lease::try_acquire(&archive, &id.dataset, id.window, "other", &watcher).await;
        let e = e.unwrap_err();
        assert!(
            matches!(e.cause(), mpsync_core::error::Cause::Busy(_)),
            "{e}"
        );
        assert!(e.to_string().contains("being worked on by worker"), "{e}");
        lease.release().await.unwrap();
    }
}

#[tokio::test]
async fn of_many_who_want_a_window_one_gets_it() {
    let archive = archive();
    let tries: Vec<_> = (0..16)
        .map(|_| {
            let archive = archive.clone();
            tokio::spawn(async move {
                let id = id(0);
                let watcher = LeaseWatcher::default();
                Lease::try_acquire(&archive, &id.dataset, id.window, "w", &watcher).await
            })
        })
        .collect();
    let mut held = Vec::new();
    for one in tries {
        held.extend(one.await.unwrap().ok());
    }
    assert_eq!(held.len(), 1);
}

#[tokio::test]
async fn a_holder_that_beats_is_busy_and_one_that_is_silent_is_passed_over() {
    let archive = archive();
    let watcher = LeaseWatcher::new(Duration::from_millis(600));
    silent(&archive, 4, None).await;
    let lease = acquire(&archive, &watcher).await.unwrap();
    assert_eq!(lease.attempt, 5);
    lease.release().await.unwrap();
    // The one that beats is found out by its beat, long before a patience is over.
    let lease = acquire(&archive, &LeaseWatcher::new(Duration::from_secs(6))).await;
    let lease = lease.unwrap();
    let patient = LeaseWatcher::new(Duration::from_secs(30));
    let e = acquire(&archive, &patient).await.unwrap_err();
    assert!(
        matches!(e.cause(), mpsync_core::error::Cause::Busy(_)),
        "{e}"
    );
    lease.release().await.unwrap();
}

#[tokio::test]
async fn a_killed_process_of_this_host_need_not_be_waited_for() {
    let archive = archive();
    let mut child = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let process = Process::of(child.id());
    assert!(process.is_some() || cfg!(not(target_os = "linux")));
    child.kill().unwrap();
    child.wait().unwrap();
    silent(&archive, 1, process).await;
    let id = id(0);
    let watcher = LeaseWatcher::default();
    let lease = Lease::try_acquire(&archive, &id.dataset, id.window, "w", &watcher).await;
    assert_eq!(lease.unwrap().attempt, 2);
}

#[tokio::test]
async fn a_holder_learns_that_it_was_passed_over() {
    let archive = archive();
    let lease = acquire(&archive, &LeaseWatcher::new(Duration::from_millis(120)))
        .await
        .unwrap();
    silent(&archive, 2, None).await;
    tokio::time::timeout(Duration::from_mins(5), lease.lost().cancelled())
        .await
        .unwrap();
    let e = lease.check().await.unwrap_err().to_string();
    assert!(e.contains("attempt 2 has taken over"), "{e}");
    lease.release().await.unwrap();
    let folder = leases_folder(&id(0).dataset, id(0).window);
    let (number, json) = archive.latest(&folder).await.unwrap().unwrap();
    assert_eq!(
        (number, LeaseRecord::parse(&json).unwrap().released),
        (2, false)
    );
}

#[tokio::test]
async fn a_dropped_lease_is_released() {
    let archive = archive();
    drop(acquire(&archive, &LeaseWatcher::default()).await.unwrap());
    let folder = leases_folder(&id(0).dataset, id(0).window);
    let released = async {
        loop {
            let (_, json) = archive.latest(&folder).await.unwrap().unwrap();
            if LeaseRecord::parse(&json).unwrap().released {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(5), released)
        .await
        .unwrap();
}
