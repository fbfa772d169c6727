//! Parquet files: strings, and structs and lists of them, as rows.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parquet::basic::{ConvertedType, Type as PhysicalType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row as Record};
use parquet::schema::types::Type;

use super::super::error::DataError;
use super::super::field::MEDIA;
use super::super::json::{Json, Number, Object};
use super::super::skip::SkipReason;
use super::super::unused;
use super::Source;

/// Rows in which columns that are not read are looked into.
const SAMPLED_ROWS: usize = 64;

/// Hands on every row; there are no blank lines to report.
pub(super) fn read(file: File, mut source: Source) -> Result<usize, DataError> {
    let path = source.path.to_owned();
    let failed = |row: u64| {
        let path = path.clone();
        move |error: ParquetError| DataError::Parquet { path, row, message: error.to_string() }
    };
    let reader = guarded(|| SerializedFileReader::new(file)).map_err(failed(0))?;
    let schema = reader.metadata().file_metadata().schema_descr().root_schema_ptr();
    let columns: Vec<String> =
        schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
    source.check_columns(&columns)?;
    note_unused(&reader, &schema, &mut source);
    let used = |field: &Type| source.columns.uses(field.name());
    let projection = projection(&schema, used).map_err(failed(0))?;
    let rows = RowIter::from_file_into(Box::new(reader));
    let mut rows = guarded(|| rows.project(Some(projection))).map_err(failed(0))?;
    let mut row = 0;
    while let Some(record) = guarded(|| rows.next().transpose()).map_err(failed(row + 1))? {
        row += 1;
        let parsed = object(record).and_then(|object| source.table_row(object));
        source.push(row, parsed)?;
    }
    Ok(0)
}

/// What the reader says; it panics where the content of a damaged file contradicts itself.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        let message = "its content contradicts itself; the file is damaged";
        Err(ParquetError::General(message.to_owned()))
    })
}

/// The columns that rows are made of: others may be large.
fn projection(schema: &Type, is_used: impl Fn(&Type) -> bool) -> Result<Type, ParquetError> {
    let used = schema.get_fields().iter().filter(|field| is_used(field));
    let fields: Vec<Arc<Type>> = used.cloned().collect();
    Type::group_type_builder(schema.name()).with_fields(fields).build()
}

/// Notes the columns that hold text in the first rows and that rows are not made of. What cannot be
/// read of them is no matter.
fn note_unused(reader: &SerializedFileReader<File>, schema: &Type, source: &mut Source) {
    let is_unused_text = |field: &Type| !source.columns.uses(field.name()) && is_text(field);
    if source.columns.are_named() || !schema.get_fields().iter().any(|field| is_unused_text(field))
    {
        return;
    }
    let Ok(projection) = projection(schema, is_unused_text) else { return };
    let Ok(mut rows) = guarded(|| reader.get_row_iter(Some(projection))) else { return };
    for _ in 0..SAMPLED_ROWS {
        let Ok(Some(record)) = guarded(|| rows.next().transpose()) else { return };
        for (name, value) in object(record).unwrap_or_default() {
            if unused::holds_text(&name, &value) {
                source.unused.insert(name);
            }
        }
    }
}

/// Whether all that a column holds is text, or numbers beside it: pictures are large.
fn is_text(field: &Type) -> bool {
    if field.is_group() {
        return field.get_fields().iter().all(|field| is_text(field));
    }
    let is_bytes = field.get_physical_type() == PhysicalType::BYTE_ARRAY;
    !is_bytes || field.get_basic_info().converted_type() == ConvertedType::UTF8
}

fn object(record: Record) -> Result<Object, SkipReason> {
    let mut object = Object::new();
    for (name, field) in record.into_columns() {
        let value = match field {
            Field::Bytes(_) if MEDIA.contains(&name.as_str()) => Json::Bool(true),
            field => value(field, &name)?,
        };
        // A struct's absent fields are nulls: every row has the fields of all.
        if value != Json::Null {
            object.insert(name, value);
        }
    }
    Ok(object)
}

fn value(field: Field, name: &str) -> Result<Json, SkipReason> {
    let number = |value: f64| Number::from_f64(value).map_or(Json::Null, Json::Number);
    Ok(match field {
        Field::Null => Json::Null,
        Field::Bool(value) => Json::Bool(value),
        Field::Byte(value) => Json::Number(value.into()),
        Field::Short(value) => Json::Number(value.into()),
        Field::Int(value) | Field::Date(value) | Field::TimeMillis(value) => {
            Json::Number(value.into())
        }
        Field::Long(value)
        | Field::TimeMicros(value)
        | Field::TimestampMillis(value)
        | Field::TimestampMicros(value) => Json::Number(value.into()),
        Field::UByte(value) => Json::Number(value.into()),
        Field::UShort(value) => Json::Number(value.into()),
        Field::UInt(value) => Json::Number(value.into()),
        Field::ULong(value) => Json::Number(value.into()),
        Field::Float16(value) => number(value.to_f64()),
        Field::Float(value) => number(value.into()),
        Field::Double(value) => number(value),
        Field::Str(text) => Json::String(text),
        // What a picture's file holds.
        Field::Bytes(bytes) if super::utf8(bytes.data(), None).is_err() && name == "bytes" => {
            Json::Bool(true)
        }
        Field::Bytes(bytes) => Json::String(super::utf8(bytes.data(), Some(name))?.to_owned()),
        Field::Decimal(_) => return Err(SkipReason::Unsupported { field: name.to_owned() }),
        Field::Group(record) => Json::Object(object(record)?),
        Field::ListInternal(list) => {
            let items = list.elements().iter().map(|item| value(item.clone(), name));
            Json::Array(items.collect::<Result<_, _>>()?)
        }
        Field::MapInternal(map) => {
            let mut fields = Object::new();
            for (key, item) in map.entries() {
                let Field::Str(key) = key else {
                    return Err(SkipReason::Unsupported { field: name.to_owned() });
                };
                fields.insert(key.clone(), value(item.clone(), name)?);
            }
            Json::Object(fields)
        }
    })
}
