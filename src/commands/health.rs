//! `mpsync health`: a daemon's own word on how it is, as an exit code.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::CommandContext;
use crate::cli::{HealthArgs, Mode, Output};
use mpsync_config::HttpConfig;
use mpsync_core::error::{Cause, Error, Result};
use mpsync_daemon::{DaemonHealth, ReportedCheck, Trust};
use mpsync_net::Tls;

pub(super) async fn run(context: &CommandContext, args: &HealthArgs) -> Result<()> {
    let (url, trust) = match &args.url {
        Some(url) => (url.clone(), given(args)?),
        None => configured(&context.config.http, args.mode)?,
    };
    let patience = Duration::from_secs(args.timeout.into());
    let (health, document) = mpsync_daemon::health(&url, trust, patience).await?;
    match context.output {
        Output::Json => println!("{document}"),
        Output::Text => print(&health),
    }
    verdict(&url, &health)
}

/// A daemon that is degraded still does its work: only one that is down is to be acted on.
fn verdict(url: &str, health: &DaemonHealth) -> Result<()> {
    if !health.is_down() {
        return Ok(());
    }
    let failing: Vec<&str> = health.failing().collect();
    Err(Error::new(Cause::Down(format!(
        "the daemon at {url} is down: {}",
        failing.join(", ")
    ))))
}

fn given(args: &HealthArgs) -> Result<Trust> {
    Ok(match &args.ca_file {
        Some(file) => Trust::Authorities(Tls::from_ca_file(file)?),
        None => Trust::System,
    })
}

/// Where a daemon of this configuration answers on this machine. Its certificate names the hosts by which others reach it, hardly
/// this one: it is known by itself.
fn configured(http: &HttpConfig, mode: Mode) -> Result<(String, Trust)> {
    let (key, address) = match mode {
        Mode::Hot | Mode::Both => ("http.hot_listen", http.hot_listen),
        Mode::Cold => ("http.cold_listen", http.cold_listen),
    };
    if address.port() == 0 {
        return Err(Error::usage(format!("{key} takes any free port"))
            .with_hint("say --url with the address that the daemon logged"));
    }
    let address = reached(address);
    Ok(match &http.certificate {
        Some(certificate) => (
            format!("https://{address}"),
            Trust::This(certificate.clone()),
        ),
        None => (format!("http://{address}"), Trust::System),
    })
}

/// One that listens on every address is asked on loopback.
fn reached(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn print(health: &DaemonHealth) {
    let width = health.checks.iter().map(|check| check.name.len()).max();
    let width = width.unwrap_or_default();
    for check in &health.checks {
        let word = if check.ok { "ok" } else { "bad" };
        let line = format!("{word:<4} {:<width$}  {}", check.name, message(check));
        println!("{}", line.trim_end());
    }
    println!("{} ({})", health.status, health.mode);
}

/// What there is to say of a check, on one line.
fn message(check: &ReportedCheck) -> String {
    let mut said = Vec::new();
    if let Some(seconds) = check.latency_seconds {
        said.push(format!("{:.1} ms", seconds * 1e3));
    }
    if let Some(bytes) = check.free_bytes {
        said.push(format!("{bytes} bytes free"));
    }
    if let (false, Some(at)) = (check.ok, &check.last_success_at) {
        said.push(format!("last well at {at}"));
    }
    if let Some(detail) = &check.detail {
        let lines: Vec<&str> = detail.lines().map(str::trim).collect();
        said.push(lines.join("; "));
    }
    said.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(status: &str) -> DaemonHealth {
        serde_json::from_value(serde_json::json!({"status": status, "mode": "cold", "new": 1, "checks": [
            {"name": "cold", "ok": true, "latency_seconds": 0.001, "last_success_at": null, "detail": null, "free_bytes": null},
            {"name": "disk:archive", "ok": false, "latency_seconds": null, "last_success_at": "2026-01-01T00:00:00Z",
             "detail": "it is full\n  hint: make room", "free_bytes": 5},
        ]}))
        .unwrap()
    }

    #[test]
    fn only_a_daemon_that_is_down_is_a_failure_and_says_which_check() {
        for status in ["ok", "degraded"] {
            verdict("http://h:1", &health(status)).unwrap();
        }
        let e = verdict("http://h:1", &health("down")).unwrap_err();
        assert_eq!(e.exit_code(), mpsync_core::error::ExitCode::Failed);
        assert!(e.to_string().ends_with("is down: disk:archive"), "{e}");
        let said: Vec<String> = health("down").checks.iter().map(message).collect();
        assert_eq!(said[0], "1.0 ms");
        assert_eq!(
            said[1],
            "5 bytes free, last well at 2026-01-01T00:00:00Z, it is full; hint: make room"
        );
    }

    #[test]
    fn a_daemon_that_listens_everywhere_is_asked_on_this_machine() {
        for (listens, asked) in [
            ("0.0.0.0:8085", "127.0.0.1:8085"),
            ("[::]:8085", "[::1]:8085"),
            ("10.1.2.3:80", "10.1.2.3:80"),
        ] {
            let address = reached(listens.parse().unwrap());
            assert_eq!(address.to_string(), asked);
        }
    }
}
