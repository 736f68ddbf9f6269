//! `mpsync config`: what is wrong with it was found by loading it; what holds is shown.

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde_json::json;

use super::context::CommandContext;
use crate::cli::{ConfigAction, ConfigArgs, Output};
use crate::output::outln;
use mpsync_config::Setting;

pub(super) fn run(context: &CommandContext, args: &ConfigArgs) {
    match args.action {
        ConfigAction::Check => check(context),
        ConfigAction::Show => show(context),
    }
}

fn check(context: &CommandContext) {
    let warnings = context.config.settings.warnings();
    let datasets = context.datasets.len();
    match context.output {
        Output::Text => {
            for warning in warnings {
                outln!("insecure: {warning}");
            }
            outln!("the configuration is well-formed; {datasets} datasets");
        }
        Output::Json => {
            let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
            let report = json!({"ok": true, "datasets": datasets, "warnings": warnings});
            outln!("{report}");
        }
    }
}

fn show(context: &CommandContext) {
    let settings = context.config.settings.all();
    match context.output {
        Output::Text => {
            let mut table = Table::new();
            table
                .load_style(UTF8_FULL_CONDENSED)
                .set_header(["key", "value", "from", "reload"]);
            for setting in settings {
                let reload = if setting.is_live { "yes" } else { "restart" };
                table.add_row([
                    setting.key.clone(),
                    display(setting),
                    setting.origin.to_string(),
                    reload.to_owned(),
                ]);
            }
            outln!("{table}");
        }
        Output::Json => {
            let one = |s: &Setting| {
                json!({
                    "key": s.key,
                    "value": s.value,
                    "source": s.origin.to_string(),
                    "reload": s.is_live,
                })
            };
            let all: Vec<_> = settings.iter().map(one).collect();
            outln!("{}", json!({ "settings": all }));
        }
    }
}

/// A value as a person reads it.
fn display(setting: &Setting) -> String {
    match &setting.value {
        serde_json::Value::Null => "–".to_owned(),
        serde_json::Value::String(text) => text.escape_debug().to_string(),
        other => other.to_string(),
    }
}
