//! Datasets by name.

use super::definition::Dataset;
use crate::error::{Error, Result};

/// Finds datasets by name; an error names those that exist.
pub fn select<'a>(all: &'a [Dataset], names: &[String]) -> Result<Vec<&'a Dataset>> {
    if names.is_empty() || names.iter().any(|n| n == "all") {
        return Ok(all.iter().collect());
    }
    let find = |name: &String| {
        all.iter().find(|d| d.name.as_str() == name).ok_or_else(|| {
            let known: Vec<_> = all.iter().map(|d| d.name.as_str()).collect();
            Error::usage(format!("there is no dataset `{}`", name.escape_debug()))
                .with_hint(format!("datasets: {}", known.join(", ")))
        })
    };
    names.iter().map(find).collect()
}
