//! The configuration of a running process: read again on request, as far as it can change.

use std::sync::Arc;

use tokio::sync::watch;

use mpsync_core::error::Result;

use crate::config::Config;
use crate::reading::problems::Problems;
use crate::reading::raw::RawConfig;
use crate::sources::Sources;

/// The current configuration, for all parts of the process that follow it.
#[derive(Debug)]
pub struct LiveConfig {
    sources: Sources,
    environment: Vec<(String, String)>,
    now: watch::Sender<Arc<Config>>,
}

/// The result of a reload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// The keys whose values have changed.
    pub changed: Vec<String>,
    /// The keys that are set to another value, which takes effect at the next start of the process.
    pub kept: Vec<String>,
}

impl LiveConfig {
    /// Reads the configuration for the first time. `environment` is that of the process, which does not change.
    ///
    /// # Errors
    ///
    /// As [`Sources::load`].
    pub fn load(sources: Sources, environment: Vec<(String, String)>) -> Result<Self> {
        let config = sources.load(environment.iter().cloned())?;
        Ok(Self {
            sources,
            environment,
            now: watch::Sender::new(Arc::new(config)),
        })
    }

    /// Returns the current configuration.
    #[must_use]
    pub fn now(&self) -> Arc<Config> {
        self.now.borrow().clone()
    }

    /// Returns a receiver that gets the configuration after every reload that changed it.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Config>> {
        self.now.subscribe()
    }

    /// Reads the configuration again and applies the keys that can change at run time.
    ///
    /// `check` may find mistakes that the configuration itself cannot know, such as unknown datasets.
    ///
    /// # Errors
    ///
    /// If any key has a mistake, including one that cannot change at run time. The previous configuration then stays in
    /// effect, and the error names all mistakes.
    pub fn reload(&self, check: impl FnOnce(&Config) -> Result<()>) -> Result<Reloaded> {
        let (raw, problems) = self.sources.read(self.environment.iter().cloned())?;
        let wanted = Config::from_raw(raw, self.sources.base(), problems)?;
        let old = self.now();
        let (merged, reloaded) = merged(&old, &wanted);
        let config = Config::from_raw(merged, self.sources.base(), Problems::default())?;
        check(&config)?;
        if !reloaded.changed.is_empty() {
            self.now.send_replace(Arc::new(config));
        }
        Ok(reloaded)
    }
}

/// Merges the old configuration with the new values of the keys that can change.
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
        let list = if setting.is_live {
            match is {
                Some(raw_value) => merged.values.insert(key.clone(), raw_value.clone()),
                None => merged.values.remove(key),
            };
            &mut reloaded.changed
        } else {
            &mut reloaded.kept
        };
        if differs && !list.contains(key) {
            list.push(key.clone());
        }
    }
    (merged, reloaded)
}
