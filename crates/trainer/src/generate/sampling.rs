//! Which token follows, given the logits.

use std::cmp::Ordering;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How tokens are drawn, in the order of transformers: temperature, then `top_k`, then `top_p`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Divides the logits; above 0.
    pub temperature: f64,
    /// This many of the most likely tokens may be drawn.
    pub top_k: Option<usize>,
    /// Of these the most likely ones whose probabilities together reach this (Holtzman et al. 2020,
    /// arXiv:1904.09751); one at least.
    pub top_p: Option<f64>,
    /// Fixes the draws; every prompt has a stream of its own.
    pub seed: u64,
}

/// Picks the tokens of one sequence.
#[derive(Debug)]
pub enum Picker {
    Greedy,
    Draw(Sampling, Box<ChaCha8Rng>),
}

impl Picker {
    pub fn new(sampling: Option<Sampling>, prompt: usize) -> Self {
        let Some(sampling) = sampling else { return Self::Greedy };
        let mut rng = ChaCha8Rng::seed_from_u64(sampling.seed);
        rng.set_stream(prompt as u64);
        Self::Draw(sampling, Box::new(rng))
    }

    /// The next token; `None` where a logit is not a finite number.
    pub fn pick(&mut self, logits: &[f32]) -> Option<u32> {
        if !logits.iter().all(|logit| logit.is_finite()) {
            return None;
        }
        match self {
            Self::Greedy => most_likely(logits),
            Self::Draw(sampling, rng) => draw(logits, sampling, rng.random()),
        }
    }
}

/// The first of the largest logits.
fn most_likely(logits: &[f32]) -> Option<u32> {
    let mut best = logits.first()?;
    let mut place = 0;
    for (token, logit) in logits.iter().enumerate() {
        if logit > best {
            (best, place) = (logit, token);
        }
    }
    Some(place as u32)
}

/// The token at which the cumulated probabilities, the likeliest first, pass `at` in `[0, 1)`.
fn draw(logits: &[f32], sampling: &Sampling, at: f64) -> Option<u32> {
    let mut tokens: Vec<u32> = (0..logits.len() as u32).collect();
    // Ties go by the token's number, so that a draw does not depend on how a sort treats them.
    let likelier = |a: &u32, b: &u32| -> Ordering {
        logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b))
    };
    let kept = sampling.top_k.unwrap_or(tokens.len()).clamp(1, tokens.len());
    if kept < tokens.len() {
        tokens.select_nth_unstable_by(kept, likelier);
        tokens.truncate(kept);
    }
    tokens.sort_unstable_by(likelier);
    let largest = f64::from(logits[*tokens.first()? as usize]);
    let weight =
        |token: &u32| ((f64::from(logits[*token as usize]) - largest) / sampling.temperature).exp();
    let mut weights: Vec<f64> = tokens.iter().map(weight).collect();
    if let Some(top_p) = sampling.top_p {
        let enough = top_p * weights.iter().sum::<f64>();
        let mut reached = 0.0;
        let count = weights.iter().take_while(|weight| {
            let is_kept = reached < enough;
            reached += **weight;
            is_kept
        });
        let count = count.count().max(1);
        weights.truncate(count);
    }
    let mut left = at * weights.iter().sum::<f64>();
    for (token, weight) in tokens.iter().zip(&weights) {
        left -= weight;
        if left < 0.0 {
            return Some(*token);
        }
    }
    // Rounding alone comes here.
    weights.len().checked_sub(1).map(|last| tokens[last])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: Sampling = Sampling { temperature: 1.0, top_k: None, top_p: None, seed: 1 };

    fn counts(logits: &[f32], sampling: Sampling) -> Vec<usize> {
        let mut picker = Picker::new(Some(sampling), 0);
        let mut counts = vec![0; logits.len()];
        for _ in 0..20_000 {
            counts[picker.pick(logits).expect("finite logits") as usize] += 1;
        }
        counts
    }

    #[test]
    fn tokens_are_drawn_as_often_as_they_are_likely() {
        let logits: Vec<f32> = [0.1_f32, 0.6, 0.3].iter().map(|p| p.ln()).collect();
        let of = |temperature| counts(&logits, Sampling { temperature, ..PLAIN });
        for (count, p) in of(1.0).iter().zip([0.1, 0.6, 0.3]) {
            assert!((*count as f64 / 20_000.0 - p).abs() < 0.02, "{count}");
        }
        // p^(1/T) / sum: 0.01, 0.36, 0.09 of 0.46.
        for (count, p) in of(0.5).iter().zip([0.01, 0.36, 0.09]) {
            assert!((*count as f64 / 20_000.0 - p / 0.46).abs() < 0.02, "{count}");
        }
    }

    #[test]
    fn top_k_and_top_p_leave_the_unlikely_ones_out() {
        let logits: Vec<f32> = [0.1_f32, 0.5, 0.1, 0.3].iter().map(|p| p.ln()).collect();
        let drawn = |sampling| counts(&logits, sampling).iter().map(|n| *n > 0).collect::<Vec<_>>();
        assert_eq!(drawn(Sampling { top_k: Some(2), ..PLAIN }), [false, true, false, true]);
        // Of equal ones the first.
        assert_eq!(drawn(Sampling { top_k: Some(3), ..PLAIN }), [true, true, false, true]);
        assert_eq!(drawn(Sampling { top_p: Some(0.7), ..PLAIN }), [false, true, false, true]);
        assert_eq!(drawn(Sampling { top_p: Some(0.01), ..PLAIN }), [false, true, false, false]);
        // Within the two likeliest, 0.5 of 0.8 is more than 0.6.
        let both = Sampling { top_k: Some(2), top_p: Some(0.6), ..PLAIN };
        assert_eq!(drawn(both), [false, true, false, false]);
    }

    #[test]
    fn a_prompt_has_draws_of_its_own_that_the_seed_fixes() {
        let logits = vec![0.0; 1000];
        let of = |seed, prompt| {
            let mut picker = Picker::new(Some(Sampling { seed, ..PLAIN }), prompt);
            (0..4).map(|_| picker.pick(&logits)).collect::<Vec<_>>()
        };
        assert_eq!(of(1, 0), of(1, 0));
        assert_ne!(of(1, 0), of(1, 1));
        assert_ne!(of(1, 0), of(2, 0));
    }

    #[test]
    fn a_logit_that_is_no_number_gives_no_token() {
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(Picker::Greedy.pick(&[1.0, broken, 2.0]), None);
            assert_eq!(Picker::new(Some(PLAIN), 0).pick(&[1.0, broken, 2.0]), None);
        }
    }

    proptest! {
        #[test]
        fn one_kept_token_is_the_most_likely_one(
            logits in prop::collection::vec(-50_f32..50.0, 1..40),
            temperature in 0.01..10.0_f64,
            at in 0.0..1.0_f64,
        ) {
            let one = Sampling { temperature, top_k: Some(1), ..PLAIN };
            prop_assert_eq!(draw(&logits, &one, at), most_likely(&logits));
            let most = Sampling { temperature, top_p: Some(1e-9), ..PLAIN };
            prop_assert_eq!(draw(&logits, &most, at), most_likely(&logits));
        }
    }
}
