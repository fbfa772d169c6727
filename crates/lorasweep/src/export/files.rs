//! The files of an export: their names, where they come from, and their checksums.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use store::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, CHECKSUMS, Identity, Ours, TOKENIZER_FILES};

use crate::error::Error;

/// Logits of some validation examples, read by `scripts/check_peft.py`.
pub const LOGITS: &str = "lorasweep_check.safetensors";
/// The tokenised validation rows.
pub const VALIDATION: &str = "validation_tokens.jsonl";
/// The files of an export: `--force` replaces those that are as its checksums say.
pub const OURS: Ours = Ours::by_checksums(is_in_export, CHECKSUMS);
/// Says where an export comes from.
pub const ORIGIN: &str = "lorasweep.json";
/// The adapter in llama.cpp's form.
pub const GGUF: &str = "adapter.gguf";
/// The model card.
pub const CARD: &str = "README.md";
/// The losses' curves.
pub const PLOT: &str = "training.png";
/// A model's chat template, where it has a file of its own.
pub const CHAT_TEMPLATE: &str = "chat_template.jinja";
/// Chat templates by further names.
const MORE_TEMPLATES: &str = "additional_chat_templates";
/// What a whole model needs beside weights and tokenizer.
pub const MODEL_FILES: [&str; 2] = ["config.json", "generation_config.json"];

/// Whether an export has a file of this relative path.
pub fn is_in_export(path: &Path) -> bool {
    const OWN: [&str; 9] =
        [ADAPTER_CONFIG, ADAPTER_WEIGHTS, ORIGIN, LOGITS, VALIDATION, GGUF, CARD, PLOT, CHECKSUMS];
    let Some(text) = path.to_str() else { return false };
    match text.split_once('/') {
        Some((folder, file)) => folder == MORE_TEMPLATES && is_template(file),
        None => {
            OWN.iter().chain(&MODEL_FILES).chain(&TOKENIZER_FILES).any(|name| text == *name)
                || is_weight_file(text)
        }
    }
}

/// Weights of a merged model, under the names that `save_pretrained` gives them, and their index.
fn is_weight_file(name: &str) -> bool {
    let rest = name.strip_prefix("model").unwrap_or_default();
    rest == ".safetensors"
        || rest == ".safetensors.index.json"
        || rest.starts_with('-') && rest.ends_with(".safetensors") && !rest.contains('/')
}

fn is_template(file: &str) -> bool {
    file.strip_suffix(".jinja").is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// What is not known to be as it was in training: name and reason.
pub type Unverified = BTreeMap<String, String>;

/// Files of the base model's folder on their way into an export.
pub struct BaseFiles<'a> {
    pub model: &'a Path,
    pub identity: &'a Identity,
    pub target: &'a Path,
    pub unverified: &'a mut Unverified,
    pub warnings: &'a mut Vec<String>,
}

impl BaseFiles<'_> {
    /// Copies those of the files `names` that the model has. Returns how many.
    pub fn copy(&mut self, names: &[&str]) -> Result<usize, Error> {
        let mut copied = 0;
        for name in names {
            copied += usize::from(self.copy_one(name)?);
        }
        Ok(copied)
    }

    /// Copies the chat templates of further names.
    pub fn copy_templates(&mut self) -> Result<(), Error> {
        let folder = self.model.join(MORE_TEMPLATES);
        if !folder.is_dir() {
            return Ok(());
        }
        let mut names: Vec<String> = list(&folder)?
            .iter()
            .filter_map(|path| path.file_name()?.to_str())
            .filter(|name| is_template(name))
            .map(|name| format!("{MORE_TEMPLATES}/{name}"))
            .collect();
        names.sort();
        if !names.is_empty() {
            let made = self.target.join(MORE_TEMPLATES);
            fs::create_dir_all(&made).map_err(Error::io("create", &made))?;
        }
        self.copy(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
        Ok(())
    }

    fn copy_one(&mut self, name: &str) -> Result<bool, Error> {
        let path = self.model.join(name);
        if !path.is_file() {
            return Ok(false);
        }
        if let Some(outside) = self.outside(&path)? {
            self.warnings.push(format!(
                "`{}` is a link to `{}`, outside of the model's folder, and is not copied: put a \
                 copy in its place",
                path.display(),
                outside.display()
            ));
            return Ok(false);
        }
        let to = self.target.join(name);
        // The content alone: permissions are those of any new file.
        let mut from = fs::File::open(&path).map_err(Error::io("read", &path))?;
        fs::File::create(&to)
            .and_then(|mut to| std::io::copy(&mut from, &mut to))
            .map_err(Error::io("copy", &path))?;
        self.compare(name, &to)?;
        Ok(true)
    }

    /// Where a link leads, unless to a file of the model itself: in its folder, or, for a snapshot
    /// of a hub's cache, among the blobs of the same model.
    fn outside(&self, path: &Path) -> Result<Option<PathBuf>, Error> {
        let resolve = |path: &Path| path.canonicalize().map_err(Error::io("resolve", path));
        let (file, model) = (resolve(path)?, resolve(self.model)?);
        let blobs = model
            .ancestors()
            .find(|folder| folder.file_name().is_some_and(|name| name == "snapshots"))
            .and_then(Path::parent)
            .map(|of_model| of_model.join("blobs"));
        let is_own = file.starts_with(&model) || blobs.is_some_and(|blobs| file.starts_with(blobs));
        Ok((!is_own).then_some(file))
    }

    /// Says so when a file is not what it was when the sweep began.
    fn compare(&mut self, name: &str, copy: &Path) -> Result<(), Error> {
        let then = self.identity.inputs.get(&format!("model's {name}"));
        let Some(then) = then.and_then(|file| file.sha256.as_ref()) else { return Ok(()) };
        if store::hash_file(copy)?.sha256.as_ref() != Some(then) {
            self.warnings.push(format!(
                "the model's {name} has changed since the sweep ran; the export has it as it is now"
            ));
            self.unverified.insert(name.to_owned(), "changed since the sweep ran".to_owned());
        }
        Ok(())
    }
}

/// Writes the checksums of all files of the export. Of what was not verified it says that, instead of
/// vouching for it. While the export is written there are marks of that beside its files.
pub fn write_checksums(dir: &Path, unverified: &Unverified) -> Result<(), Error> {
    Ok(store::write_checksums(dir, CHECKSUMS, is_in_export, unverified)?)
}

pub fn write(path: &Path, contents: impl AsRef<[u8]>) -> Result<(), Error> {
    fs::write(path, contents).map_err(Error::io("write", path))
}

pub fn write_json(path: &Path, value: &Value) -> Result<(), Error> {
    write(path, format!("{value:#}\n"))
}

pub fn read_json(path: &Path, what: &'static str) -> Result<Value, Error> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    serde_json::from_str(&text).map_err(|source| Error::Json { what, source })
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(Error::io("list", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_has_files_of_known_names_only() {
        for name in [
            "adapter_model.safetensors",
            "model.safetensors",
            "model-00001-of-00002.safetensors",
            "model.safetensors.index.json",
            "tokenizer.json",
            "additional_chat_templates/tool_use.jinja",
            "SHA256SUMS",
        ] {
            assert!(is_in_export(Path::new(name)), "{name}");
        }
        for name in [
            "optimizer.pt",
            "checkpoint-500/adapter_model.safetensors",
            "additional_chat_templates/.jinja",
            "additional_chat_templates/a/b.jinja",
            "additional_chat_templates",
            "my-model.safetensors",
            "notes.txt",
        ] {
            assert!(!is_in_export(Path::new(name)), "{name}");
        }
    }
}
