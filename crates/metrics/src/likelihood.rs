//! Metrics of log-likelihoods, which need no generation.

/// An option of a question: how likely the model finds it, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// The sum of its tokens' negative log-likelihoods, in nats.
    pub nll: f64,
    /// Its UTF-8 bytes.
    pub bytes: usize,
}

/// Whether a longer option is at a disadvantage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Length {
    /// The likelihood of the whole option counts (`acc` of lm-evaluation-harness).
    #[default]
    Counts,
    /// The log-likelihood is divided by the option's bytes (its `acc_norm`).
    PerByte,
}

/// 1 where the right option is the most likely one. Of options that are equally likely the first
/// counts as chosen, as in numpy's argmax; one whose likelihood is not a number is never chosen.
pub fn choice_accuracy(choices: &[Choice], right: usize, length: Length) -> f64 {
    let cost = |choice: &Choice| match length {
        Length::Counts => choice.nll,
        Length::PerByte => choice.nll / choice.bytes.max(1) as f64,
    };
    let known = choices.iter().map(cost).enumerate().filter(|(_, cost)| !cost.is_nan());
    let chosen = known.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(place, _)| place);
    f64::from(u8::from(chosen == Some(right)))
}

/// `exp(nll / tokens)`: lower is better, unlike the scores.
pub fn perplexity(nll: f64, tokens: usize) -> f64 {
    (nll / tokens as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Choice = Choice { nll: 4.0, bytes: 2 };
    const LONG: Choice = Choice { nll: 6.0, bytes: 12 };

    #[test]
    fn the_length_of_an_option_counts_or_not() {
        assert_eq!(choice_accuracy(&[SHORT, LONG], 0, Length::Counts), 1.0);
        assert_eq!(choice_accuracy(&[SHORT, LONG], 0, Length::PerByte), 0.0);
        assert_eq!(choice_accuracy(&[SHORT, LONG], 1, Length::PerByte), 1.0);
    }

    #[test]
    fn an_option_that_is_no_number_is_never_chosen_and_ties_go_to_the_first() {
        let broken = Choice { nll: f64::NAN, bytes: 1 };
        assert_eq!(choice_accuracy(&[broken, SHORT], 0, Length::Counts), 0.0);
        assert_eq!(choice_accuracy(&[broken], 0, Length::Counts), 0.0);
        assert_eq!(choice_accuracy(&[LONG, LONG], 0, Length::Counts), 1.0);
        assert_eq!(choice_accuracy(&[LONG, LONG], 1, Length::Counts), 0.0);
    }

    #[test]
    fn a_model_that_guesses_among_eight_tokens_has_perplexity_eight() {
        assert!((perplexity(5.0 * 8.0_f64.ln(), 5) - 8.0).abs() < 1e-12);
    }
}
