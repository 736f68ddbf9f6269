//! The resources that this process uses, from `/proc` on Linux: the metrics of the official clients of Prometheus.
//!
//! `docs/adr/0028-own-process-metrics.md` explains why the collector of the `prometheus` crate is not used.

use std::fs;

/// The clock ticks of a second in which Linux counts the time of processes: a constant of its interface to programs,
/// independent of the kernel's own clock.
const TICKS: f64 = 100.0;

/// The resources of a process.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Usage {
    /// CPU time in user and kernel mode, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Resident memory, in bytes.
    pub(crate) resident_bytes: f64,
    /// Virtual memory, in bytes.
    pub(crate) virtual_bytes: f64,
    /// The start time, in seconds since 1970.
    pub(crate) started_at: f64,
    /// The number of threads.
    pub(crate) threads: f64,
    /// The number of open file descriptors.
    pub(crate) open_fds: f64,
    /// The maximum number of open file descriptors.
    pub(crate) max_fds: Option<f64>,
}

/// Returns the current usage of this process; `None` on systems without `/proc`.
pub(crate) fn usage() -> Option<Usage> {
    let text = |name: &str| fs::read_to_string(format!("/proc/{name}")).ok();
    let mut usage = read(
        &text("self/stat")?,
        &text("self/status")?,
        &text("stat")?,
        &text("self/limits").unwrap_or_default(),
    )?;
    // One of them is the open folder itself.
    let open = fs::read_dir("/proc/self/fd")
        .ok()?
        .count()
        .saturating_sub(1);
    usage.open_fds = f64::from(u32::try_from(open).unwrap_or(u32::MAX));
    Some(usage)
}

fn read(stat: &str, status: &str, machine: &str, limits: &str) -> Option<Usage> {
    // The program's name may contain a closing parenthesis; after the last one there are only numbers.
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    // The manual page counts from 1, and two fields precede these.
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    let kilobytes = |name: &str| number_after(status, name).map(|kb| kb * 1024.0);
    let booted_at = number_after(machine, "btime ")?;
    Some(Usage {
        cpu_seconds: (field(14)? + field(15)?) / TICKS,
        resident_bytes: kilobytes("VmRSS:")?,
        virtual_bytes: kilobytes("VmSize:")?,
        started_at: booted_at + field(22)? / TICKS,
        threads: number_after(status, "Threads:")?,
        open_fds: 0.0,
        max_fds: number_after(limits, "Max open files"),
    })
}

/// Returns the first number of the line with this beginning.
fn number_after(text: &str, beginning: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(beginning))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_parsed_with_any_program_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 100 0 0 0 250 150 0 0 20 0 9 0 5000 1000 200 18446744073709551615";
        let status = "Name:\ta) b (c\nVmSize:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t9\n";
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files\n";
        let usage = read(stat, status, "cpu 1 2\nbtime 1700000000\n", limits).unwrap();
        assert_eq!(
            usage,
            Usage {
                cpu_seconds: 4.0,
                resident_bytes: 1_048_576.0,
                virtual_bytes: 2_097_152.0,
                started_at: 1_700_000_050.0,
                threads: 9.0,
                open_fds: 0.0,
                max_fds: Some(1024.0),
            }
        );
        assert_eq!(read("", "", "", ""), None);
    }

    #[test]
    fn usage_of_this_process_is_plausible() {
        if cfg!(target_os = "linux") {
            let usage = usage().unwrap();
            assert!(
                usage.resident_bytes > 1e6 && usage.open_fds >= 1.0,
                "{usage:?}"
            );
            assert!(
                usage.started_at > 1.6e9 && usage.threads >= 1.0,
                "{usage:?}"
            );
        }
    }
}
