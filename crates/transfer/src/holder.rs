//! The name under which this process holds leases.

/// Who we are, for people that read leases and journals.
#[must_use]
pub fn holder() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::env::var("HOSTNAME"))
        .unwrap_or_else(|_| "some host".into());
    format!("{}:{}", host.trim(), std::process::id())
}
