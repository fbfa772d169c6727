//! The tensors that a model has by its `config.json`, held to those that its files have.
//!
//! Everything here is known from the files' headers, so that `check` says what loading would.

use std::collections::{BTreeMap, HashSet};

use super::config::DecoderConfig;
use super::names::{EMBEDDING, FINAL_NORM, HEAD, Tables, linears, norm_names};
use super::weight_files::Files;

/// Names that are listed of each kind of mistake.
const SHOWN: usize = 3;
/// Tensors of a wrong shape that are listed.
const SHOWN_SHAPES: usize = 8;

/// Ends of the names of what follows from the configuration: older versions of transformers saved
/// it, and llama.cpp's converter does.
const COMPUTED: [&str; 3] = ["rotary_emb.inv_freq", "position_ids", "rope_freqs.weight"];

/// What programs put before the names of the weights that they wrap.
const WRAPPERS: [(&str, &str); 3] = [
    ("_orig_mod.", "torch.compile puts it there: save the model inside, `model._orig_mod`"),
    ("module.", "DataParallel puts it there: save the model inside, `model.module`"),
    (
        "base_model.",
        "peft puts it there: save `model.merge_and_unload()`, or the model without its adapter",
    ),
];

/// A tensor that a model has.
#[derive(Debug)]
pub struct Expected {
    /// As transformers names it.
    pub name: String,
    /// Rows and columns, or the length of a vector.
    pub shape: Vec<usize>,
    /// A linear layer of a block.
    pub is_linear: bool,
}

/// All tensors of a model.
pub fn expected(config: &DecoderConfig, tables: Tables) -> Vec<Expected> {
    let (v, d) = (config.vocab_size, config.hidden_size);
    let mut all = Vec::new();
    let mut add = |name: String, shape: Vec<usize>, is_linear: bool| {
        all.push(Expected { name, shape, is_linear });
    };
    add(tables.embedding.to_owned(), vec![v, d], false);
    if let Some(head) = tables.head {
        add(head.to_owned(), vec![v, d], false);
    }
    add(FINAL_NORM.to_owned(), vec![d], false);
    for layer in 0..config.num_hidden_layers {
        for joined in linears(config, layer) {
            for (name, outputs) in &joined.parts {
                add(format!("{name}.weight"), vec![*outputs, joined.inputs], true);
                if joined.has_bias {
                    add(format!("{name}.bias"), vec![*outputs], false);
                }
            }
        }
        let mut norm = |part: &str, len: usize| {
            add(format!("model.layers.{layer}.{part}.weight"), vec![len], false);
        };
        norm_names(config.norms).into_iter().flatten().for_each(|part| norm(part, d));
        if let Some([q, k]) = config.qk_norm_widths() {
            norm("self_attn.q_norm", q);
            norm("self_attn.k_norm", k);
        }
    }
    all
}

/// Why these files are not the weights of such a model, a sentence a mistake; none where they are.
pub fn mistakes(config: &DecoderConfig, files: &Files, expected: &[Expected]) -> Vec<String> {
    let (mut missing, mut others) = (Vec::new(), Vec::new());
    let mut unread: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for tensor in expected {
        let Some((shape, format)) = files.header(&tensor.name) else {
            missing.push(tensor.name.as_str());
            continue;
        };
        let own = files.own_name(&tensor.name);
        if let [first, second, ..] = &files.stored_names(&tensor.name)[..] {
            others.push(format!("`{first}` and `{second}` are the same tensor of the model"));
        } else if shape != tensor.shape {
            others.push(wrong_shape(config, tensor, &own, shape));
        } else {
            match format {
                Err(reason) => unread.entry(reason).or_default().push(own),
                Ok(format)
                    if !tensor.shape[tensor.shape.len() - 1].is_multiple_of(format.block()) =>
                {
                    let (block, shape) = (format.block(), &tensor.shape);
                    let reason = format!(
                        "is stored as {format}, whose blocks hold {block} values, but has the shape \
                         {shape:?}"
                    );
                    unread.entry(reason).or_default().push(own);
                }
                Ok(format) if !files.is_whole(&tensor.name, &tensor.shape, format) => {
                    let reason = "ends behind the file: it is cut off".to_owned();
                    unread.entry(reason).or_default().push(own);
                }
                Ok(_) => {}
            }
        }
    }
    let found = others.len();
    others.truncate(SHOWN_SHAPES);
    if found > others.len() {
        others.push(format!("{} more tensors have such mistakes", found - others.len()));
    }
    let unread = unread.into_iter().map(|(reason, names)| match names.len() {
        1 => format!("{} {reason}", list(&names)),
        _ => format!("{}: each {reason}", list(&names)),
    });
    absent(config, files, &missing).into_iter().chain(others).chain(unread).collect()
}

fn wrong_shape(config: &DecoderConfig, tensor: &Expected, own: &str, found: &[usize]) -> String {
    let wanted = &tensor.shape;
    let text = format!("`{own}` has the shape {found:?}, but config.json asks for {wanted:?}");
    let is_table = [EMBEDDING, HEAD].contains(&tensor.name.as_str());
    if let ([rows, cols], true) = (found, is_table && wanted[0] == config.vocab_size)
        && *cols == config.hidden_size
    {
        return format!(
            "{text} (transformers refuses it, too): where rows were added, write \
             `vocab_size: {rows}` into config.json"
        );
    }
    text
}

/// One sentence on all tensors that are not there.
fn absent(config: &DecoderConfig, files: &Files, missing: &[&str]) -> Option<String> {
    let first = missing.first()?;
    if missing[..] == [HEAD] && !config.tie_word_embeddings {
        return Some(format!(
            "there is no tensor {}, and config.json does not tie it to the embeddings \
             (transformers would make a random head): write `tie_word_embeddings: true` into \
             config.json if the head is the embedding table, else take files that hold it",
            list(&[files.own_name(HEAD)])
        ));
    }
    let own: Vec<String> = missing.iter().map(|name| files.own_name(name)).collect();
    let hint = match prefix(files, first) {
        Some(prefix) => {
            let known = WRAPPERS.iter().find(|(wrapper, _)| prefix.starts_with(wrapper));
            let (wrapper, remedy) = known.map_or(
                (prefix.as_str(), "transformers does not look for it: rename them"),
                |(wrapper, remedy)| (*wrapper, *remedy),
            );
            format!("; the names in the file begin with `{wrapper}`: {remedy}")
        }
        None if files.names().any(|name| name.contains(".base_layer.")) => {
            "; the file is a model with an adapter that is not merged: save \
             `model.merge_and_unload()`"
                .to_owned()
        }
        None => "; transformers would fill it with random values".to_owned(),
    };
    Some(format!("there is no tensor {}{hint}", list(&own)))
}

/// What stands before a tensor's name in a file that holds it under a longer one.
fn prefix(files: &Files, name: &str) -> Option<String> {
    let bare = name.trim_start_matches("model.");
    let before = |own: &str| {
        let behind_a_dot = |name: &str| own.strip_suffix(name).filter(|p| p.ends_with('.'));
        behind_a_dot(name).or_else(|| behind_a_dot(bare)).map(str::to_owned)
    };
    files.names().find_map(before)
}

/// What the files hold that such a model does not have, and that is therefore not used.
pub fn unexpected(config: &DecoderConfig, files: &Files, expected: &[Expected]) -> Option<String> {
    let names = expected.iter().map(|tensor| tensor.name.as_str()).chain([HEAD]);
    let known: HashSet<String> = names.flat_map(|name| files.stored_names(name)).collect();
    let is_unknown = |name: &&str| {
        !known.contains(*name) && !COMPUTED.iter().any(|computed| name.ends_with(computed))
    };
    let unknown: Vec<&str> = files.names().filter(is_unknown).collect();
    if unknown.is_empty() {
        return None;
    }
    let layers = config.num_hidden_layers;
    let is_beyond = |name: &&str| {
        let layer = name.split_once("layers.").or_else(|| name.split_once("blk."));
        let layer = layer.and_then(|(_, rest)| rest.split('.').next()?.parse::<usize>().ok());
        layer.is_some_and(|layer| layer >= layers)
    };
    let hint = if unknown.iter().any(|name| name.contains("lora_")) {
        ": an adapter in it is not merged, and what it learnt is left out".to_owned()
    } else if unknown.iter().any(is_beyond) {
        format!(": num_hidden_layers is {layers}")
    } else if unknown.iter().any(|name| name.rsplit('.').next() == Some("bias")) {
        ": config.json does not switch these biases on".to_owned()
    } else {
        String::new()
    };
    let (path, model_type) = (files.path(), &config.model_type);
    let (count, them) = match unknown.len() {
        1 => ("a tensor".to_owned(), "it is"),
        n => (format!("{n} tensors"), "they are"),
    };
    Some(format!(
        "{} holds {count} that a {model_type} model with this config.json does not have; {them} not \
         used, as in transformers: {}{hint}",
        path.display(),
        list(&unknown)
    ))
}

/// The first names, and how many more there are.
fn list<T: AsRef<str>>(names: &[T]) -> String {
    let shown: Vec<String> =
        names.iter().take(SHOWN).map(|name| format!("`{}`", name.as_ref())).collect();
    let more = names.len() - shown.len();
    let shown = shown.join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}
