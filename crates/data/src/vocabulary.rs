//! Tokens back to text, to be shown.

use std::path::Path;

use serde::Serialize;
use tokenizers::Tokenizer;

use super::error::DataError;
use super::model_files::ModelFiles;

/// A run of tokens as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TextPiece {
    /// The text, special tokens included.
    pub text: String,
    /// Whether its tokens are targets.
    pub is_target: bool,
}

/// What the tokens of a model say.
pub struct Vocabulary {
    tokenizer: Tokenizer,
}

impl Vocabulary {
    /// Reads the tokenizer of a model folder.
    pub fn load(model_dir: &Path) -> Result<Self, DataError> {
        Ok(Self { tokenizer: ModelFiles::new(model_dir).tokenizer()? })
    }

    /// The text of a row, cut where the loss mask changes.
    pub fn pieces(&self, input_ids: &[u32], loss_mask: &[bool]) -> Vec<TextPiece> {
        let mut pieces: Vec<TextPiece> = Vec::new();
        let mut start = 0;
        // A token may be written otherwise at the start of a text than within it, so what is
        // shown of a run is what it adds to everything before it.
        let mut before = String::new();
        for run in loss_mask.chunk_by(|a, b| a == b) {
            let end = (start + run.len()).min(input_ids.len());
            let until = self.text(&input_ids[..end]);
            let added = until.strip_prefix(&before).map(str::to_owned);
            let text = added.unwrap_or_else(|| self.text(&input_ids[start..end]));
            pieces.push(TextPiece { text, is_target: run[0] });
            (start, before) = (end, until);
        }
        pieces
    }

    fn text(&self, ids: &[u32]) -> String {
        self.tokenizer.decode(ids, false).unwrap_or_else(|error| format!("({error})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_cut_where_its_mask_changes() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad_data/model");
        let vocabulary = Vocabulary::load(&model).expect("a whole model folder");
        let ids = vocabulary.tokenizer.encode("<s>ask it </s>", false).expect("byte-level");
        let mut mask = vec![false; ids.len()];
        mask[ids.len() - 2..].fill(true);
        let pieces = vocabulary.pieces(ids.get_ids(), &mask);
        let texts: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
        assert_eq!((pieces.len(), texts.as_str()), (2, "<s>ask it </s>"));
        assert!(!pieces[0].is_target && pieces[1].is_target);
    }
}
