//! What a quantised base costs: its own loss, and that of the runs on it.

use spec::{BaseForm, Quantization, SweepState, TrialConfig};

use super::facts::VerdictInput;
use super::facts::{Finding, FindingKind, finding};
use super::matched::Matched;
use crate::number::loss;
use crate::text::{Lang, say};

/// The forms of a base, fewest bits a weight first.
const BY_SIZE: [BaseForm; 7] = [
    BaseForm::Quantized(Quantization::Nf4),
    BaseForm::Quantized(Quantization::Q4K),
    BaseForm::Quantized(Quantization::Q5K),
    BaseForm::Quantized(Quantization::Q6K),
    BaseForm::Quantized(Quantization::Int8),
    BaseForm::Quantized(Quantization::Q8_0),
    BaseForm::AsStored,
];

/// A form's place in [`BY_SIZE`].
fn place(config: &TrialConfig) -> u32 {
    let form = config.quantization.unwrap_or(BaseForm::AsStored);
    BY_SIZE.iter().position(|other| *other == form).unwrap_or_default() as u32
}

/// Whether the form of the base matters, and which of those that do no worse is the smallest.
pub(super) fn quantization(input: VerdictInput<'_>) -> Option<Finding> {
    let forms = Matched::of(input, "quantization", place)?;
    let tied = forms.unbeaten();
    let lang = input.lang;
    let name = |at: &u32| BY_SIZE[*at as usize].to_string();
    let of_form =
        |(at, (_, best, _)): (&u32, &(_, f64, _))| match input.state.base_in(BY_SIZE[*at as usize])
        {
            Some(base) => {
                say!(lang, ByForm, name(at), loss(*best), loss(base.evaluation.eval_loss))
            }
            None => format!("{}: {}", name(at), lang.number(&loss(*best))),
        };
    let words = forms.best.iter().map(of_form).collect::<Vec<_>>().join("; ");
    let behind: Vec<String> = forms.best.keys().filter(|at| !tied.contains(at)).map(name).collect();
    if tied.is_empty() {
        let evidence = say!(lang, QuantizationUnclear, words);
        let advice = say!(lang, UnclearAdvice, "quantization");
        return Some(finding(FindingKind::Quantization, forms.trials(), evidence, advice));
    }
    let evidence = if behind.is_empty() {
        say!(lang, QuantizationFree, words)
    } else {
        let equal: Vec<String> = tied.iter().map(name).collect();
        say!(lang, QuantizationCosts, equal.join(", "), behind.join(", "), words)
    };
    let advice = say!(lang, QuantizationAdvice, name(tied.first()?));
    Some(finding(FindingKind::Quantization, forms.trials(), evidence, advice))
}

/// The base model's validation loss, in each of its forms; `None` before it is known.
pub(super) fn bases_in_words(state: &SweepState, lang: Lang) -> Option<String> {
    let forms = &state.quantized_bases;
    if forms.len() < 2 {
        return Some(loss(state.base.as_ref()?.eval_loss));
    }
    let words = forms
        .iter()
        .map(|base| (base.quantization, loss(base.evaluation.eval_loss)))
        .map(|(form, loss)| format!("{form} {}", lang.number(&loss)));
    Some(words.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_has_its_place() {
        for form in BaseForm::all() {
            assert_eq!(BY_SIZE.iter().filter(|other| **other == form).count(), 1, "{form}");
        }
    }
}
