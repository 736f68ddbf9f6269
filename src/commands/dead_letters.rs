//! `mpsync dlq list|show|replay|discard`: wire, run, print.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use jiff::Timestamp;

use super::Context;
use crate::cli::{DlqAction, DlqArgs, LetterSelection, Output};
use mpsync_archive::Archive;
use mpsync_clickhouse::Tier;
use mpsync_core::dataset::{Dataset, PositionSet, TierRole};
use mpsync_core::error::{Cause, Context as _, Error, Result};
use mpsync_ingest::letters::{
    Fate, Letter, LetterFilter, LetterReplay, LetterStore, Place, Replayed, held_in,
};
use mpsync_transfer::parse_moment;

/// How many are listed or shown where `--limit` does not say.
const SHOWN: u64 = 100;
/// How many are replayed or discarded at once.
const BATCH: u64 = 5000;

pub(super) async fn run(context: &Context, args: &DlqArgs) -> Result<()> {
    let (DlqAction::List(selection)
    | DlqAction::Show(selection)
    | DlqAction::Replay { selection, .. }
    | DlqAction::Discard { selection, .. }) = &args.action;
    let filter = filter(context, selection)?;
    let store = LetterStore::open(&context.config).await?;
    let work = Work {
        context,
        store: &store,
        filter: &filter,
        limit: selection.limit,
    };
    match &args.action {
        DlqAction::List(_) => work.list().await,
        DlqAction::Show(_) => work.show().await,
        DlqAction::Replay { hot_only, .. } => work.replay(*hot_only).await,
        DlqAction::Discard { yes, .. } => work.discard(*yes).await,
    }
}

fn filter(context: &Context, selection: &LetterSelection) -> Result<LetterFilter> {
    if !selection.datasets.is_empty() {
        mpsync_core::dataset::select(&context.datasets, &selection.datasets)?;
    }
    let now = Timestamp::now();
    let moment = |text: &Option<String>| text.as_ref().map(|t| parse_moment(t, now)).transpose();
    Ok(LetterFilter {
        ids: selection.ids.clone(),
        datasets: selection
            .datasets
            .iter()
            .filter(|n| *n != "all")
            .cloned()
            .collect(),
        reasons: selection.reasons.clone(),
        from: moment(&selection.from)?,
        to: moment(&selection.to)?,
        subject: selection.subject.clone(),
        symbols: selection.symbols.clone(),
    })
}

/// Letters that a command works through.
struct Work<'a> {
    context: &'a Context,
    store: &'a LetterStore,
    filter: &'a LetterFilter,
    limit: Option<u64>,
}

impl Work<'_> {
    /// Hands the letters on, batch by batch; returns how many there were, and whether the limit left some unread.
    async fn each(
        &self,
        limit: Option<u64>,
        mut take: impl AsyncFnMut(Vec<Letter>) -> Result<()>,
    ) -> Result<(u64, bool)> {
        let (mut from, mut seen) = (Place::START, 0);
        loop {
            let room = limit.map_or(BATCH, |limit| (limit - seen).min(BATCH));
            let limit_now = usize::try_from(room).unwrap_or(usize::MAX);
            let found = self.store.read(from, self.filter, limit_now).await?;
            seen += found.letters.len() as u64;
            if !found.letters.is_empty() {
                take(found.letters).await?;
            }
            let Some(next) = found.next else {
                return Ok((seen, false));
            };
            if limit == Some(seen) {
                return Ok((seen, true));
            }
            if self.context.shutdown.is_cancelled() {
                return Err(Error::new(Cause::Interrupted));
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
            .each(Some(limit), async |letters| {
                for letter in &letters {
                    if output == Output::Json {
                        println!("{}", summary(letter));
                        continue;
                    }
                    table.add_row([
                        letter.id(),
                        letter
                            .stored_at()
                            .map_or_else(|| "–".into(), |t| t.to_string()),
                        letter.subject.clone(),
                        letter.body.len().to_string(),
                        letter.reason.clone(),
                        letter.detail.clone(),
                    ]);
                }
                Ok(())
            })
            .await?;
        if output == Output::Text {
            if count > 0 {
                println!("{table}");
            }
            let end = if more {
                "; there may be more (--limit)"
            } else {
                ""
            };
            println!("{count} dead letters{end}");
        }
        Ok(())
    }

    async fn show(&self) -> Result<()> {
        let output = self.context.output;
        let limit = self.limit.unwrap_or(SHOWN);
        let (count, _) = self
            .each(Some(limit), async |letters| {
                for letter in &letters {
                    match output {
                        Output::Json => println!("{}", whole(letter)),
                        Output::Text => print_whole(letter),
                    }
                }
                Ok(())
            })
            .await?;
        if count == 0 {
            return Err(Error::usage("no such dead letter")
                .hint("`mpsync dlq list` names those that are there"));
        }
        Ok(())
    }

    async fn discard(&self, yes: bool) -> Result<()> {
        let output = self.context.output;
        let (count, _) = self
            .each(self.limit, async |letters| {
                for letter in &letters {
                    if yes {
                        self.store.discard(letter).await?;
                    }
                    match output {
                        Output::Json => {
                            let mut line = summary(letter);
                            line["discarded"] = yes.into();
                            println!("{line}");
                        }
                        Output::Text => {
                            let verb = if yes { "discarded" } else { "would discard" };
                            println!(
                                "{verb} {} {} ({})",
                                letter.id(),
                                letter.subject,
                                letter.reason
                            );
                        }
                    }
                }
                Ok(())
            })
            .await?;
        if !yes && count > 0 {
            return Err(
                Error::usage(format!("{count} dead letters would be discarded, for good"))
                    .hint("say --yes to discard them"),
            );
        }
        if output == Output::Text {
            println!("{count} dead letters discarded");
        }
        Ok(())
    }

    /// Reads the letters twice: first all of them, to ask once what is held of them, which takes long where much is archived.
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
                true => println!("no dead letters"),
                false => println!("{}", counts.join(", ")),
            }
        }
        Ok(())
    }

    async fn replay_all<'a>(
        &'a self,
        hot: &'a Tier,
        hot_only: bool,
        replays: &mut BTreeMap<String, LetterReplay<'a>>,
    ) -> Result<BTreeMap<&'static str, u64>> {
        let mut fates = BTreeMap::new();
        self.each(self.limit, async |letters| {
            for (name, letters) in by_dataset(letters) {
                let replay = match replays.entry(name) {
                    Entry::Occupied(open) => open.into_mut(),
                    Entry::Vacant(new) => {
                        let dataset = self.dataset(new.key())?;
                        let config = &self.context.config;
                        new.insert(LetterReplay::open(config, hot, dataset, self.store).await?)
                    }
                };
                self.tell(replay.consider(&letters).await?, &mut fates)?;
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
            asked.doing(|| format!("asking what is held of the dead letters of {name}"))?;
        }
        self.each(self.limit, async |letters| {
            for (name, letters) in by_dataset(letters) {
                // A dataset whose first letter came since then waits for the next replay.
                if let Some(replay) = replays.get(&name) {
                    let doing = || format!("replaying dead letters of {name}");
                    self.tell(replay.land(letters).await.doing(doing)?, &mut fates)?;
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
            .hint("add its file to datasets.files, or leave its letters out with --dataset")
        })
    }
}

fn by_dataset(letters: Vec<Letter>) -> BTreeMap<String, Vec<Letter>> {
    let mut sorted: BTreeMap<String, Vec<Letter>> = BTreeMap::new();
    for letter in letters {
        sorted
            .entry(letter.dataset.to_string())
            .or_default()
            .push(letter);
    }
    sorted
}

/// Which positions the archive or cold holds.
async fn elsewhere(
    context: &Context,
    dataset: &Dataset,
    wanted: &PositionSet,
) -> Result<PositionSet> {
    const HINT: &str = "a row that has left hot must not land twice, so the archive and cold are asked too; \
                        --hot-only leaves them out, where nothing was ever archived";
    let archive = Archive::open_read_only(&context.config.archive)
        .await
        .hint(HINT)?;
    let mut held = archive.held(&dataset.name, wanted).await?;
    let cold = context.tier(TierRole::Cold);
    held.extend(&held_in(&cold, dataset, wanted).await.hint(HINT)?);
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
            println!("{json}");
        }
        Output::Text if done.detail.is_empty() => println!("{}: {}", done.letter, words(done.fate)),
        Output::Text => println!("{}: {}: {}", done.letter, words(done.fate), done.detail),
    }
    Ok(())
}

fn summary(letter: &Letter) -> serde_json::Value {
    serde_json::json!({
        "letter": letter.id(), "dataset": letter.dataset, "epoch": letter.position.epoch, "sequence": letter.position.seq,
        "stored_at": letter.stored_at().map(|t| t.to_string()), "stored_at_nanos": letter.stored_at_nanos,
        "kept_at": letter.kept_at.to_string(), "kept_in": letter.kept_in(), "stream": letter.stream, "subject": letter.subject,
        "message_id": letter.message_id, "bytes": letter.body.len(), "reason": letter.reason, "detail": letter.detail,
    })
}

/// With the payload as text, or in hex where it is none.
fn whole(letter: &Letter) -> serde_json::Value {
    let mut json = summary(letter);
    match std::str::from_utf8(&letter.body) {
        Ok(text) => json["payload"] = text.into(),
        Err(_) => json["payload_hex"] = hex(&letter.body).into(),
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

fn print_whole(letter: &Letter) {
    println!("{}", letter.id());
    let stored_at = letter
        .stored_at()
        .map_or_else(|| "–".to_owned(), |t| t.to_string());
    for (name, value) in [
        ("reason", letter.reason.as_str()),
        ("detail", &letter.detail),
        ("subject", &letter.subject),
        ("message id", letter.message_id.as_deref().unwrap_or("–")),
        ("stream", &letter.stream),
        ("stored at", &stored_at),
        ("kept at", &letter.kept_at.to_string()),
        ("kept in", letter.kept_in()),
        ("bytes", &letter.body.len().to_string()),
    ] {
        println!("  {name:<11}{value}");
    }
    match std::str::from_utf8(&letter.body) {
        // A terminal must not obey what somebody published.
        Ok(text) => println!(
            "  payload    {}\n",
            text.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
        ),
        Err(_) => println!("  payload (hex)\n  {}\n", hex(&letter.body)),
    }
}
