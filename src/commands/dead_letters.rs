//! `mpsync dead-letters list|show|replay|discard`: wire, run, print.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use jiff::Timestamp;

use super::confirm::{Answer, confirm};
use super::context::CommandContext;
use crate::cli::{DeadLetterSelection, DeadLettersAction, DeadLettersArgs, Output};
use crate::output::{is_closed, outln};
use mpsync_archive::Archive;
use mpsync_clickhouse::Tier;
use mpsync_core::dataset::{Dataset, PositionSet, TierRole};
use mpsync_core::error::{Cause, Context as _, Error, Result};
use mpsync_ingest::dead_letters::{
    DeadLetter, DeadLetterCursor, DeadLetterFilter, DeadLetterReplay, DeadLetterStore, Fate,
    Replayed, held_in,
};
use mpsync_transfer::parse_time;

/// The default of `--limit` for `list` and `show`.
const SHOWN: u64 = 100;
/// The number of dead letters that are replayed or discarded at once.
const BATCH: u64 = 5000;

pub(super) async fn run(context: &CommandContext, args: &DeadLettersArgs) -> Result<()> {
    let (DeadLettersAction::List(selection)
    | DeadLettersAction::Show(selection)
    | DeadLettersAction::Replay { selection, .. }
    | DeadLettersAction::Discard { selection, .. }) = &args.action;
    let filter = filter(context, selection)?;
    let store = DeadLetterStore::open(&context.config).await?;
    let work = DeadLetterWork {
        context,
        store: &store,
        filter: &filter,
        limit: selection.limit,
        only_prints: matches!(
            args.action,
            DeadLettersAction::List(_) | DeadLettersAction::Show(_)
        ),
    };
    match &args.action {
        DeadLettersAction::List(_) => work.list().await,
        DeadLettersAction::Show(_) => work.show().await,
        DeadLettersAction::Replay { hot_only, .. } => work.replay(*hot_only).await,
        DeadLettersAction::Discard { yes, .. } => work.discard(*yes).await,
    }
}

fn filter(context: &CommandContext, selection: &DeadLetterSelection) -> Result<DeadLetterFilter> {
    if !selection.datasets.is_empty() {
        mpsync_core::dataset::select(&context.datasets, &selection.datasets)?;
    }
    let now = Timestamp::now();
    let time = |text: &Option<String>| text.as_ref().map(|t| parse_time(t, now)).transpose();
    Ok(DeadLetterFilter {
        ids: selection.ids.clone(),
        datasets: selection
            .datasets
            .iter()
            .filter(|n| *n != "all")
            .cloned()
            .collect(),
        reasons: selection.reasons.clone(),
        from: time(&selection.from)?,
        to: time(&selection.to)?,
        subject: selection.subject.clone(),
        symbols: selection.symbols.clone(),
    })
}

/// The dead letters that a command works through.
struct DeadLetterWork<'a> {
    context: &'a CommandContext,
    store: &'a DeadLetterStore,
    filter: &'a DeadLetterFilter,
    limit: Option<u64>,
    /// Whether the command has no effect beside its output.
    only_prints: bool,
}

impl DeadLetterWork<'_> {
    /// Passes the dead letters on, batch by batch; returns their number, and whether the limit left some unread.
    async fn each(
        &self,
        limit: Option<u64>,
        mut take: impl AsyncFnMut(Vec<DeadLetter>) -> Result<()>,
    ) -> Result<(u64, bool)> {
        let (mut from, mut seen) = (DeadLetterCursor::START, 0);
        loop {
            let room = limit.map_or(BATCH, |limit| (limit - seen).min(BATCH));
            let limit_now = usize::try_from(room).unwrap_or(usize::MAX);
            let found = self.store.read(from, self.filter, limit_now).await?;
            seen += found.dead_letters.len() as u64;
            if !found.dead_letters.is_empty() {
                take(found.dead_letters).await?;
            }
            let Some(next) = found.next else {
                return Ok((seen, false));
            };
            if self.context.shutdown.is_cancelled() {
                return Err(Error::new(Cause::Interrupted));
            }
            if limit == Some(seen) || self.only_prints && is_closed() {
                return Ok((seen, true));
            }
            from = next;
        }
    }

    async fn list(&self) -> Result<()> {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header([
            "letter",
            "stored at",
            "subject",
            "bytes",
            "reason",
            "detail",
        ]);
        let output = self.context.output;
        let limit = self.limit.unwrap_or(SHOWN);
        let (count, more) = self
            .each(Some(limit), async |dead_letters| {
                for dead_letter in &dead_letters {
                    if output == Output::Json {
                        outln!("{}", summary(dead_letter));
                        continue;
                    }
                    table.add_row([
                        dead_letter.id(),
                        dead_letter
                            .stored_at()
                            .map_or_else(|| "–".into(), |t| t.to_string()),
                        dead_letter.subject.clone(),
                        dead_letter.body.len().to_string(),
                        dead_letter.reason.clone(),
                        dead_letter.detail.clone(),
                    ]);
                }
                Ok(())
            })
            .await?;
        if output == Output::Text {
            if count > 0 {
                outln!("{table}");
            }
            let end = if more {
                "; there may be more (--limit)"
            } else {
                ""
            };
            outln!("{count} dead letters{end}");
        }
        Ok(())
    }

    async fn show(&self) -> Result<()> {
        let output = self.context.output;
        let limit = self.limit.unwrap_or(SHOWN);
        let (count, _) = self
            .each(Some(limit), async |dead_letters| {
                for dead_letter in &dead_letters {
                    match output {
                        Output::Json => outln!("{}", whole(dead_letter)),
                        Output::Text => print_whole(dead_letter),
                    }
                }
                Ok(())
            })
            .await?;
        if count == 0 {
            return Err(Error::usage("no such dead letter")
                .with_hint("list the dead letters with `mpsync dead-letters list`"));
        }
        Ok(())
    }

    /// Discards the dead letters. Without `--yes` they are listed, and the operator is asked if there is a terminal.
    async fn discard(&self, yes: bool) -> Result<()> {
        if yes {
            return self.discard_all(self.limit).await;
        }
        let count = self.list_or_discard(false, self.limit).await?;
        if count == 0 {
            return self.discard_all(self.limit).await;
        }
        let question = format!("Discard these {count} dead letters for good?");
        match confirm(&question, false, &self.context.shutdown).await? {
            // Those that have come since then were not shown.
            Answer::Yes => self.discard_all(Some(count)).await,
            Answer::No => {
                outln!("Nothing was discarded.");
                Ok(())
            }
            Answer::NoTerminal => Err(Error::usage(format!(
                "{count} dead letters would be discarded, for good"
            ))
            .with_hint("say --yes to discard them")),
        }
    }

    async fn discard_all(&self, limit: Option<u64>) -> Result<()> {
        let count = self.list_or_discard(true, limit).await?;
        if self.context.output == Output::Text {
            outln!("{count} dead letters discarded");
        }
        Ok(())
    }

    /// Prints a line for each dead letter, and discards it if `yes`. Returns their number.
    async fn list_or_discard(&self, yes: bool, limit: Option<u64>) -> Result<u64> {
        let output = self.context.output;
        let (count, _) = self
            .each(limit, async |dead_letters| {
                for dead_letter in &dead_letters {
                    if yes {
                        self.store.discard(dead_letter).await?;
                    }
                    match output {
                        Output::Json => {
                            let mut line = summary(dead_letter);
                            line["discarded"] = yes.into();
                            outln!("{line}");
                        }
                        Output::Text => {
                            let verb = if yes { "discarded" } else { "would discard" };
                            outln!(
                                "{verb} {} {} ({})",
                                dead_letter.id(),
                                dead_letter.subject,
                                dead_letter.reason
                            );
                        }
                    }
                }
                Ok(())
            })
            .await?;
        Ok(count)
    }

    /// Reads the dead letters twice: first all of them, to look up existing positions once, because that takes long in a large
    /// archive.
    async fn replay(&self, hot_only: bool) -> Result<()> {
        let hot = self.context.tier(TierRole::Hot);
        let mut replays = BTreeMap::new();
        let replayed = self.replay_all(&hot, hot_only, &mut replays).await;
        for replay in replays.into_values() {
            let closed = replay.close().await;
            if replayed.is_ok() {
                closed?;
            }
        }
        let fates = replayed?;
        if self.context.output == Output::Text {
            let counts: Vec<_> = fates
                .iter()
                .map(|(fate, n)| format!("{n} {fate}"))
                .collect();
            match counts.is_empty() {
                true => outln!("no dead letters"),
                false => outln!("{}", counts.join(", ")),
            }
        }
        Ok(())
    }

    async fn replay_all<'a>(
        &'a self,
        hot: &'a Tier,
        hot_only: bool,
        replays: &mut BTreeMap<String, DeadLetterReplay<'a>>,
    ) -> Result<BTreeMap<&'static str, u64>> {
        let mut fates = BTreeMap::new();
        self.each(self.limit, async |dead_letters| {
            for (name, dead_letters) in by_dataset(dead_letters) {
                let replay = match replays.entry(name) {
                    Entry::Occupied(open) => open.into_mut(),
                    Entry::Vacant(new) => {
                        let dataset = self.dataset(new.key())?;
                        let config = &self.context.config;
                        new.insert(DeadLetterReplay::open(config, hot, dataset, self.store).await?)
                    }
                };
                self.tell(replay.consider(&dead_letters).await?, &mut fates)?;
            }
            Ok(())
        })
        .await?;
        for (name, replay) in &mut *replays {
            let dataset = self.dataset(name)?;
            let asked = match hot_only {
                true => replay.ask(async |_| Ok(PositionSet::new())).await,
                false => {
                    let elsewhere =
                        async |wanted: &_| elsewhere(self.context, dataset, wanted).await;
                    replay.ask(elsewhere).await
                }
            };
            asked.context(|| {
                format!("looking up existing positions for the dead letters of {name}")
            })?;
        }
        self.each(self.limit, async |dead_letters| {
            for (name, dead_letters) in by_dataset(dead_letters) {
                // A dataset whose first dead letter arrived since then waits for the next replay.
                if let Some(replay) = replays.get(&name) {
                    let context = || format!("replaying dead letters of {name}");
                    self.tell(
                        replay.land(dead_letters).await.context(context)?,
                        &mut fates,
                    )?;
                }
            }
            Ok(())
        })
        .await?;
        Ok(fates)
    }

    fn tell(&self, done: Vec<Replayed>, fates: &mut BTreeMap<&'static str, u64>) -> Result<()> {
        for replayed in done {
            *fates.entry(words(replayed.fate)).or_default() += 1;
            print_replayed(self.context.output, &replayed)?;
        }
        Ok(())
    }

    fn dataset(&self, name: &str) -> Result<&Dataset> {
        let mut datasets = self.context.datasets.iter();
        datasets.find(|d| d.name.as_str() == name).ok_or_else(|| {
            Error::config(format!(
                "there are dead letters of dataset `{name}`, which is not configured"
            ))
            .with_hint("add its file to datasets.files, or exclude its dead letters with --dataset")
        })
    }
}

fn by_dataset(dead_letters: Vec<DeadLetter>) -> BTreeMap<String, Vec<DeadLetter>> {
    let mut sorted: BTreeMap<String, Vec<DeadLetter>> = BTreeMap::new();
    for dead_letter in dead_letters {
        sorted
            .entry(dead_letter.dataset.to_string())
            .or_default()
            .push(dead_letter);
    }
    sorted
}

/// Returns the positions that the archive or cold has already.
async fn elsewhere(
    context: &CommandContext,
    dataset: &Dataset,
    wanted: &PositionSet,
) -> Result<PositionSet> {
    const HINT: &str = "a row that was cleaned from hot must not be inserted twice, so the archive and cold are searched too; \
                        if nothing was ever archived, use --hot-only";
    let archive = Archive::open_read_only(&context.config.archive)
        .await
        .with_hint(HINT)?;
    let mut held = archive.held(&dataset.name, wanted).await?;
    let cold = context.tier(TierRole::Cold);
    held.extend(&held_in(&cold, dataset, wanted).await.with_hint(HINT)?);
    Ok(held)
}

fn words(fate: Fate) -> &'static str {
    match fate {
        Fate::Landed => "landed",
        Fate::Held => "held already",
        Fate::Remains => "still no rows",
        Fate::Unsettled => "not settled by ingest yet",
    }
}

fn print_replayed(output: Output, done: &Replayed) -> Result<()> {
    match output {
        Output::Json => {
            let json = serde_json::to_string(done).map_err(|e| Error::malformed(e.to_string()))?;
            outln!("{json}");
        }
        Output::Text if done.detail.is_empty() => {
            outln!("{}: {}", done.dead_letter, words(done.fate));
        }
        Output::Text => outln!(
            "{}: {}: {}",
            done.dead_letter,
            words(done.fate),
            done.detail
        ),
    }
    Ok(())
}

fn summary(dead_letter: &DeadLetter) -> serde_json::Value {
    serde_json::json!({
        "letter": dead_letter.id(), "dataset": dead_letter.dataset, "epoch": dead_letter.position.epoch, "sequence": dead_letter.position.seq,
        "stored_at": dead_letter.stored_at().map(|t| t.to_string()), "stored_at_nanos": dead_letter.stored_at_nanos,
        "kept_at": dead_letter.kept_at.to_string(), "kept_in": dead_letter.kept_in(), "stream": dead_letter.stream, "subject": dead_letter.subject,
        "message_id": dead_letter.message_id, "bytes": dead_letter.body.len(), "reason": dead_letter.reason, "detail": dead_letter.detail,
    })
}

/// Returns the summary with the payload as text or, if it is not UTF-8, in hex.
fn whole(dead_letter: &DeadLetter) -> serde_json::Value {
    let mut json = summary(dead_letter);
    match std::str::from_utf8(&dead_letter.body) {
        Ok(text) => json["payload"] = text.into(),
        Err(_) => json["payload_hex"] = hex(&dead_letter.body).into(),
    }
    json
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('?');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

fn print_whole(dead_letter: &DeadLetter) {
    outln!("{}", dead_letter.id());
    let stored_at = dead_letter
        .stored_at()
        .map_or_else(|| "–".to_owned(), |t| t.to_string());
    for (name, value) in [
        ("reason", dead_letter.reason.as_str()),
        ("detail", &dead_letter.detail),
        ("subject", &dead_letter.subject),
        (
            "message id",
            dead_letter.message_id.as_deref().unwrap_or("–"),
        ),
        ("stream", &dead_letter.stream),
        ("stored at", &stored_at),
        ("kept at", &dead_letter.kept_at.to_string()),
        ("kept in", dead_letter.kept_in()),
        ("bytes", &dead_letter.body.len().to_string()),
    ] {
        outln!("  {name:<11}{value}");
    }
    match std::str::from_utf8(&dead_letter.body) {
        // A terminal must not obey control characters of a published message.
        Ok(text) => outln!(
            "  payload    {}\n",
            text.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
        ),
        Err(_) => outln!("  payload (hex)\n  {}\n", hex(&dead_letter.body)),
    }
}
