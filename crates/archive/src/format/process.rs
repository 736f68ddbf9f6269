//! The identity of a process on its host, so that the lease of a killed process need not be waited for.

use serde::{Deserialize, Serialize};

/// A process, distinguished from all others that ever had its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// The running kernel and the namespace in which `pid` means something.
    place: String,
    pid: u32,
    /// When it started, in the kernel's clock ticks since boot.
    started: u64,
}

impl Process {
    /// Returns this process; `None` on other systems than Linux.
    pub(crate) fn current() -> Option<Self> {
        Self::of(std::process::id())
    }

    /// Returns the process of this number in this place.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Some(Self {
            place: place()?,
            pid,
            started: start_of(&stat_of(pid)?)?,
        })
    }

    /// Returns whether it is certain that the process has ended: it ran in this very place, and does not any more.
    pub(crate) fn is_gone(&self) -> bool {
        if place().as_ref() != Some(&self.place) {
            return false;
        }
        match std::fs::read_to_string(format!("/proc/{}/stat", self.pid)) {
            // Its number may belong to another process by now; one that was killed and not yet reaped does nothing more.
            Ok(stat) => {
                start_of(&stat).is_some_and(|started| started != self.started) || is_dead(&stat)
            }
            Err(e) => e.kind() == std::io::ErrorKind::NotFound,
        }
    }
}

fn place() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

fn stat_of(pid: u32) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()
}

/// Returns the fields after the name, which stands in parentheses and may hold any character; the first is the state.
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace()
}

fn start_of(stat: &str) -> Option<u64> {
    fields(stat).nth(19)?.parse().ok()
}

fn is_dead(stat: &str) -> bool {
    matches!(fields(stat).next(), Some("Z" | "X"))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_there_and_a_killed_one_is_gone() {
        let this = Process::current().unwrap();
        assert!(!this.is_gone());
        let reused = Process {
            started: this.started + 1,
            ..this.clone()
        };
        assert!(reused.is_gone());
        let elsewhere = Process {
            place: "another host".into(),
            pid: u32::MAX,
            ..this.clone()
        };
        assert!(!elsewhere.is_gone());
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let other = Process::of(child.id()).unwrap();
        assert!(!other.is_gone());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(other.is_gone());
    }
}
