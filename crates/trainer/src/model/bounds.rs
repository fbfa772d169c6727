//! Which sizes a model can have: a config that asks for more is damaged or means harm, and is
//! refused before anything is allocated for it.

use super::config::DecoderConfig;

/// Far above every published model, and small enough that no product of sizes overflows.
const MOST_COLUMNS: usize = 1 << 20;
const MOST_TOKENS: usize = 1 << 24;
const MOST_LAYERS: usize = 1 << 12;

/// The config itself, or which of its sizes is too large.
pub(super) fn bounded(config: DecoderConfig) -> Result<DecoderConfig, String> {
    let attention = &config.attention;
    let sizes = [
        ("vocab_size", config.vocab_size, MOST_TOKENS),
        ("hidden_size", config.hidden_size, MOST_COLUMNS),
        ("intermediate_size", config.intermediate_size, MOST_COLUMNS),
        ("num_hidden_layers", config.num_hidden_layers, MOST_LAYERS),
        ("num_attention_heads", attention.heads, MOST_COLUMNS),
        ("head_dim", attention.head_dim, MOST_COLUMNS / attention.heads.max(1)),
    ];
    match sizes.into_iter().find(|(_, size, most)| size > most) {
        Some((key, size, most)) => Err(format!("{key} is {size}; at most {most} is plausible")),
        None => Ok(config),
    }
}
