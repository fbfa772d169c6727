//! Which rows train and which validate, and what the two share.
//!
//! A row's side follows from its content alone: its hash, read as a number in `[0, 1)`, lies
//! below the validation fraction or not. So a duplicate never stands on both sides, the order of
//! rows does not matter, and adding rows moves none of the others.

use std::collections::HashMap;

use super::Example;
use super::report::{Place, SharedRow};
use super::said::ContentHash;

/// A usable row: its place, its identity and its tokens.
#[derive(Debug, Clone)]
pub(super) struct PreparedRow {
    pub place: Place,
    pub hash: ContentHash,
    pub prompt_hash: Option<ContentHash>,
    /// It is plain text that will be joined with others.
    pub joins: bool,
    pub example: Example,
}

/// The two sides of a split file, each in the order of the file.
#[derive(Debug)]
pub(super) struct Split {
    pub train: Vec<PreparedRow>,
    pub validation: Vec<PreparedRow>,
    /// Chance had left a side empty, so the smallest hashes were taken instead of all below the
    /// fraction.
    pub forced: bool,
}

/// Sends each row to its side; `None` when there are fewer than two distinct rows.
pub(super) fn split_by_fraction(rows: Vec<PreparedRow>, fraction: f64) -> Option<Split> {
    let mut distinct: Vec<ContentHash> = rows.iter().map(|row| row.hash).collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() < 2 {
        return None;
    }
    let below = distinct.iter().filter(|hash| hash.unit_interval() < fraction).count();
    let forced = below == 0 || below == distinct.len();
    let taken = if forced {
        let share = (fraction * distinct.len() as f64).round() as usize;
        share.clamp(1, distinct.len() - 1)
    } else {
        below
    };
    // Hashes sort as their numbers do, so "below the fraction" is "among the smallest".
    let first_left = distinct[taken];
    drop(distinct);
    let mut train = rows;
    let validation = train.extract_if(.., |row| row.hash < first_left).collect();
    Some(Split { train, validation, forced })
}

/// Places of the rows that say what an earlier row said.
pub(super) fn repeated(rows: &[PreparedRow]) -> Vec<Place> {
    // A sorted list of numbers, since a set of the hashes would be as large as short rows' tokens.
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_unstable_by_key(|at| (rows[*at].hash, *at));
    let mut repeats: Vec<usize> = order
        .windows(2)
        .filter(|pair| rows[pair[0]].hash == rows[pair[1]].hash)
        .map(|pair| pair[1])
        .collect();
    repeats.sort_unstable();
    repeats.into_iter().map(|at| rows[at].place).collect()
}

/// What one set of rows shares with a set it should be independent of.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Rows that stand in both.
    pub rows: Vec<SharedRow>,
    /// Rows whose prompt stands in both, with another completion.
    pub prompts: Vec<SharedRow>,
}

/// Compares `held_out` with `seen`; a row counts once, under the first that fits.
pub(super) fn shared(seen: &[PreparedRow], held_out: &[PreparedRow]) -> Shared {
    // What is looked for, not what is looked through, is kept: training files are the large ones.
    let mut rows: HashMap<ContentHash, Option<Place>> = HashMap::new();
    let mut prompts: HashMap<ContentHash, Option<Place>> = HashMap::new();
    for row in held_out {
        rows.insert(row.hash, None);
        prompts.extend(row.prompt_hash.map(|prompt| (prompt, None)));
    }
    for row in seen {
        if let Some(first) = rows.get_mut(&row.hash) {
            first.get_or_insert(row.place);
        }
        if let Some(first) = row.prompt_hash.and_then(|prompt| prompts.get_mut(&prompt)) {
            first.get_or_insert(row.place);
        }
    }
    let mut shared = Shared::default();
    for row in held_out {
        let same_prompt = row.prompt_hash.and_then(|prompt| *prompts.get(&prompt)?);
        if let Some(also_at) = rows.get(&row.hash).copied().flatten() {
            shared.rows.push(SharedRow { at: row.place, also_at });
        } else if let Some(also_at) = same_prompt {
            shared.prompts.push(SharedRow { at: row.place, also_at });
        }
    }
    shared
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::said::Row;

    fn place(line: u64) -> Place {
        Place { file: 0, line }
    }

    fn rows(texts: &[String]) -> Vec<PreparedRow> {
        texts
            .iter()
            .zip(1..)
            .map(|(text, line)| {
                let (prompt, completion) = text.split_at(text.len().min(1));
                let (prompt, completion) = (prompt.to_owned(), completion.to_owned());
                let row = Row::Completion { prompt, completion };
                let example = Example { input_ids: vec![0, 1], loss_mask: vec![false, true] };
                PreparedRow {
                    place: place(line),
                    hash: row.content_hash(),
                    prompt_hash: row.prompt_hash(),
                    joins: false,
                    example,
                }
            })
            .collect()
    }

    fn hashes(rows: &[PreparedRow]) -> BTreeSet<ContentHash> {
        rows.iter().map(|row| row.hash).collect()
    }

    /// Few letters, so that duplicates and shared prompts are common.
    fn texts() -> impl Strategy<Value = Vec<String>> {
        proptest::collection::vec("[ab]{1,4}", 1..40)
    }

    proptest! {
        #[test]
        fn a_duplicate_never_stands_on_both_sides(texts in texts(), fraction in 0.01..0.99) {
            if let Some(split) = split_by_fraction(rows(&texts), fraction) {
                prop_assert!(hashes(&split.train).is_disjoint(&hashes(&split.validation)));
                prop_assert!(!split.train.is_empty() && !split.validation.is_empty());
                prop_assert_eq!(split.train.len() + split.validation.len(), texts.len());
                prop_assert!(shared(&split.train, &split.validation).rows.is_empty());
            }
        }

        #[test]
        fn the_split_does_not_depend_on_the_order_of_rows(
            (texts, shuffled) in texts().prop_flat_map(|texts| {
                (Just(texts.clone()), Just(texts).prop_shuffle())
            }),
            fraction in 0.01..0.99,
        ) {
            let one = split_by_fraction(rows(&texts), fraction);
            let other = split_by_fraction(rows(&shuffled), fraction);
            let sides = |split: Split| (hashes(&split.train), hashes(&split.validation));
            prop_assert_eq!(one.map(sides), other.map(sides));
        }

        #[test]
        fn adding_rows_moves_no_row_to_the_other_side(
            (before, added) in (texts(), texts()),
            fraction in 0.01..0.99,
        ) {
            let all: Vec<String> = before.iter().chain(&added).cloned().collect();
            let one = split_by_fraction(rows(&before), fraction);
            let other = split_by_fraction(rows(&all), fraction);
            if let (Some(one), Some(other)) = (one, other) && !one.forced && !other.forced {
                prop_assert!(hashes(&one.train).is_subset(&hashes(&other.train)));
                prop_assert!(hashes(&one.validation).is_subset(&hashes(&other.validation)));
            }
        }
    }

    #[test]
    fn a_large_split_comes_close_to_the_fraction() {
        let texts: Vec<String> = (0..20_000).map(|i| format!("row {i}")).collect();
        let split = split_by_fraction(rows(&texts), 0.1).expect("many distinct rows");
        // Four standard deviations of a binomial(20000, 0.1).
        assert!(split.validation.len().abs_diff(2_000) < 170, "{}", split.validation.len());
    }

    #[test]
    fn two_distinct_rows_always_give_one_to_each_side() {
        let texts = ["a".to_owned(), "a".to_owned(), "b".to_owned()];
        for fraction in [0.0001, 0.5, 0.9999] {
            let split = split_by_fraction(rows(&texts), fraction).expect("two distinct rows");
            assert_eq!(hashes(&split.train).len(), 1, "fraction {fraction}");
            assert_eq!(hashes(&split.validation).len(), 1, "fraction {fraction}");
        }
    }

    #[test]
    fn one_distinct_row_cannot_be_split() {
        assert!(
            split_by_fraction(rows(&["a".to_owned(), " a\r\n".trim().to_owned()]), 0.5).is_none()
        );
    }

    #[test]
    fn shared_rows_and_shared_prompts_are_told_apart() {
        let seen = rows(&["pX".to_owned(), "qY".to_owned()]);
        let held_out = rows(&["rZ".to_owned(), "qY".to_owned(), "pZ".to_owned()]);
        let shared = shared(&seen, &held_out);
        assert_eq!(shared.rows, [SharedRow { at: place(2), also_at: place(2) }]);
        assert_eq!(shared.prompts, [SharedRow { at: place(3), also_at: place(1) }]);
    }

    #[test]
    fn repeats_are_counted_from_the_second_on() {
        let texts = ["a", "b", "a", "a"].map(str::to_owned);
        assert_eq!(repeated(&rows(&texts)), [place(3), place(4)]);
    }
}
