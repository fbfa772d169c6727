//! Opens a data file by the ending of its name, uncompressed on the way.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::super::error::DataError;
use super::FileFormat;

const UTF8_BOM: &[u8] = b"\xEF\xBB\xBF";
const UTF16_BOMS: [&[u8]; 2] = [b"\xFF\xFE", b"\xFE\xFF"];

/// How a compressed file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

/// The text of a file, whatever it is compressed with.
pub(super) type Reader = Box<dyn BufRead>;

/// A file at its first byte.
pub(super) enum Opened {
    Jsonl(Reader),
    JsonList(Reader),
    Csv(Reader),
    Tsv(Reader),
    Parquet(File),
    Text(Reader),
}

/// Whether a file of a folder is taken for data.
pub(super) fn is_data_file(path: &Path) -> bool {
    // Notes lie beside data; named as a file, they would be read.
    format_of(path).is_some() && path.extension().is_none_or(|ending| ending != "md")
}

/// The format of a name's endings; a list of objects shows when it is opened.
fn format_of(path: &Path) -> Option<(FileFormat, Compression)> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let (stem, compression) = match name.rsplit_once('.')? {
        (stem, "gz" | "gzip") => (stem, Compression::Gzip),
        (stem, "zst" | "zstd") => (stem, Compression::Zstd),
        _ => (name.as_str(), Compression::None),
    };
    let format = match stem.rsplit_once('.')?.1 {
        "jsonl" | "jsonlines" | "ndjson" | "json" => FileFormat::Jsonl,
        "csv" => FileFormat::Csv,
        "tsv" => FileFormat::Tsv,
        "txt" | "text" | "md" => FileFormat::Text,
        "parquet" | "pq" if compression == Compression::None => FileFormat::Parquet,
        _ => return None,
    };
    Some((format, compression))
}

/// Opens `path`.
pub(super) fn open(path: &Path) -> Result<Opened, DataError> {
    let Some((format, compression)) = format_of(path) else {
        return Err(DataError::UnsupportedExtension { path: path.to_owned() });
    };
    let mut file = File::open(path).map_err(DataError::io("open", path))?;
    if format == FileFormat::Parquet {
        file.rewind().map_err(DataError::io("read", path))?;
        return Ok(Opened::Parquet(file));
    }
    let mut reader = text_of(file, compression, path)?;
    let head = reader.fill_buf().map_err(DataError::io("read", path))?;
    let is_list = head.trim_ascii_start().starts_with(b"[");
    Ok(match format {
        FileFormat::Jsonl if is_list => Opened::JsonList(reader),
        FileFormat::Csv => Opened::Csv(reader),
        FileFormat::Tsv => Opened::Tsv(reader),
        FileFormat::Text => Opened::Text(reader),
        _ => Opened::Jsonl(reader),
    })
}

/// The text of `path` once more, from its beginning.
pub(super) fn again(path: &Path) -> Result<Reader, DataError> {
    let compression = format_of(path).map_or(Compression::None, |(_, compression)| compression);
    text_of(File::open(path).map_err(DataError::io("open", path))?, compression, path)
}

fn text_of(file: File, compression: Compression, path: &Path) -> Result<Reader, DataError> {
    let file = BufReader::new(file);
    let mut reader: Reader = match compression {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(BufReader::new(MultiGzDecoder::new(file))),
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(file);
            Box::new(BufReader::new(decoder.map_err(DataError::io("open", path))?))
        }
    };
    let head = reader.fill_buf().map_err(DataError::io("read", path))?;
    if UTF16_BOMS.iter().any(|bom| head.starts_with(bom)) {
        return Err(DataError::Utf16 { path: path.to_owned() });
    }
    if head.starts_with(UTF8_BOM) {
        reader.consume(UTF8_BOM.len());
    }
    Ok(reader)
}
