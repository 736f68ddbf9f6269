//! `mpsync config check`: everything that can be wrong in it was found by loading it.

use super::Context;
use crate::cli::{ConfigAction, ConfigArgs, Output};

pub(super) fn run(context: &Context, args: &ConfigArgs) {
    match args.action {
        ConfigAction::Check => match context.output {
            Output::Text => println!(
                "the configuration is well-formed; {} datasets",
                context.datasets.len()
            ),
            Output::Json => println!(
                "{}",
                serde_json::json!({"ok": true, "datasets": context.datasets.len()})
            ),
        },
    }
}
