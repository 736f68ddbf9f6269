//! The configuration of a process that runs: read again on request, as far as it can change.

use std::sync::Arc;

use tokio::sync::watch;

use super::source::RawConfig;
use super::{Config, Sources};
use mpsync_core::error::Result;

/// The configuration that holds now, for all who want to follow it.
#[derive(Debug)]
pub struct LiveConfig {
    sources: Sources,
    environment: Vec<(String, String)>,
    now: watch::Sender<Arc<Config>>,
}

/// What a reload came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Keys that are other than before.
    pub changed: Vec<String>,
    /// Keys that are said otherwise now, but hold as before until the process is started again.
    pub kept: Vec<String>,
}

impl LiveConfig {
    /// Reads the configuration for the first time. `environment` is that of the process: it does not change.
    pub fn load(sources: Sources, environment: Vec<(String, String)>) -> Result<Self> {
        let config = sources.load(environment.iter().cloned())?;
        Ok(Self {
            sources,
            environment,
            now: watch::Sender::new(Arc::new(config)),
        })
    }

    /// What holds now.
    #[must_use]
    pub fn now(&self) -> Arc<Config> {
        self.now.borrow().clone()
    }

    /// Told of every reload that changed something.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Config>> {
        self.now.subscribe()
    }

    /// Reads the configuration again and takes over what can change at run time.
    ///
    /// Where anything is wrong, be it a key that cannot change, everything holds as before and the error says all of it;
    /// `check` may find more than the configuration itself knows, such as datasets that there are not.
    pub fn reload(&self, check: impl FnOnce(&Config) -> Result<()>) -> Result<Reloaded> {
        let (raw, problems) = self.sources.read(self.environment.iter().cloned())?;
        let wanted = Config::of(raw, self.sources.base(), problems)?;
        let old = self.now();
        let (merged, reloaded) = merged(&old, &wanted);
        let config = Config::of(merged, self.sources.base(), super::Problems::default())?;
        check(&config)?;
        if !reloaded.changed.is_empty() {
            self.now.send_replace(Arc::new(config));
        }
        Ok(reloaded)
    }
}

/// What the old configuration says, with what the new one says of the keys that can change.
fn merged(old: &Config, new: &Config) -> (RawConfig, Reloaded) {
    let (before, after) = (&old.settings.raw, &new.settings.raw);
    let mut merged = RawConfig {
        values: before.values.clone(),
        sections: after.sections.clone(),
    };
    let mut reloaded = Reloaded::default();
    let both = old.settings.all().iter().chain(new.settings.all());
    for setting in both {
        let key = &setting.key;
        let (was, is) = (before.values.get(key), after.values.get(key));
        let differs = was.map(|raw_value| &raw_value.value) != is.map(|raw_value| &raw_value.value);
        let told = if setting.is_live {
            match is {
                Some(raw_value) => merged.values.insert(key.clone(), raw_value.clone()),
                None => merged.values.remove(key),
            };
            &mut reloaded.changed
        } else {
            &mut reloaded.kept
        };
        if differs && !told.contains(key) {
            told.push(key.clone());
        }
    }
    (merged, reloaded)
}
