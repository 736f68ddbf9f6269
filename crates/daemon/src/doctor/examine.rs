//! The whole examination, within a time limit for each store.

use std::time::Duration;

use mpsync_clickhouse::Tier;
use mpsync_config::Config;
use mpsync_core::dataset::{Dataset, TierRole};

use super::diagnosis::{Diagnosis, Finding, Findings, Severity};
use super::{archive, stream, tier};
use crate::state::mode::Mode;

/// The time limit for the checks of one store.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);

/// Examines the stores that a daemon of this mode uses.
///
/// # Cancel safety
///
/// Cancel-safe.
pub async fn examine(config: &Config, datasets: &[Dataset], mode: Mode) -> Diagnosis {
    let hot = tier_findings(config, datasets, TierRole::Hot);
    let cold = async {
        match mode.is_cold() {
            true => tier_findings(config, datasets, TierRole::Cold).await,
            false => Vec::new(),
        }
    };
    let nats = async {
        match mode.is_hot() {
            true => limited("nats", stream::examine(&config.nats)).await,
            false => Vec::new(),
        }
    };
    let archive = async {
        match mode.is_cold() {
            true => limited("archive", archive::examine(&config.archive)).await,
            false => Vec::new(),
        }
    };
    let (hot, cold, nats, archive) = tokio::join!(hot, cold, nats, archive);
    Diagnosis {
        findings: [nats, hot, archive, cold].concat(),
    }
}

/// Examines the tiers only: what a proof depends on.
pub(crate) async fn examine_tiers(
    config: &Config,
    datasets: &[Dataset],
    roles: &[TierRole],
) -> Diagnosis {
    let mut findings = Vec::new();
    for role in roles {
        findings.extend(tier_findings(config, datasets, *role).await);
    }
    Diagnosis { findings }
}

async fn tier_findings(config: &Config, datasets: &[Dataset], role: TierRole) -> Vec<Finding> {
    let options = match role {
        TierRole::Hot => &config.hot,
        TierRole::Cold => &config.cold,
    };
    let client = Tier::new(role, options);
    let deletes = tier::deletes(role, &config.sync);
    let name = role.to_string();
    limited(&name, tier::examine(&client, datasets, deletes)).await
}

async fn limited(store: &str, checks: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    let done = tokio::time::timeout(STORE_TIMEOUT, checks).await;
    done.unwrap_or_else(|_| {
        let mut findings = Findings::of(store);
        findings.advise(
            Severity::Unreachable,
            "connection",
            format!("the checks took longer than {} s", STORE_TIMEOUT.as_secs()),
            "check the load of the server",
        );
        findings.into_vec()
    })
}
