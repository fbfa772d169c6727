//! Which sizes a model can have: a config that asks for more is damaged or means harm, and is
//! refused before anything is allocated for it.

use crate::backend::AttentionShape;

/// Far above every published model, and small enough that no product of sizes overflows.
const MOST_COLUMNS: usize = 1 << 20;
const MOST_TOKENS: usize = 1 << 24;
const MOST_LAYERS: usize = 1 << 12;

/// The sizes of a model.
pub(super) struct Sizes {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub attention: AttentionShape,
}

impl Sizes {
    /// Which of the sizes is too large, if one is.
    pub(super) fn check(&self) -> Result<(), String> {
        let heads = self.attention.heads;
        let sizes = [
            ("vocab_size", self.vocab_size, MOST_TOKENS),
            ("hidden_size", self.hidden_size, MOST_COLUMNS),
            ("intermediate_size", self.intermediate_size, MOST_COLUMNS),
            ("num_hidden_layers", self.num_hidden_layers, MOST_LAYERS),
            ("num_attention_heads", heads, MOST_COLUMNS),
            ("head_dim", self.attention.head_dim, MOST_COLUMNS / heads.max(1)),
        ];
        match sizes.into_iter().find(|(_, size, most)| size > most) {
            Some((key, size, most)) => Err(format!("{key} is {size}; at most {most} is plausible")),
            None => Ok(()),
        }
    }
}
