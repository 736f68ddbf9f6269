//! Where no ClickHouse is configured: hot and cold are two databases of one embedded engine, and all of it lies in the user's data
//! folder.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::CommandContext;
use crate::servers::{EngineServer, data_folder};
use mpsync_archive::ArchivePlace;
use mpsync_config::{Config, Origin};
use mpsync_core::dataset::{Dataset, TierRole};
use mpsync_core::error::{Context as _, Error, Result};
use mpsync_engine::library_path;

/// How long the engine of a process that was killed may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is said where the engine cannot be had.
const OTHERWISE: &str =
    "no ClickHouse is configured (hot_storage.clickhouse_host), so that the embedded one is needed";

/// Points what the configuration leaves open to the data folder; the folder, where the engine is embedded.
pub(super) fn settle(config: &mut Config) -> Result<Option<PathBuf>> {
    if !config.engine.embedded {
        return Ok(None);
    }
    let Some(folder) = config.engine.folder.clone().or_else(data_folder) else {
        return Err(Error::config(
            "neither XDG_DATA_HOME nor HOME is set, so that there is no place for the embedded engine",
        )
        .with_hint("say engine.folder, or how a ClickHouse is reached: hot_storage.clickhouse_host"));
    };
    let is_open = |key: &str| config.settings.origin(key) == Origin::Default;
    let archive = is_open("archive.path") && is_open("archive.url");
    let letters = is_open("ingest.dead_letter_folder");
    config.settings.fill_default("engine.folder", &folder);
    if archive {
        let place = folder.join("archive");
        config.settings.fill_default("archive.path", &place);
        config.archive.place = ArchivePlace::Folder(place);
    }
    if letters {
        let place = folder.join("dead-letters");
        config
            .settings
            .fill_default("ingest.dead_letter_folder", &place);
        config.ingest.dead_letter_folder = Some(place);
    }
    Ok(Some(folder))
}

/// Starts the engine for as long as this process runs; `None` where a server is configured.
///
/// Refused where another process has it: an engine has one process, and this one's end would take the other's away.
pub(super) async fn start(context: &mut CommandContext) -> Result<Option<EngineServer>> {
    let Some(folder) = settle(&mut context.config)? else {
        return Ok(None);
    };
    let deadline = Instant::now() + PATIENCE;
    while EngineServer::serve_running(&mut context.config, &folder.join("engine"))? {
        if Instant::now() > deadline {
            return Err(Error::busy(format!(
                "another mpsync runs on the embedded engine in {}",
                folder.display()
            ))
            .with_hint("`--mode both` runs both sides in one process; two processes need a ClickHouse server (hot_storage.clickhouse_host)"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let engine = begin(context, folder).await?;
    let config = &context.config;
    tracing::info!(
        engine = engine.url,
        password_file = %engine.password_file.display(),
        hot = config.hot.database,
        cold = config.cold.database,
        archive = %config.archive.place,
        dead_letters = config.ingest.dead_letter_folder.as_ref().map(|f| f.display().to_string()),
        "no ClickHouse is configured: hot and cold are kept by the embedded engine; for servers say \
         hot_storage.clickhouse_host and cold_storage.clickhouse_host in a file (--config) or as \
         MPSYNC__HOT_STORAGE__CLICKHOUSE_HOST"
    );
    Ok(Some(engine))
}

/// Points a context to its archive and its tiers: to the engine that a daemon runs, or, for a command that needs a tier, to one
/// that is started for it and given back.
pub(super) async fn reach(
    context: &mut CommandContext,
    needs_a_tier: bool,
) -> Result<Option<EngineServer>> {
    let Some(folder) = settle(&mut context.config)? else {
        return Ok(None);
    };
    let is_running = EngineServer::serve_running(&mut context.config, &folder.join("engine"))?;
    match needs_a_tier && !is_running {
        true => begin(context, folder).await.map(Some),
        false => Ok(None),
    }
}

async fn begin(context: &mut CommandContext, folder: PathBuf) -> Result<EngineServer> {
    // Asked here, where it can be said plainly, and not in the child's log.
    library_path().context(|| OTHERWISE)?;
    // The archive is its owner's, and so is what it is made of.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .context(|| format!("making {}", folder.display()))?;
    let program = std::env::current_exe().context(|| "finding this program's own file")?;
    let engine = EngineServer::start(&program, &folder.join("engine"))
        .await
        .context(|| OTHERWISE)?;
    engine.serve(&mut context.config);
    let all: Vec<&Dataset> = context.datasets.iter().collect();
    for role in [TierRole::Hot, TierRole::Cold] {
        context.tier(role).apply_schema(&all).await?;
    }
    Ok(engine)
}
