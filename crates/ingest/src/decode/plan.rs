//! The plan of each column, made once from the dataset and the live table.

use super::column::Column;
use super::fields::{Fields, Role};
use mpsync_clickhouse::TableSchema;
use mpsync_core::dataset::{BookSide, ColumnSource, ColumnType, Dataset, LevelPart};
use mpsync_core::error::{Context as _, Error, Result};

/// A column, its values and their source.
#[derive(Debug)]
pub(super) struct ColumnPlan {
    pub name: String,
    pub column_type: ColumnType,
    pub source: ResolvedSource,
    pub column: Column,
}

/// A [`ColumnSource`] with names resolved to numbers.
#[derive(Debug)]
pub(super) enum ResolvedSource {
    Fields(Vec<Alias>),
    StoredAt,
    Epoch,
    Sequence,
    Count(usize),
    Best {
        of: usize,
        side: BookSide,
        part: LevelPart,
    },
}

/// One of the places that may hold a column's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alias {
    Field(usize),
    /// From 0.
    SubjectToken(usize),
}

impl Alias {
    /// Its name as a dataset writes it.
    pub(super) fn name(self, fields: &Fields) -> String {
        match self {
            Self::Field(id) => fields.name(id).to_owned(),
            Self::SubjectToken(n) => format!("$subject.{n}"),
        }
    }
}

/// All columns of a dataset as the live table has them, and which of them holds the event time.
pub(super) fn plan(
    dataset: &Dataset,
    live: &TableSchema,
    fields: &mut Fields,
) -> Result<(Vec<ColumnPlan>, usize)> {
    let mut columns = Vec::with_capacity(dataset.columns.len());
    for (name, source) in &dataset.columns {
        let planned = column(dataset, live, fields, name, source);
        columns.push(planned.context(|| format!("column `{name}`"))?);
    }
    for index in 0..columns.len() {
        check_source(&columns, index)
            .map_err(Error::schema)
            .context(|| format!("column `{}`", columns[index].name))?;
    }
    for name in &dataset.ignored_fields {
        fields.add(name, Role::Ignored);
    }
    let time_column = event_time(dataset, &columns)?;
    read_levels_at_once(&columns, fields);
    Ok((columns, time_column))
}

fn column(
    dataset: &Dataset,
    live: &TableSchema,
    fields: &mut Fields,
    name: &str,
    source: &ColumnSource,
) -> Result<ColumnPlan> {
    let found = live.columns.iter().find(|column| column.name == name);
    let found = found.ok_or_else(|| Error::schema("the table has no such column"))?;
    if !matches!(found.default_kind.as_str(), "" | "DEFAULT") {
        return Err(Error::schema(format!(
            "it is {} and cannot be filled",
            found.default_kind
        )));
    }
    Ok(ColumnPlan {
        name: name.to_owned(),
        column_type: found.column_type.clone(),
        source: resolve(dataset, fields, source)?,
        column: Column::new(&found.column_type)?,
    })
}

fn resolve(
    dataset: &Dataset,
    fields: &mut Fields,
    source: &ColumnSource,
) -> Result<ResolvedSource> {
    let index_of = |wanted: &String| {
        let found = dataset.columns.iter().position(|(name, _)| name == wanted);
        found.ok_or_else(|| {
            Error::schema(format!(
                "it is derived from `{wanted}`, which is not a column"
            ))
        })
    };
    Ok(match source {
        ColumnSource::Fields(names) => {
            let aliases = names.iter().map(|name| alias(fields, name));
            ResolvedSource::Fields(aliases.collect::<Result<_>>()?)
        }
        ColumnSource::StoredAt => ResolvedSource::StoredAt,
        ColumnSource::Epoch => ResolvedSource::Epoch,
        ColumnSource::Sequence => ResolvedSource::Sequence,
        ColumnSource::Count(of) => ResolvedSource::Count(index_of(of)?),
        ColumnSource::Best { of, side, part } => ResolvedSource::Best {
            of: index_of(of)?,
            side: *side,
            part: *part,
        },
    })
}

fn alias(fields: &mut Fields, name: &str) -> Result<Alias> {
    match name.strip_prefix("$subject.") {
        Some(token) => token.parse().map(Alias::SubjectToken).map_err(|_| {
            Error::schema(format!("`{name}` does not name a token of the subject"))
                .with_hint("write `$subject.N`, with N from 0")
        }),
        None => Ok(Alias::Field(fields.add(name, Role::Recorded))),
    }
}

/// Refuses a column that its source cannot fill.
fn check_source(columns: &[ColumnPlan], index: usize) -> Result<(), String> {
    let planned = &columns[index];
    let needs = |what: &str| format!("it is {}, but its source needs {what}", planned.column_type);
    let fits = match planned.source {
        ResolvedSource::Fields(_) => Ok(()),
        ResolvedSource::StoredAt => match planned.column_type.inner() {
            ColumnType::DateTime64(9, _) => Ok(()),
            _ => Err(
                "DateTime64(9): the time of storage is part of a row's identity, to the nanosecond",
            ),
        },
        ResolvedSource::Epoch | ResolvedSource::Sequence => match planned.column_type.inner() {
            ColumnType::Int {
                bits: 64,
                signed: false,
            } => Ok(()),
            _ => Err("UInt64"),
        },
        ResolvedSource::Count(of) if !columns[of].column.is_list() => {
            return Err(format!(
                "it counts the elements of `{}`, which is not an array",
                columns[of].name
            ));
        }
        ResolvedSource::Count(_) if planned.column.is_integer() => Ok(()),
        ResolvedSource::Count(_) => Err("an integer"),
        ResolvedSource::Best { of, part, .. } => {
            return check_best(planned, &columns[of], part).map_err(|what| needs(&what));
        }
    };
    fits.map_err(needs)
}

fn check_best(planned: &ColumnPlan, of: &ColumnPlan, part: LevelPart) -> Result<(), String> {
    let levels = of.column.levels().ok_or_else(|| {
        format!(
            "`{}` to be an array of levels, each a tuple of the decimals price and quantity",
            of.name
        )
    })?;
    if !planned.column.is_nullable() {
        return Err("it to be Nullable: a side of a book can be empty".to_owned());
    }
    if planned
        .column
        .decimals()
        .is_some_and(|own| own.same_type(levels.part(part)))
    {
        Ok(())
    } else {
        Err(format!("the same decimal as in `{}`", of.name))
    }
}

fn event_time(dataset: &Dataset, columns: &[ColumnPlan]) -> Result<usize> {
    let name = &dataset.time_column;
    let found = columns.iter().position(|planned| planned.name == *name);
    let index = found.ok_or_else(|| Error::schema(format!("there is no time column `{name}`")))?;
    match columns[index].column_type {
        ColumnType::DateTime(_) | ColumnType::DateTime64(..) => Ok(index),
        ref other => Err(Error::schema(format!(
            "column `{name}` holds the event time and must be a DateTime or DateTime64 that is not Nullable; it is {other}"
        ))),
    }
}

/// A field that gives its levels to one column and to nothing else need not be walked over twice.
fn read_levels_at_once(columns: &[ColumnPlan], fields: &mut Fields) {
    let readers = |id| {
        let all = columns.iter().filter_map(|planned| match &planned.source {
            ResolvedSource::Fields(aliases) => Some(aliases),
            _ => None,
        });
        all.flatten()
            .filter(|&&alias| alias == Alias::Field(id))
            .count()
    };
    for (index, planned) in columns.iter().enumerate() {
        if let ResolvedSource::Fields(aliases) = &planned.source
            && let [Alias::Field(id)] = aliases[..]
            && planned.column.levels().is_some()
            && readers(id) == 1
            && let Ok(index) = u16::try_from(index)
        {
            fields.set_role(id, Role::Levels(index));
        }
    }
}
