//! What the sweep says of the rank and of the batch size, at the same other settings.

use super::capacity::Capacity;
use super::extend;
use super::facts::{Finding, FindingKind, finding};
use super::facts::{Verdict, VerdictInput};
use super::matched::{Matched, best_in_words};
use crate::number::short_count;
use crate::text::{Lang, say};

/// Which rank is enough, as far as runs tell that differ in it alone.
pub fn rank(input: VerdictInput<'_>, verdict: &Verdict) -> Option<Finding> {
    let lang = input.lang;
    let chosen = input.state.trials.get(&verdict.choice.as_ref()?.trial)?.trial.config.rank;
    let ranks = Matched::of(input, "rank", |config| config.rank)?;
    let highest = *ranks.best.last_key_value()?.0;
    let Some(&enough) = ranks.unbeaten().first() else {
        let evidence = say!(lang, RankUnclear, best_in_words(&ranks, lang));
        let advice = say!(lang, UnclearAdvice, "rank");
        return Some(finding(FindingKind::RankSaturates, ranks.trials(), evidence, advice));
    };
    let words = ranks.in_words(lang);
    if chosen < enough {
        // The choice is not told from the best although it has a rank that is beaten on average: to advise
        // another one would contradict it.
        return None;
    }
    if enough == highest {
        return ranks.wins(highest).then(|| higher_is_better(input, &ranks, highest, &words));
    }
    let lower: Vec<u32> = ranks.best.keys().copied().take_while(|rank| *rank < enough).collect();
    let (evidence, advice) = match lower.last() {
        Some(next) => {
            let mut advice = say!(lang, RankSaturatesAdvice, enough.to_string());
            if next * 2 < enough {
                advice += " ";
                advice += &say!(lang, RankBetween, next.to_string(), enough.to_string());
            }
            (say!(lang, RankSaturates, enough.to_string(), words), advice)
        }
        None if enough > 1 && ranks.wins(enough) => {
            let own = enough.to_string();
            (say!(lang, RankSaturates, own, words), say!(lang, RankSmallerAdvice, own))
        }
        None if enough > 1 => {
            (say!(lang, RankEqual, words), say!(lang, RankLowestAdvice, enough.to_string()))
        }
        None => (say!(lang, RankEqual, words), say!(lang, RankSaturatesAdvice, "1")),
    };
    // Where rows and seeds leave a higher rank open, the choice may have it.
    let is_open = chosen > enough && input.comparison.is_some();
    let open = is_open.then(|| say!(lang, RankOpen, enough.to_string(), chosen.to_string()));
    let advice = open.unwrap_or(advice);
    Some(finding(FindingKind::RankSaturates, ranks.trials(), evidence, advice))
}

fn higher_is_better(
    input: VerdictInput<'_>,
    ranks: &Matched,
    highest: u32,
    words: &str,
) -> Finding {
    let lang = input.lang;
    let mut evidence = say!(lang, RankTooSmall, highest.to_string(), words);
    let capacity = Capacity::of(input.state, highest);
    evidence += &capacity.map(|own| bits(own, highest, lang)).unwrap_or_default();
    let beyond = capacity.filter(Capacity::is_far_beyond).map(|own| short_count(own.times()));
    let (kind, advice) = match beyond {
        None => (FindingKind::RankTooSmall, say!(lang, RankTooSmallAdvice)),
        Some(times) => {
            (FindingKind::RankHelps, say!(lang, RankHelpsAdvice, highest.to_string(), times))
        }
    };
    finding(kind, ranks.trials(), evidence, advice)
}

/// What the rows hold and what adapters of `rank` can, in words.
fn bits(capacity: Capacity, rank: u32, lang: Lang) -> String {
    let (rows, adapter) = (short_count(capacity.rows), short_count(capacity.adapter));
    say!(lang, Capacity, rows, rank.to_string(), adapter)
}

/// Which batch size, and whether it matters.
pub fn batch_size(input: VerdictInput<'_>, verdict: &Verdict) -> Option<Finding> {
    let lang = input.lang;
    let chosen = input.state.trials.get(&verdict.choice.as_ref()?.trial)?.trial.config.batch_size;
    let sizes = Matched::of(input, "batch_size", |config| config.batch_size)?;
    let unbeaten = sizes.unbeaten();
    let (Some(&low), Some(&high)) = (unbeaten.first(), unbeaten.last()) else {
        let evidence = say!(lang, BatchUnclear, best_in_words(&sizes, lang));
        let advice = say!(lang, UnclearAdvice, "batch_size");
        return Some(finding(FindingKind::BatchSize, sizes.trials(), evidence, advice));
    };
    let words = sizes.in_words(lang);
    let lowest = *sizes.best.first_key_value()?.0;
    let (evidence, advice) = if low != high {
        let (low, high) = (low.to_string(), high.to_string());
        (say!(lang, BatchEqual, words), say!(lang, BatchEqualAdvice, high, low))
    } else if !sizes.wins(low) || chosen != low {
        return None;
    } else {
        let own = low.to_string();
        let advice = if low == lowest && low > 1 {
            say!(lang, BatchSmallerAdvice, own)
        } else if Some(&low) == sizes.best.keys().last()
            && extend::is_batch_possible(input.state, 2 * low)
        {
            say!(lang, BatchLargerAdvice, own)
        } else {
            say!(lang, BatchMattersAdvice, own)
        };
        (say!(lang, BatchMatters, own, words), advice)
    };
    Some(finding(FindingKind::BatchSize, sizes.trials(), evidence, advice))
}
