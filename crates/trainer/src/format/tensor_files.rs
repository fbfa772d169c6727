//! Safetensors files of a model folder, memory-mapped; one file or several with an index.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::number_format::Format;
use super::stored::{Bytes, Stored};
use crate::error::{Result, TrainerError};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// How the names end of what bitsandbytes stores beside its codes.
const BITSANDBYTES: [&str; 5] =
    [".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", ".SCB"];

/// Which tensor lies where.
#[derive(Debug)]
pub struct TensorFiles {
    files: Vec<(PathBuf, File)>,
    places: BTreeMap<String, Place>,
}

/// Where a tensor lies, and as what.
#[derive(Debug)]
struct Place {
    file: usize,
    bytes: Range<usize>,
    shape: Vec<usize>,
    dtype: Dtype,
}

/// The part of a model that its base class calls itself: weights saved from the base class have the
/// same names without it.
const BASE_PREFIX: &str = "model.";

/// The names under which transformers finds a tensor in a file: its own, and with one `model.` more
/// or less, as models with and without a head save it.
pub fn names_in_file(name: &str) -> impl Iterator<Item = String> {
    let without = name.strip_prefix(BASE_PREFIX).map(str::to_owned);
    [Some(name.to_owned()), without, Some(format!("{BASE_PREFIX}{name}"))].into_iter().flatten()
}

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

impl TensorFiles {
    /// Opens the weight files of a model folder and reads their headers.
    pub fn open(model_dir: &Path) -> Result<Self> {
        let mut files = Self { files: Vec::new(), places: BTreeMap::new() };
        for path in weight_files(model_dir)? {
            let opened = File::open(&path).map_err(TrainerError::io("open", &path))?;
            let map = map_file(&path)?;
            let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|e| {
                TrainerError::weights(&path, format!("is not a complete safetensors file: {e}"))
            })?;
            // The header's length stands before it.
            let start = size_of::<u64>() + header;
            let file = files.files.len();
            let tensors: BTreeMap<_, _> = metadata.tensors().into_iter().collect();
            for (name, info) in tensors {
                if let Some(ending) = BITSANDBYTES.iter().find(|ending| name.ends_with(*ending)) {
                    let message = format!(
                        "holds `{name}` (`{ending}`), weights that bitsandbytes has quantised, \
                         which are not read: take the full-precision model, and write \
                         `quantization: nf4` (or int8) to have it quantised while it is loaded"
                    );
                    return Err(TrainerError::weights(&path, message));
                }
                let bytes = start + info.data_offsets.0..start + info.data_offsets.1;
                let (shape, dtype) = (info.shape.clone(), info.dtype);
                let place = Place { file, bytes, shape, dtype };
                if let Some(other) = files.places.insert(name.clone(), place) {
                    let other = files.files[other.file].0.display();
                    return Err(TrainerError::weights(
                        &path,
                        format!("holds `{name}`, which {other} holds too"),
                    ));
                }
            }
            files.files.push((path, opened));
        }
        Ok(files)
    }

    /// The names of all tensors, as they are stored.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// The names under which a tensor is stored: one, unless the files hold it twice.
    pub fn stored_names(&self, name: &str) -> Vec<String> {
        names_in_file(name).filter(|own| self.places.contains_key(own)).collect()
    }

    /// Shape and number format of a tensor, where there is one; the error says which format it has.
    pub fn header(&self, name: &str) -> Option<(&[usize], std::result::Result<Format, String>)> {
        let (_, place) = self.place(name)?;
        let other = place.dtype;
        let format = Format::of_dtype(other)
            .ok_or_else(|| format!("is stored as {other:?}; f32, f16, bf16 and f64 are read"));
        Some((&place.shape, format))
    }

    /// Some rows of a tensor of this shape in the format it is stored in; its bytes stay in the
    /// file.
    pub fn stored(&self, name: &str, shape: &[usize], part: Range<usize>) -> Result<Stored> {
        let Some((path, place)) = self.place(name) else {
            return Err(TrainerError::weights(
                &self.path(),
                format!("there is no tensor `{name}`"),
            ));
        };
        let (_, cols) = rows_and_cols(shape);
        let damaged = |message: String| TrainerError::weights(path, format!("`{name}`: {message}"));
        let format = Format::of_dtype(place.dtype)
            .ok_or_else(|| damaged(format!("the format {:?} is not read", place.dtype)))?;
        let start = place.bytes.start + part.start * format.row_bytes(cols);
        let bytes = start..start + part.len() * format.row_bytes(cols);
        if place.shape != shape || bytes.end > place.bytes.end {
            return Err(damaged(format!("has the shape {:?}, not {shape:?}", place.shape)));
        }
        let map = map_part(&self.files[place.file].1, path, bytes)?;
        Stored::new(Bytes::Mapped(Arc::new(map)), format, part.len(), cols).map_err(damaged)
    }

    /// The file, or the folder of several.
    pub fn path(&self) -> PathBuf {
        let first = self.files.first().map(|(path, _)| path.clone()).unwrap_or_default();
        match self.files.len() {
            1 => first,
            _ => first.parent().map_or_else(|| first.clone(), Path::to_path_buf),
        }
    }

    fn place(&self, name: &str) -> Option<(&Path, &Place)> {
        let place = names_in_file(name).find_map(|own| self.places.get(&own))?;
        Some((&self.files[place.file].0, place))
    }
}

/// Rows and columns of a matrix; a vector is one row.
pub fn rows_and_cols(shape: &[usize]) -> (usize, usize) {
    if let [rows, cols] = shape { (*rows, *cols) } else { (1, shape[0]) }
}

/// The weight files of a model folder.
pub fn weight_files(model_dir: &Path) -> Result<Vec<PathBuf>> {
    let single = model_dir.join(SINGLE);
    if single.is_file() {
        return Ok(vec![single]);
    }
    let index_path = model_dir.join(INDEX);
    if !index_path.is_file() {
        let hint = match (gguf_file(model_dir), pickled_file(model_dir)) {
            (Some(name), _) => format!(
                "; to take the weights of {name}, write `base_weights: {}`",
                model_dir.join(&name).display()
            ),
            (None, Some(name)) => format!("; {}", pickle_refusal(&name)),
            (None, None) => String::new(),
        };
        return Err(TrainerError::weights(
            model_dir,
            format!("holds neither {SINGLE} nor {INDEX}{hint}"),
        ));
    }
    let text =
        std::fs::read_to_string(&index_path).map_err(TrainerError::io("read", &index_path))?;
    let index: Index = serde_json::from_str(&text)
        .map_err(|e| TrainerError::weights(&index_path, e.to_string()))?;
    let mut names: Vec<String> = index.weight_map.into_values().collect();
    names.sort();
    names.dedup();
    names.into_iter().map(|name| shard(model_dir, &index_path, &name)).collect()
}

/// A shard's path; it must lie in the model's own folder, and be there.
fn shard(model_dir: &Path, index: &Path, name: &str) -> Result<PathBuf> {
    let relative = Path::new(name);
    if name.is_empty() {
        return Err(TrainerError::weights(index, "names no file for a tensor".to_owned()));
    }
    if !relative.components().all(|c| matches!(c, Component::Normal(_))) {
        return Err(TrainerError::weights(
            index,
            format!("names the file `{name}` outside the model's folder"),
        ));
    }
    if is_pickled(relative) {
        return Err(TrainerError::weights(
            index,
            format!("names a file that is not read: {}", pickle_refusal(name)),
        ));
    }
    let path = model_dir.join(relative);
    if !path.is_file() {
        let message = format!(
            "names the file `{name}`, which is not there: copy or download the model again, with all \
             of its files"
        );
        return Err(TrainerError::weights(index, message));
    }
    Ok(path)
}

/// Whether a file's name is one of those that PyTorch's own format goes by.
fn is_pickled(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| ["bin", "pt", "pth", "ckpt", "pkl"].contains(&extension))
}

/// A file in the folder that would run code if it were loaded.
pub fn pickled_file(dir: &Path) -> Option<String> {
    first_file(dir, is_pickled)
}

/// A GGUF file in the folder.
fn gguf_file(dir: &Path) -> Option<String> {
    first_file(dir, |path| path.extension().is_some_and(|extension| extension == "gguf"))
}

/// The name of the first file of a kind, in alphabetical order.
fn first_file(dir: &Path, is_kind: impl Fn(&Path) -> bool) -> Option<String> {
    let entries = std::fs::read_dir(dir).ok()?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| is_kind(path))
        .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
        .collect();
    names.sort();
    names.into_iter().next()
}

/// Why a pickled file is not read, and what to do.
pub fn pickle_refusal(name: &str) -> String {
    format!(
        "{name} can run code when it is loaded and is not read: convert it to safetensors with \
         save_pretrained of transformers or peft"
    )
}

/// Maps a whole file into memory to read it.
pub fn map_file(path: &Path) -> Result<memmap2::Mmap> {
    let file = File::open(path).map_err(TrainerError::io("open", path))?;
    let len = file.metadata().map_err(TrainerError::io("look at", path))?.len();
    map_part(&file, path, 0..len as usize)
}

/// Maps some bytes of a file into memory to read them.
#[expect(unsafe_code, reason = "memory-mapping is unsafe when the file changes underneath")]
pub(super) fn map_part(file: &File, path: &Path, bytes: Range<usize>) -> Result<memmap2::Mmap> {
    let mut options = memmap2::MmapOptions::new();
    options.offset(bytes.start as u64).len(bytes.len());
    // SAFETY: the map is only read, byte by byte, and any bits are a float. A process that writes
    // into the file meanwhile changes the weights, and one that truncates it could end this one
    // with SIGBUS, as with any mapped file; neither can make a value invalid.
    unsafe { options.map(file) }.map_err(TrainerError::io("map", path))
}
