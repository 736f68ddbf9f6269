//! The embedded engine, for configurations without a ClickHouse server: hot and cold are two databases of one engine, and
//! everything lies in the user's data folder.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::context::CommandContext;
use crate::servers::{EngineServer, data_folder};
use mpsync_archive::ArchivePlace;
use mpsync_config::{Config, Origin};
use mpsync_core::dataset::{Dataset, TierRole};
use mpsync_core::error::{Context as _, Error, Result};
use mpsync_engine::library_path;

/// How long the engine of a killed process may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// The context of an error that concerns the embedded engine.
const OTHERWISE: &str =
    "no ClickHouse is configured (hot_storage.clickhouse_host), so the embedded engine is needed";

/// Points paths that the configuration does not set to the data folder; returns that folder if the engine is embedded.
pub(super) fn settle(config: &mut Config) -> Result<Option<PathBuf>> {
    if !config.engine.embedded {
        return Ok(None);
    }
    let Some(folder) = config.engine.folder.clone().or_else(data_folder) else {
        return Err(Error::config(
            "neither XDG_DATA_HOME nor HOME is set, so there is no data folder for the embedded engine",
        )
        .with_hint("set engine.folder, or configure a ClickHouse server: hot_storage.clickhouse_host"));
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

/// Starts the engine for as long as this process runs; returns `None` if a server is configured.
///
/// Fails if another process has the engine: it belongs to one process, and would end with it under the other one.
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
            .with_hint("run both sides in one process with `--mode both`, or configure a ClickHouse server (hot_storage.clickhouse_host)"));
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
        "no ClickHouse is configured: the embedded engine has hot and cold; to use servers, set \
         hot_storage.clickhouse_host and cold_storage.clickhouse_host in a file (--config) or \
         MPSYNC__HOT_STORAGE__CLICKHOUSE_HOST"
    );
    Ok(Some(engine))
}

/// Points a context to its archive and its tiers: to the engine of a running daemon or, if a command needs a tier, to an
/// engine that is started for it and returned.
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
    // Checked here, so that the error reaches the user and not the log of the child.
    library_path().context(|| OTHERWISE)?;
    // Only its owner may read the archive, nor the data that it comes from.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .context(|| format!("creating {}", folder.display()))?;
    let program = std::env::current_exe().context(|| "locating this program's executable")?;
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
