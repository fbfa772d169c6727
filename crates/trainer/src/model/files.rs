//! Safetensors files of a model folder, memory-mapped; one file or several with an index.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Component, Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use serde::Deserialize;

use crate::error::{Result, TrainerError};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Which tensor lies in which file.
#[derive(Debug)]
pub struct TensorFiles {
    maps: Vec<(PathBuf, memmap2::Mmap)>,
    place: HashMap<String, usize>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

impl TensorFiles {
    /// Maps the weight files of a model folder and reads their headers.
    pub fn open(model_dir: &Path) -> Result<Self> {
        let mut files = Self { maps: Vec::new(), place: HashMap::new() };
        for path in weight_files(model_dir)? {
            let map = map(&path)?;
            let tensors = parse(&path, &map)?;
            let at = files.maps.len();
            files.place.extend(tensors.names().into_iter().map(|name| (name.to_owned(), at)));
            files.maps.push((path, map));
        }
        Ok(files)
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.place.contains_key(name)
    }

    /// Copies a tensor out of its file, in the number format it is stored in.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let Some((path, map)) = self.place.get(name).and_then(|at| self.maps.get(*at)) else {
            let path = self.maps.first().map(|(p, _)| p.clone()).unwrap_or_default();
            return Err(weights(&path, format!("there is no tensor `{name}`")));
        };
        let tensors = parse(path, map)?;
        let view = tensors.tensor(name).map_err(|e| weights(path, format!("`{name}`: {e}")))?;
        if view.shape() != shape {
            return Err(weights(
                path,
                format!(
                    "`{name}` has the shape {:?}, but config.json asks for {shape:?}",
                    view.shape()
                ),
            ));
        }
        let dtype = DType::try_from(view.dtype())?;
        if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16 | DType::F64) {
            return Err(weights(
                path,
                format!("`{name}` is stored as {:?}; f32, f16 and bf16 are read", view.dtype()),
            ));
        }
        Ok(Tensor::from_raw_buffer(view.data(), dtype, shape, &Device::Cpu)?)
    }
}

/// The weight files of a model folder.
pub fn weight_files(model_dir: &Path) -> Result<Vec<PathBuf>> {
    let single = model_dir.join(SINGLE);
    if single.is_file() {
        return Ok(vec![single]);
    }
    let index_path = model_dir.join(INDEX);
    if !index_path.is_file() {
        let hint = match pickled_file(model_dir) {
            Some(name) => format!("; {}", pickle_refusal(&name)),
            None => String::new(),
        };
        return Err(weights(model_dir, format!("holds neither {SINGLE} nor {INDEX}{hint}")));
    }
    let text =
        std::fs::read_to_string(&index_path).map_err(TrainerError::io("read", &index_path))?;
    let index: Index =
        serde_json::from_str(&text).map_err(|e| weights(&index_path, e.to_string()))?;
    let mut names: Vec<String> = index.weight_map.into_values().collect();
    names.sort();
    names.dedup();
    names.into_iter().map(|name| shard(model_dir, &index_path, &name)).collect()
}

/// A shard's path; it must lie in the model's own folder.
fn shard(model_dir: &Path, index: &Path, name: &str) -> Result<PathBuf> {
    let relative = Path::new(name);
    if name.is_empty() {
        return Err(weights(index, "names no file for a tensor".to_owned()));
    }
    if !relative.components().all(|c| matches!(c, Component::Normal(_))) {
        return Err(weights(index, format!("names the file `{name}` outside the model's folder")));
    }
    if is_pickled(relative) {
        return Err(weights(
            index,
            format!("names a file that is not read: {}", pickle_refusal(name)),
        ));
    }
    Ok(model_dir.join(relative))
}

/// Whether a file's name is one of those that PyTorch's own format goes by.
fn is_pickled(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| ["bin", "pt", "pth", "ckpt", "pkl"].contains(&extension))
}

/// A file in the folder that would run code if it were loaded.
pub fn pickled_file(dir: &Path) -> Option<String> {
    let entries = std::fs::read_dir(dir).ok()?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| is_pickled(path))
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

/// Maps a file into memory to read it.
#[expect(unsafe_code, reason = "memory-mapping is unsafe when the file changes underneath")]
pub fn map(path: &Path) -> Result<memmap2::Mmap> {
    let file = File::open(path).map_err(TrainerError::io("open", path))?;
    // SAFETY: the map is only read, and every value is copied out before it is used. A process
    // that truncates the file meanwhile could still end this one with SIGBUS, as with any mapped
    // file; it cannot make the values invalid, since any bits are a float.
    unsafe { memmap2::Mmap::map(&file) }.map_err(TrainerError::io("map", path))
}

fn parse<'a>(path: &Path, map: &'a memmap2::Mmap) -> Result<SafeTensors<'a>> {
    SafeTensors::deserialize(map)
        .map_err(|e| weights(path, format!("is not a complete safetensors file: {e}")))
}

fn weights(path: &Path, message: String) -> TrainerError {
    TrainerError::Weights { path: path.to_path_buf(), message }
}
