//! `mpsync tasks`: wire, run, print.

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use jiff::Timestamp;
use serde::Serialize;

use super::context::CommandContext;
use super::selection::time_range;
use crate::cli::{Output, SubmitArgs, TaskListArgs, TasksAction, TasksArgs};
use crate::output::outln;
use mpsync_archive::Archive;
use mpsync_core::dataset::{Window, select};
use mpsync_core::error::{Error, Result};
use mpsync_transfer::tasks::{self, Page, Task, TaskFilter, TaskHistory, TaskId};
use mpsync_transfer::{
    Event, OpenRequest, Wish, dataset_of, holder, open_requests, parse_time, submit,
};

pub(super) async fn run(context: &CommandContext, args: &TasksArgs) -> Result<()> {
    let config = &context.config.archive;
    let now = Timestamp::now();
    match &args.action {
        TasksAction::List(args) => {
            let archive = Archive::open_read_only(config).await?;
            let page = tasks::list(&archive, now, &query(context, args, now)?).await?;
            let open = open_requests(&archive).await?;
            print_page(context.output, &page, &open)
        }
        TasksAction::Show { task } => {
            let archive = Archive::open_read_only(config).await?;
            match tasks::show(&archive, now, task).await? {
                Some(found) => print_history(context.output, &found),
                None => Err(unknown(task)),
            }
        }
        TasksAction::Retry { tasks } => {
            let archive = Archive::open(config).await?;
            for id in tasks {
                let status = tasks::retry(&archive, now, &holder(), id).await?;
                let status = status.ok_or_else(|| unknown(id))?;
                print_done(context.output, id, status, "the next sync retries it")?;
            }
            Ok(())
        }
        TasksAction::Cancel { tasks } => {
            let archive = Archive::open(config).await?;
            for id in tasks {
                let status = tasks::cancel(&archive, now, &holder(), id).await?;
                let status = status.ok_or_else(|| unknown(id))?;
                let then = "a running attempt ends at its next step; the task is skipped until it is retried";
                print_done(context.output, id, status, then)?;
            }
            Ok(())
        }
        TasksAction::Submit(args) => submit_one(context, args, now).await,
    }
}

fn query(context: &CommandContext, args: &TaskListArgs, now: Timestamp) -> Result<TaskFilter> {
    let datasets = match args.selection.datasets.as_slice() {
        [] => Vec::new(),
        names => select(&context.datasets, names)?
            .into_iter()
            .map(|d| d.name.clone())
            .collect(),
    };
    Ok(TaskFilter {
        datasets,
        range: time_range(&args.selection, now)?,
        stage: args.stage,
        statuses: args.status.into_iter().collect(),
        limit: usize::try_from(args.limit).unwrap_or(usize::MAX),
        after: args.after.clone(),
    })
}

async fn submit_one(context: &CommandContext, args: &SubmitArgs, now: Timestamp) -> Result<()> {
    let (from, to) = (parse_time(&args.from, now)?, parse_time(&args.to, now)?);
    let wish = Wish {
        dataset: dataset_of(&context.datasets, &args.dataset)?.name.clone(),
        window: Window::new(from, to)?,
        exchanges: args.exchange.clone(),
        symbols: args.symbol.clone(),
        at: now,
    };
    let archive = Archive::open(&context.config.archive).await?;
    let request = submit(&archive, &wish).await?;
    match context.output {
        Output::Json => outln!(
            "{}",
            serde_json::json!({ "request": request, "accepted": true })
        ),
        Output::Text => outln!(
            "{request}: {} from {from} to {to}; the next `mpsync sync` or the daemon transfers it",
            wish.dataset
        ),
    }
    Ok(())
}

fn unknown(id: &TaskId) -> Error {
    Error::usage(format!("unknown task {id}")).with_hint("list the tasks with `mpsync tasks list`")
}

fn print_json(value: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string(value).map_err(|e| Error::malformed(e.to_string()))?;
    outln!("{json}");
    Ok(())
}

fn print_done(
    output: Output,
    id: &TaskId,
    status: mpsync_transfer::Status,
    then: &str,
) -> Result<()> {
    match output {
        Output::Json => print_json(&serde_json::json!({ "task": id, "status": status })),
        Output::Text => {
            outln!("{id}: {status}; {then}");
            Ok(())
        }
    }
}

fn print_page(output: Output, page: &Page, open: &[OpenRequest]) -> Result<()> {
    if output == Output::Json {
        return print_json(&serde_json::json!({
            "tasks": page.tasks, "next": page.next, "requests": open,
        }));
    }
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_header(["task", "stage", "status", "attempt", "holder", "updated"]);
    for task in &page.tasks {
        table.add_row([
            task.id.to_string(),
            task.stage.to_string(),
            task.status.to_string(),
            task.attempt.to_string(),
            holder_of(task),
            task.updated_at
                .map_or_else(|| "–".to_owned(), |at| at.strftime("%F %TZ").to_string()),
        ]);
    }
    outln!("{table}");
    for task in &page.tasks {
        print_error(task);
    }
    for request in open {
        outln!(
            "{}: {} {} was requested and waits for the next sync",
            request.id,
            request.wish.dataset,
            request.wish.window
        );
    }
    if let Some(next) = &page.next {
        outln!("more tasks with --after {next}");
    }
    Ok(())
}

fn holder_of(task: &Task) -> String {
    match (&task.holder, task.holder_alive) {
        (None, _) => "–".to_owned(),
        (Some(holder), true) => holder.clone(),
        (Some(holder), false) => format!("{holder} (no heartbeat)"),
    }
}

fn print_error(task: &Task) {
    if let Some(error) = &task.error {
        outln!("{}: {error}", task.id);
        if let Some(hint) = &task.hint {
            outln!("  hint: {hint}");
        }
    }
}

fn print_history(output: Output, found: &TaskHistory) -> Result<()> {
    if output == Output::Json {
        return print_json(found);
    }
    let task = &found.task;
    outln!(
        "{}: {}, {}; attempt {}, held by {}",
        task.id,
        task.stage,
        task.status,
        task.attempt,
        holder_of(task)
    );
    print_error(task);
    for entry in &found.history {
        let what = match &entry.entry.event {
            Event::Reached { stage } => stage.to_string(),
            Event::Fenced => "earlier attempts fenced".to_owned(),
            Event::Tended { what } => what.clone(),
            Event::Retried => "marked for retry".to_owned(),
            Event::Cancelled => "cancelled".to_owned(),
            Event::Expired => "past its retention; being deleted from the archive".to_owned(),
            Event::Ended { status, error, .. } => match error {
                Some(error) => format!("{status}: {error}"),
                None => status.to_string(),
            },
        };
        outln!(
            "{:>4}  {}  attempt {}  {}  {what}",
            entry.number,
            entry.entry.at.strftime("%F %TZ"),
            entry.entry.attempt,
            entry.entry.holder
        );
    }
    Ok(())
}
