//! How long the vectors of single tokens are beside those of the others. A token that a base has
//! hardly seen in training keeps a short one, and LoRA on linear layers does not train it.

use super::source::Source;
use crate::error::Result;
use crate::format::Stored;

/// Rows that stand for the whole table, evenly spaced.
const SAMPLE: usize = 2048;
/// A vector shorter than this share of the median length is hardly trained.
const SHORT: f64 = 0.25;

/// A token whose vector is much shorter than those of the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShortToken {
    /// Its id.
    pub id: u32,
    /// The table: `model.embed_tokens.weight` or `lm_head.weight`.
    pub table: &'static str,
    /// Euclidean length of its row.
    pub norm: f64,
    /// The median length of the table's rows.
    pub median: f64,
}

/// Those of `ids` that the base has hardly trained, in the embedding table or, where the model has
/// one of its own, in the output head. Reads some thousand rows.
pub fn short_tokens(source: &Source, ids: &[u32]) -> Result<Vec<ShortToken>> {
    let (config, tables) = (source.config(), source.tables());
    let tables = [Some(tables.embedding), tables.head];
    let mut short: Vec<ShortToken> = Vec::new();
    for table in tables.into_iter().flatten() {
        let rows = source.table(table, config.vocab_size, config.hidden_size)?;
        let median = median_norm(&rows);
        for id in ids.iter().filter(|id| (**id as usize) < rows.rows()) {
            let norm = norm(&rows, *id as usize);
            let is_known = short.iter().any(|token| token.id == *id);
            if norm < SHORT * median && !is_known {
                short.push(ShortToken { id: *id, table, norm, median });
            }
        }
    }
    Ok(short)
}

fn norm(table: &Stored, row: usize) -> f64 {
    let mut values = vec![0.0_f32; table.cols()];
    table.decode(row..row + 1, 0..table.cols(), &mut values);
    values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}

fn median_norm(table: &Stored) -> f64 {
    let count = table.rows().min(SAMPLE);
    let mut norms: Vec<f64> = (0..count).map(|at| norm(table, at * table.rows() / count)).collect();
    norms.sort_by(f64::total_cmp);
    norms.get(count / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use spec::BaseSettings;

    use super::*;
    use crate::format::map_file;
    use crate::model::names::EMBEDDING;

    const MODEL: &str = "tests/golden/llama_tied/model";

    /// The ids of the model's short tokens when the embedding of token 3 is multiplied.
    fn short(factor: f32) -> Vec<u32> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for file in fs::read_dir(MODEL).expect("a golden model") {
            let file = file.expect("a file").path();
            let name = file.file_name().expect("a name");
            fs::copy(&file, dir.path().join(name)).expect("copying it");
        }
        let path = dir.path().join("model.safetensors");
        let map = map_file(&path).expect("weights");
        let (header, metadata) = safetensors::SafeTensors::read_metadata(&map).expect("a header");
        let info = metadata.info(EMBEDDING).expect("the embedding table");
        let start = 8 + header + info.data_offsets.0;
        let mut bytes = map.to_vec();
        drop(map);
        let row = info.shape[1] * 4;
        for value in bytes[start + 3 * row..start + 4 * row].chunks_exact_mut(4) {
            let old = f32::from_le_bytes([value[0], value[1], value[2], value[3]]);
            value.copy_from_slice(&(old * factor).to_le_bytes());
        }
        fs::write(&path, bytes).expect("writing the weights");
        found(dir.path())
    }

    fn found(model: &Path) -> Vec<u32> {
        let source = Source::open(model, &BaseSettings::default()).expect("weights");
        let ids: Vec<u32> = (0..source.config().vocab_size as u32 + 2).collect();
        let tokens = short_tokens(&source, &ids).expect("a table");
        tokens.into_iter().map(|token| token.id).collect()
    }

    #[test]
    fn a_token_whose_vector_is_much_shorter_than_the_median_is_named() {
        assert_eq!(short(0.05), [3]);
        assert_eq!(short(1.0), [] as [u32; 0]);
    }
}
