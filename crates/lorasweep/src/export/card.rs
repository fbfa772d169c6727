//! The model card of an export: what it is, how it was chosen, how to load it.

use std::fmt::Write as _;

use reporter::Ranking;
use serde_json::Value;
use spec::{
    BaseSettings, Evaluation, HubModel, SweepState, TrialId, markdown_code, markdown_name,
    printable_json, shell_word,
};

use super::Form;
use super::base::BaseName;
use super::files::GGUF;
use super::merged::Merged;

/// The rank up to which vLLM serves an adapter unasked.
const VLLM_DEFAULT_RANK: u64 = 16;
/// What `--max-lora-rank` of vLLM may be.
const VLLM_RANKS: [u64; 9] = [1, 8, 16, 32, 64, 128, 256, 320, 512];

/// What the card is made of.
pub struct Card<'a> {
    pub state: &'a SweepState,
    pub ranking: &'a Ranking,
    pub trial: TrialId,
    pub form: Form,
    /// The one whose adapter is exported.
    pub evaluation: &'a Evaluation,
    pub base: &'a BaseName,
    /// How its weights were held in training.
    pub held: &'a BaseSettings,
    pub data_sha256: Option<&'a str>,
    /// PEFT's `adapter_config.json`.
    pub adapter: &'a Value,
    /// The base model's weights had changed when this was exported.
    pub has_other_base: bool,
    /// The export has a tokenizer.
    pub has_tokenizer: bool,
    /// How a merged model compares with base and adapter.
    pub merged: Option<&'a Merged>,
}

impl Card<'_> {
    /// Markdown with the metadata that model hubs read.
    pub fn render(&self) -> String {
        let library = if self.form == Form::Merged { "transformers" } else { "peft" };
        let base_model = match &self.base.hub {
            Some(hub) => {
                let name = Value::from(hub.repo.as_str()).to_string();
                format!("base_model: {}\n", printable_json(&name))
            }
            None => "# base_model: its name on the hub, if it has one\n".to_owned(),
        };
        let mut out = format!(
            "---\n{base_model}library_name: {library}\npipeline_tag: text-generation\ntags:\n\
             - lora\n- lorasweep\n---\n\n# {}, trial {}\n\n",
            markdown_name(&self.state.name),
            self.trial
        );
        let what = match self.form {
            Form::Merged => "The base model with a LoRA adapter merged into its weights",
            Form::Adapter | Form::AdapterAndGguf => "A LoRA adapter",
        };
        let _ = writeln!(
            out,
            "{what}, trained and chosen by lorasweep {} among {} runs.\n",
            env!("CARGO_PKG_VERSION"),
            self.state.trials.len()
        );
        self.results(&mut out);
        self.settings(&mut out);
        out += "\n![Training and validation loss](training.png)\n\n## How to load it\n\n";
        self.loading(&mut out);
        out
    }

    fn results(&self, out: &mut String) {
        let Evaluation { eval_loss, eval_loss_stderr, train_loss, .. } = self.evaluation;
        let mut row = |what: &str, value: String| {
            let _ = writeln!(out, "| {what} | {value} |");
        };
        row("result", "value".to_owned());
        row("---", "---".to_owned());
        row("validation loss (nats per token)", format!("{eval_loss:.4} ± {eval_loss_stderr:.4}"));
        if let Some(train_loss) = train_loss {
            row("train loss, measured the same way", format!("{train_loss:.4}"));
        }
        for score in &self.evaluation.scores {
            let value = format!("{:.4} ± {:.4}", score.value, score.stderr);
            row(&format!("{} on validation rows", markdown_name(&score.metric)), value);
        }
        let trial = self.state.trials.get(&self.trial);
        if let Some(base) = trial.and_then(|trial| self.state.base_of(trial)) {
            row("validation loss of the base model", format!("{:.4}", base.eval_loss));
        }
        // What is said of the trial is said of its best evaluation.
        let is_best = self.best().is_some_and(|best| best.step == self.evaluation.step);
        let choice = self.ranking.verdict.choice.as_ref();
        let is_choice = is_best && choice.is_some_and(|choice| choice.trial == self.trial);
        if let Some(expected) = self.ranking.comparison.as_ref().and_then(|c| c.expected_loss)
            && is_choice
        {
            let objective = &self.state.objective;
            let metric = markdown_name(&objective.metric);
            let of = if objective.is_loss() { String::new() } else { format!("{metric} ") };
            let what = format!("{of}expected on new rows (corrected for the choice)");
            row(&what, format!("{expected:.4}"));
        }
        if let Some(test) = self.state.test.get(&self.trial).filter(|_| is_best) {
            let value = format!("{:.4} ± {:.4}", test.loss, test.loss_stderr);
            row("loss on held-out test rows", value);
        }
        if let Some(retention) = self.evaluation.retention_loss {
            row("retention loss", format!("{retention:.4}"));
        }
        row("epoch of this adapter", self.epoch());
        row("base model", self.base_in_words());
        if let Some(held) = self.held() {
            row("trained on", held);
        }
        if self.has_other_base {
            let what = "as they were when this was trained; those in the model's folder had changed \
                        when it was exported";
            row("base weights", what.to_owned());
        }
        if let Some(sha256) = self.data_sha256 {
            row("SHA-256 of the training data", markdown_code(sha256));
        }
        row("sweep fingerprint", markdown_code(&self.state.fingerprint));
        out.push('\n');
        if is_choice {
            for sentence in &self.ranking.verdict.sentences {
                let _ = writeln!(out, "{sentence}");
            }
        }
    }

    /// The form of the base in training, where it is not the base model's own.
    fn held(&self) -> Option<String> {
        match (&self.held.quantization, &self.held.weights) {
            (Some(form), _) => Some(format!("an {form} base; the losses above are on it")),
            (None, Some(file)) => {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                Some(format!("the base as in {}; the losses above are on it", markdown_code(&name)))
            }
            (None, None) => None,
        }
    }

    /// The base's name on the hub, or that it has none here.
    fn base_in_words(&self) -> String {
        let BaseName { hub, shown, loaded_from } = self.base;
        let shown = markdown_code(shown);
        match (hub, loaded_from) {
            (Some(HubModel { revision: Some(revision), .. }), _) => {
                format!("{shown}, revision {}", markdown_code(revision))
            }
            (Some(_), _) => shown,
            (None, Some(name)) => format!(
                "the local folder {shown}, which its config.json says was loaded from {}; its \
                 weights may have changed since",
                markdown_code(name)
            ),
            (None, None) => format!("the local folder {shown}"),
        }
    }

    fn best(&self) -> Option<&Evaluation> {
        self.state.trials.get(&self.trial)?.best()
    }

    /// The adapter's epoch, and the best one where that is another.
    fn epoch(&self) -> String {
        let own = self.evaluation;
        match self.best().filter(|best| best.step != own.step) {
            None => format!("{:.2}, the best evaluation of its run", own.epoch),
            Some(best) => format!(
                "{:.2}; its run came lowest at epoch {:.2}, with {:.4}",
                own.epoch, best.epoch, best.eval_loss
            ),
        }
    }

    fn settings(&self, out: &mut String) {
        let Some(trial) = self.state.trials.get(&self.trial) else { return };
        let config = serde_json::to_value(&trial.trial.config).unwrap_or_default();
        out.push_str("\n## Settings\n\n```json\n");
        let _ = writeln!(out, "{config:#}\n```");
    }

    fn has_magnitudes(&self) -> bool {
        self.state.trials.get(&self.trial).is_some_and(|t| t.trial.config.variant.use_dora)
    }

    fn loading(&self, out: &mut String) {
        if self.form == Form::Merged {
            out.push_str(
                "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\
                 model = AutoModelForCausalLM.from_pretrained(\".\")\n\
                 tokenizer = AutoTokenizer.from_pretrained(\".\")\n```\n\n\
                 vLLM: `vllm serve .`; llama.cpp: `python convert_hf_to_gguf.py .`\n",
            );
            if let Some(merged) = self.merged {
                let _ = writeln!(out, "\n{}", merged.in_words());
            }
            return;
        }
        let base = self.base.to_load();
        if self.base.hub.is_none() {
            let _ = writeln!(
                out,
                "The base model is the folder {} of the machine that trained this adapter: write its \
                 path, or its name on the hub, in the place of {}.\n",
                markdown_code(&self.base.shown),
                markdown_code(base)
            );
        }
        let _ = write!(
            out,
            "```python\nfrom peft import PeftModel\nfrom transformers import \
             AutoModelForCausalLM, AutoTokenizer\nbase = \
             AutoModelForCausalLM.from_pretrained({})\nmodel = PeftModel.from_pretrained(base, \
             \".\")\ntokenizer = AutoTokenizer.from_pretrained({})\n```\n\n",
            printable_json(&Value::from(base).to_string()),
            printable_json(&Value::from(if self.has_tokenizer { "." } else { base }).to_string()),
        );
        if self.has_magnitudes() {
            out.push_str(
                "vLLM and llama.cpp load no adapter with DoRA's magnitudes; `lorasweep export \
                 --merge` makes a model of base and adapter for them.\n",
            );
            return;
        }
        let _ = writeln!(out, "vLLM: {}\n", self.vllm());
        let _ = if self.form == Form::AdapterAndGguf {
            writeln!(out, "llama.cpp: `llama-cli -m base.gguf --lora {GGUF}`, the base as GGUF")
        } else {
            writeln!(out, "llama.cpp: `lorasweep export --gguf` writes the adapter in its form")
        };
    }

    /// How vLLM serves the adapter: it refuses ranks above `--max-lora-rank`, and scales all of an
    /// adapter by one `lora_alpha` and one `r`.
    fn vllm(&self) -> String {
        let base = self.base.to_load();
        let (rank, has_patterns) = largest_rank(self.adapter);
        let option = if rank <= VLLM_DEFAULT_RANK {
            String::new()
        } else if let Some(fits) = VLLM_RANKS.iter().find(|fits| **fits >= rank) {
            format!(" --max-lora-rank {fits}")
        } else {
            return format!(
                "takes ranks up to 512, and this adapter has {rank}; `lorasweep export --merge` \
                 makes a model of base and adapter for it"
            );
        };
        let base = shell_word(base);
        let command = format!("vllm serve {base} --enable-lora{option} --lora-modules adapter=.");
        let command = markdown_code(&command);
        if has_patterns {
            return format!(
                "{command}. It reads one `r` and `lora_alpha` for the whole adapter and not its \
                 rank_pattern and alpha_pattern: compare its answers with those of PEFT, or serve \
                 a merged model (`lorasweep export --merge`)"
            );
        }
        command
    }
}

/// The largest rank of an adapter, and whether single layers have their own.
fn largest_rank(adapter: &Value) -> (u64, bool) {
    let of = |key: &str| adapter[key].as_object().into_iter().flat_map(serde_json::Map::values);
    let ranks = of("rank_pattern").chain([&adapter["r"]]).filter_map(Value::as_u64);
    let has_patterns = of("rank_pattern").chain(of("alpha_pattern")).next().is_some();
    (ranks.max().unwrap_or_default(), has_patterns)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_largest_rank_counts_patterns_too() {
        assert_eq!(largest_rank(&json!({"r": 8})), (8, false));
        let patterns = json!({"r": 8, "rank_pattern": {"q_proj": 48}, "alpha_pattern": {}});
        assert_eq!(largest_rank(&patterns), (48, true));
        assert_eq!(largest_rank(&json!({"r": 8, "alpha_pattern": {"q_proj": 4.0}})), (8, true));
        assert_eq!(largest_rank(&json!({})), (0, false));
    }
}
