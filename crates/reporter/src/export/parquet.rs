//! The tables for data frames: the columns of the CSV files with their types, exact values and
//! nulls where those have empty cells.

use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};
use spec::{Evaluation, Kind, SweepState, TrialConfig, TrialState};

use super::metrics;
use crate::diagnose::Note;
use crate::error::ReportError;
use crate::parameters::{PARAMETERS, Parameter};
use crate::rank::{Ranking, Row};

/// All evaluations of all runs in one table, each with its run's number and settings.
pub fn evaluations_parquet(state: &SweepState) -> Result<Vec<u8>, ReportError> {
    let mut points = Vec::new();
    for trial in state.trials.values() {
        let own = metrics::points(trial, state.base_of(trial)).into_iter();
        points.extend(own.map(|(evaluation, is_best)| Point { trial, evaluation, is_best }));
    }
    let rows = Rows(&points);
    let mut columns = vec![
        rows.whole("trial", |p| Some(p.trial.trial.id.0.into())),
        rows.whole("step", |p| Some(p.evaluation.step.into())),
        rows.real("epoch", |p| Some(p.evaluation.epoch)),
        rows.real("eval_loss", |p| Some(p.evaluation.eval_loss)),
        rows.real("eval_loss_stderr", |p| Some(p.evaluation.eval_loss_stderr)),
        rows.real("rise_stderr", |p| p.evaluation.rise_stderr),
        rows.real("train_loss", |p| p.evaluation.train_loss),
        rows.real("gap", |p| p.evaluation.gap()),
        rows.real("retention_loss", |p| p.evaluation.retention_loss),
        rows.truth("is_best", |p| Some(p.is_best)),
        rows.whole("tokens", |p| Some(p.evaluation.tokens as i64)),
        rows.real("seconds", |p| Some(p.evaluation.seconds)),
    ];
    for name in metrics::scores_of(state.trials.values(), state.base.as_ref()) {
        let value = |p: &Point<'_>| p.evaluation.score(&name).map(|score| score.value);
        let stderr = |p: &Point<'_>| p.evaluation.score(&name).map(|score| score.stderr);
        columns.push(rows.real(name.clone(), value));
        columns.push(rows.real(format!("{name}_stderr"), stderr));
    }
    columns.extend(settings(&rows, |p| Some(&p.trial.trial.config)));
    write("evaluations.parquet", &columns)
}

/// One row a run and one for the base model, in the order of the ranking.
pub fn ranking_parquet(ranking: &Ranking) -> Result<Vec<u8>, ReportError> {
    let rows = Rows(&ranking.rows);
    let against = |row: &Row| row.against_best;
    let mut columns = vec![
        rows.whole("position", |row| Some(row.position as i64)),
        rows.whole("trial", |row| Some(row.trial.0.into())),
        rows.text("outcome", |row| Some(row.outcome.to_owned())),
        rows.text("flag", |row| Some(row.flag.name().to_owned())),
        rows.real("eval_loss", |row| row.eval_loss),
        rows.real("eval_loss_stderr", |row| row.eval_loss_stderr),
        rows.real("eval_loss_low", |row| row.eval_loss_interval.map(|interval| interval[0])),
        rows.real("eval_loss_high", |row| row.eval_loss_interval.map(|interval| interval[1])),
        rows.real("behind", |row| against(row).map(|against| against.difference)),
        rows.real("behind_low", |row| against(row).map(|against| against.low)),
        rows.real("behind_high", |row| against(row).map(|against| against.high)),
        rows.truth("is_tied", |row| against(row).map(|against| against.is_tied)),
        rows.truth("is_tied_on_rows", |row| against(row).map(|against| against.is_tied_on_rows)),
        rows.whole("best_step", |row| row.best_step.map(Into::into)),
        rows.real("best_epoch", |row| row.best_epoch),
        rows.real("train_loss", |row| row.train_loss),
        rows.real("gap", |row| row.gap),
        rows.real("last_eval_loss", |row| row.last_eval_loss),
        rows.real("last_gap", |row| row.last_gap),
        rows.real("retention_loss", |row| row.retention_loss),
        rows.real("retention_change", |row| row.retention_change),
        rows.real("improvement_share", |row| row.improvement_share),
        rows.real("overfit_probability", |row| row.overfit_probability),
        rows.real("shared_improvement", |row| row.shared_improvement),
        rows.real("last_shared_improvement", |row| row.last_shared_improvement),
        rows.real("memorizes_from", |row| row.memorizes_from),
        rows.whole("tokens", |row| Some(row.tokens as i64)),
        rows.real("seconds", |row| Some(row.seconds)),
        rows.whole("steps", |row| Some(row.steps.into())),
        rows.whole("total_steps", |row| row.total_steps.map(Into::into)),
    ];
    for name in &ranking.metrics {
        let interval = |row: &Row| row.score(name)?.interval;
        let value = |row: &Row| row.score(name).map(|score| score.value);
        let stderr = |row: &Row| row.score(name).map(|score| score.stderr);
        columns.extend([
            rows.real(name.clone(), value),
            rows.real(format!("{name}_stderr"), stderr),
            rows.real(format!("{name}_low"), |row| interval(row).map(|ends| ends[0])),
            rows.real(format!("{name}_high"), |row| interval(row).map(|ends| ends[1])),
        ]);
    }
    columns.extend(settings(&rows, |row| row.config.as_ref()));
    let notes = |row: &Row| row.notes.iter().copied().map(Note::name).collect::<Vec<_>>().join(" ");
    columns.extend([
        rows.text("notes", |row| Some(notes(row))),
        rows.text("explanation", |row| Some(row.explanation.clone())),
        rows.text("advice", |row| row.advice.clone()),
    ]);
    write("ranking.parquet", &columns)
}

/// An evaluation with its run.
struct Point<'a> {
    trial: &'a TrialState,
    evaluation: Evaluation,
    is_best: bool,
}

/// The parameters of each row's run, in the order of [`PARAMETERS`].
fn settings<'a, R>(
    rows: &Rows<'a, R>,
    config: impl Fn(&'a R) -> Option<&'a TrialConfig>,
) -> Vec<Column> {
    let config = &config;
    let column = |parameter: &'static Parameter| match &parameter.row.kind {
        Kind::Whole(at) => {
            rows.whole(parameter.name, |row| config(row).map(|c| (at.get)(c).into()))
        }
        Kind::Seed(at) => rows.unsigned(parameter.name, |row| config(row).map(at.get)),
        Kind::Real(at) | Kind::Rate(at) | Kind::PerRank(at) => {
            rows.real(parameter.name, |row| config(row).map(at.get))
        }
        Kind::Flag(at) => rows.truth(parameter.name, |row| config(row).map(at.get)),
        Kind::Choice(_) | Kind::Modules(_) => rows.text(parameter.name, |row| {
            config(row).map(|c| parameter.value(c)).filter(|text| !text.is_empty())
        }),
    };
    PARAMETERS.iter().map(column).collect()
}

/// A column: its name, its type, and the values that it has, with where it has them.
struct Column {
    name: String,
    values: Values,
    /// For each row 1 where there is a value and 0 where there is none (Parquet's definition
    /// levels).
    is_there: Vec<i16>,
}

enum Values {
    Whole(Vec<i64>),
    Unsigned(Vec<i64>),
    Real(Vec<f64>),
    Truth(Vec<bool>),
    Text(Vec<ByteArray>),
}

/// What columns are made of.
struct Rows<'a, R>(&'a [R]);

impl<'a, R> Rows<'a, R> {
    fn column<T>(
        &self,
        name: impl Into<String>,
        of: impl Fn(&'a R) -> Option<T>,
        values: fn(Vec<T>) -> Values,
    ) -> Column {
        let all: Vec<Option<T>> = self.0.iter().map(of).collect();
        let is_there = all.iter().map(|value| value.is_some().into()).collect();
        Column { name: name.into(), values: values(all.into_iter().flatten().collect()), is_there }
    }

    fn whole(&self, name: impl Into<String>, of: impl Fn(&'a R) -> Option<i64>) -> Column {
        self.column(name, of, Values::Whole)
    }

    fn unsigned(&self, name: impl Into<String>, of: impl Fn(&'a R) -> Option<u64>) -> Column {
        self.column(name, |row| of(row).map(u64::cast_signed), Values::Unsigned)
    }

    fn real(&self, name: impl Into<String>, of: impl Fn(&'a R) -> Option<f64>) -> Column {
        self.column(name, of, Values::Real)
    }

    fn truth(&self, name: impl Into<String>, of: impl Fn(&'a R) -> Option<bool>) -> Column {
        self.column(name, of, Values::Truth)
    }

    fn text(&self, name: impl Into<String>, of: impl Fn(&'a R) -> Option<String>) -> Column {
        self.column(name, |row| of(row).map(|text| text.into_bytes().into()), Values::Text)
    }
}

impl Column {
    fn schema(&self) -> Result<TypePtr, ParquetError> {
        let (physical, logical) = match self.values {
            Values::Whole(_) => (Physical::INT64, None),
            Values::Unsigned(_) => (Physical::INT64, Some(LogicalType::integer(64, false))),
            Values::Real(_) => (Physical::DOUBLE, None),
            Values::Truth(_) => (Physical::BOOLEAN, None),
            Values::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let column = Type::primitive_type_builder(&self.name, physical)
            .with_logical_type(logical)
            .with_repetition(Repetition::OPTIONAL);
        Ok(Arc::new(column.build()?))
    }

    fn write(&self, group: &mut Group<'_>) -> Result<(), ParquetError> {
        match &self.values {
            Values::Whole(values) | Values::Unsigned(values) => {
                self.write_as::<Int64Type>(values, group)
            }
            Values::Real(values) => self.write_as::<DoubleType>(values, group),
            Values::Truth(values) => self.write_as::<BoolType>(values, group),
            Values::Text(values) => self.write_as::<ByteArrayType>(values, group),
        }
    }

    fn write_as<T: DataType>(
        &self,
        values: &[T::T],
        group: &mut Group<'_>,
    ) -> Result<(), ParquetError> {
        let Some(mut column) = group.next_column()? else {
            return Err(ParquetError::General(format!("no column is left for `{}`", self.name)));
        };
        column.typed::<T>().write_batch(values, Some(&self.is_there), None)?;
        column.close()
    }
}

type Group<'a> = SerializedRowGroupWriter<'a, Vec<u8>>;

fn write(table: &'static str, columns: &[Column]) -> Result<Vec<u8>, ReportError> {
    encode(columns).map_err(|source| ReportError::Parquet { table, source })
}

/// One row group: the tables of a sweep are small.
fn encode(columns: &[Column]) -> Result<Vec<u8>, ParquetError> {
    let fields = columns.iter().map(Column::schema).collect::<Result<Vec<_>, _>>()?;
    let schema = Arc::new(Type::group_type_builder("schema").with_fields(fields).build()?);
    let properties = WriterProperties::builder()
        .set_created_by(concat!("lorasweep ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::SNAPPY)
        .build();
    let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?;
    let mut group = file.next_row_group()?;
    for column in columns {
        column.write(&mut group)?;
    }
    group.close()?;
    file.into_inner()
}
