//! `mpsync schema show|apply`.

use super::Context;
use crate::cli::{Output, SchemaAction, SchemaArgs};
use crate::dataset::select;
use crate::error::Result;

pub(super) async fn run(context: &Context, args: &SchemaArgs) -> Result<()> {
    let (SchemaAction::Show(target) | SchemaAction::Apply(target)) = &args.action;
    let tier = context.tier(target.tier);
    let datasets = select(&context.datasets, &target.datasets)?;
    match &args.action {
        SchemaAction::Show(_) => {
            for dataset in &datasets {
                println!("{};\n", tier.create_table_sql(dataset)?);
            }
        }
        SchemaAction::Apply(_) => {
            tier.apply_schema(&datasets).await?;
            let tables: Vec<_> = datasets.iter().map(|d| &d.table).collect();
            match context.output {
                Output::Text => println!(
                    "{} tables in {} of {}",
                    tables.len(),
                    tier.database(),
                    tier.role()
                ),
                Output::Json => println!(
                    "{}",
                    serde_json::json!({"database": tier.database(), "tables": tables})
                ),
            }
        }
    }
    Ok(())
}
