//! How much of a reference's words or characters an answer has.
//!
//! Letters: P precision, R recall, F their harmonic mean, weighted by beta.

use std::collections::HashMap;
use std::hash::Hash;

use crate::normalise::{Normalise, is_blank, words};

fn counts<T: Eq + Hash>(items: impl Iterator<Item = T>) -> HashMap<T, usize> {
    let mut counts = HashMap::new();
    for item in items {
        *counts.entry(item).or_insert(0) += 1;
    }
    counts
}

/// How many items of two bags are in both.
fn common<T: Eq + Hash>(a: &HashMap<T, usize>, b: &HashMap<T, usize>) -> usize {
    a.iter().filter_map(|(item, count)| Some(*count.min(b.get(item)?))).sum()
}

/// `F = 2 P R / (P + R)` with `P = common / ours`, `R = common / theirs`.
fn f1(common: usize, ours: usize, theirs: usize) -> f64 {
    if common == 0 {
        return 0.0;
    }
    let (p, r) = (common as f64 / ours as f64, common as f64 / theirs as f64);
    2.0 * p * r / (p + r)
}

/// `SQuAD`'s F1 over the words of the normalised texts. Where one has no words, 1 if both have none
/// (as in `SQuAD` 2.0).
pub fn token_f1(output: &str, reference: &str, normalise: &Normalise) -> f64 {
    let (output, reference) = (normalise.apply(output), normalise.apply(reference));
    let bag = |text| counts(words(text));
    let (ours, theirs) = (bag(&output), bag(&reference));
    if ours.is_empty() || theirs.is_empty() {
        return f64::from(u8::from(ours.is_empty() && theirs.is_empty()));
    }
    f1(common(&ours, &theirs), ours.values().sum(), theirs.values().sum())
}

/// The F-measure of ROUGE-L (Lin 2004) as rouge-score computes it without a stemmer: over the
/// longest common subsequence of lower-case words of `a-z` and `0-9`. Other scripts have no words there.
pub fn rouge_l(output: &str, reference: &str) -> f64 {
    let (output, reference) = (output.to_lowercase(), reference.to_lowercase());
    let (ours, theirs) = (rouge_words(&output), rouge_words(&reference));
    f1(longest_common_subsequence(&ours, &theirs), ours.len(), theirs.len())
}

fn rouge_words(text: &str) -> Vec<&str> {
    let parts = text.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit()));
    parts.filter(|word| !word.is_empty()).collect()
}

/// Its length, by the usual table, of which two rows are kept.
fn longest_common_subsequence(a: &[&str], b: &[&str]) -> usize {
    let mut above = vec![0; b.len() + 1];
    let mut row = above.clone();
    for x in a {
        for (j, y) in b.iter().enumerate() {
            row[j + 1] = if x == y { above[j] + 1 } else { above[j + 1].max(row[j]) };
        }
        std::mem::swap(&mut above, &mut row);
    }
    above[b.len()]
}

/// Longest character n-grams of chrF.
const CHRF_ORDER: usize = 6;
/// Recall counts beta times as much as precision.
const CHRF_BETA: f64 = 2.0;

/// chrF2 of one sentence (Popović 2015, W15-3049) over 100, as sacrebleu computes it by default:
/// character 1-grams to 6-grams without blanks, beta 2, averaged over the orders that both texts have.
pub fn chrf(output: &str, reference: &str) -> f64 {
    let chars = |text: &str| text.chars().filter(|c| !is_blank(*c)).collect::<Vec<_>>();
    let (ours, theirs) = (chars(output), chars(reference));
    let orders = CHRF_ORDER.min(ours.len()).min(theirs.len());
    let (mut precision, mut recall) = (0.0, 0.0);
    for order in 1..=orders {
        let (a, b) = (counts(ours.windows(order)), counts(theirs.windows(order)));
        let common = common(&a, &b) as f64;
        precision += common / (ours.len() + 1 - order) as f64 / orders as f64;
        recall += common / (theirs.len() + 1 - order) as f64 / orders as f64;
    }
    if precision + recall == 0.0 {
        return 0.0;
    }
    let weight = CHRF_BETA * CHRF_BETA;
    (1.0 + weight) * precision * recall / (weight * precision + recall)
}
