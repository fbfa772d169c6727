//! A base model with an adapter merged into its weights: `W + scale B A`, for `DoRA` brought to its
//! magnitudes, in the base's own number format and files.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use spec::BaseSettings;

use crate::adapter::Site;
use crate::error::{Result, TrainerError};
use crate::format::{Format, map_file, names_in_file, weight_files, write_tensors};
use crate::model::{DecoderConfig, Source, weight_name};
use crate::peft::{self, LoadedAdapter};

const CONFIG: &str = "config.json";

/// Writes the merged weights into the existing folder `target`, under the names of the base's
/// files and tensors, and its `config.json`; the shards' index, if there is one, stays valid and is
/// copied. Returns the files.
pub fn write_merged(base: &Path, adapter: &Path, target: &Path) -> Result<Vec<PathBuf>> {
    let source = Source::open(base, &BaseSettings::default())?;
    let adapter = peft::load(adapter, source.config())?;
    let mut written = vec![write_config(base, source.config(), target)?];
    let mut merged = vec![false; adapter.layout.sites.len()];
    for file in weight_files(base)? {
        let path = target.join(file.file_name().unwrap_or_default());
        write_file(&file, &path, &adapter, &mut merged)?;
        written.push(path);
    }
    if let Some(missing) = merged.iter().position(|is_merged| !is_merged) {
        let name = weight_of_site(&adapter.layout.sites[missing]);
        return Err(TrainerError::weights(
            base,
            format!("there is no tensor `{name}` to merge into"),
        ));
    }
    let index = "model.safetensors.index.json";
    let from = base.join(index);
    if from.is_file() {
        let to = target.join(index);
        std::fs::copy(&from, &to).map_err(TrainerError::io("copy", &from))?;
        written.push(to);
    }
    Ok(written)
}

/// The base's `config.json`. Where its weights are not tied although it says so, it says the truth: a
/// program that goes by it alone would make another model of the merged files.
fn write_config(base: &Path, config: &DecoderConfig, target: &Path) -> Result<PathBuf> {
    let (from, to) = (base.join(CONFIG), target.join(CONFIG));
    let text = std::fs::read_to_string(&from).map_err(TrainerError::io("read", &from))?;
    let refused = |message: String| TrainerError::Config { path: from.clone(), message };
    let text = if DecoderConfig::parse(&text).map_err(refused)? == *config {
        text
    } else {
        let mut written: serde_json::Value =
            serde_json::from_str(&text).map_err(|e| refused(e.to_string()))?;
        written["tie_word_embeddings"] = config.tie_word_embeddings.into();
        format!("{written:#}\n")
    };
    std::fs::write(&to, text).map_err(TrainerError::io("write", &to))?;
    Ok(to)
}

fn weight_of_site(site: &Site) -> String {
    weight_name(site.layer, site.module)
}

/// A tensor of a file.
struct Stored<'a> {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Cow<'a, [u8]>,
}

fn write_file(from: &Path, to: &Path, adapter: &LoadedAdapter, merged: &mut [bool]) -> Result<()> {
    let map = map_file(from)?;
    let damaged = |e: safetensors::SafeTensorError| TrainerError::weights(from, e.to_string());
    let (_, header) = SafeTensors::read_metadata(&map).map_err(damaged)?;
    let tensors = SafeTensors::deserialize(&map).map_err(damaged)?;
    let mut values: Vec<Stored<'_>> = tensors
        .iter()
        .map(|(name, view)| Stored {
            name: name.to_owned(),
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            bytes: Cow::Borrowed(view.data()),
        })
        .collect();
    for (index, site) in adapter.layout.sites.iter().enumerate() {
        let names: Vec<String> = names_in_file(&weight_of_site(site)).collect();
        let found = values.iter_mut().find(|value| names.contains(&value.name));
        let Some(stored) = found else { continue };
        let name = stored.name.clone();
        let (dtype, wanted) = (stored.dtype, [site.outputs, site.inputs]);
        if stored.shape != wanted {
            let shape = &stored.shape;
            return Err(TrainerError::weights(
                from,
                format!("`{name}` has the shape {shape:?}, not {wanted:?}"),
            ));
        }
        let merged_bytes = merge(&stored.bytes, dtype, adapter, index).ok_or_else(|| {
            TrainerError::weights(
                from,
                format!("`{name}` is stored as {dtype:?}; f32, f16 and bf16 are merged"),
            )
        })?;
        stored.bytes = Cow::Owned(merged_bytes);
        merged[index] = true;
    }
    let views = values
        .iter()
        .map(|value| {
            let view = TensorView::new(value.dtype, value.shape.clone(), &value.bytes)?;
            Ok((value.name.as_str(), view))
        })
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(damaged)?;
    write_tensors(views, header.metadata().clone(), to).map_err(damaged)
}

/// The bytes of `W + scale B A`, whose rows `DoRA` brings to their magnitudes; `None` for a number
/// format that is not read. `A` is [R, I], `B` is [O, R] and `W` [O, I]; a row of W takes the rows of
/// A times its row of B, summed in f32.
fn merge(bytes: &[u8], dtype: Dtype, adapter: &LoadedAdapter, index: usize) -> Option<Vec<u8>> {
    let site = &adapter.layout.sites[index];
    let a = &adapter.values[adapter.layout.a_range(index)];
    let b = &adapter.values[adapter.layout.b_range(index)];
    let (rank, inputs) = (site.rank, site.inputs);
    let format = Format::of_dtype(dtype).filter(|format| *format != Format::F64)?;
    let size = format.row_bytes(1);
    let magnitudes = adapter.layout.magnitude_range(index).map(|range| &adapter.values[range]);
    let mut out = bytes.to_vec();
    let rows = out.par_chunks_mut(inputs * size).zip(b.par_chunks(rank)).enumerate();
    rows.for_each(|(output, (stored, b))| {
        let mut update = vec![0.0_f32; inputs];
        for (b, a) in b.iter().zip(a.chunks(inputs)) {
            for (sum, a) in update.iter_mut().zip(a) {
                *sum += b * a;
            }
        }
        let scale = site.scale as f32;
        let mut row = vec![0.0_f32; inputs];
        format.decode(stored, 0, &mut row);
        for (value, update) in row.iter_mut().zip(update) {
            *value += scale * update;
        }
        if let Some(magnitudes) = magnitudes {
            let length: f64 = row.iter().map(|x| f64::from(*x).powi(2)).sum();
            let factor = magnitudes[output] / length.sqrt() as f32;
            for value in &mut row {
                *value *= factor;
            }
        }
        for (to, value) in stored.chunks_mut(size).zip(row) {
            write(to, dtype, value);
        }
    });
    Some(out)
}

/// Rounds a value to the format that is stored.
fn write(to: &mut [u8], dtype: Dtype, value: f32) {
    match dtype {
        Dtype::F32 => to.copy_from_slice(&value.to_le_bytes()),
        Dtype::F16 => to.copy_from_slice(&f16::from_f32(value).to_le_bytes()),
        Dtype::BF16 => to.copy_from_slice(&bf16::from_f32(value).to_le_bytes()),
        _ => {}
    }
}
