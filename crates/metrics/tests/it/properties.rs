//! What holds for every metric, whatever a model writes.

use metrics::{Metric, NAMES};
use proptest::prelude::*;

fn all() -> Vec<(&'static str, Metric)> {
    let written = |name| if name == "regex_match" { "regex_match=[0-9]+" } else { name };
    let named = |name| (name, Metric::named(written(name)).expect("a metric"));
    NAMES.into_iter().map(named).collect()
}

/// Texts of what metrics look for.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<String>(),
        "[ \t\n]",
        "-?[0-9]{1,3}(,[0-9]{3})?(\\.[0-9]+)?(e[0-9]{1,3})?",
        Just("#### ".to_owned()),
        Just("{\"name\": \"f\", \"arguments\": {\"x\": [1, null]}}".to_owned()),
        Just("<tool_call>".to_owned()),
        Just("```".to_owned()),
        Just("the a".to_owned()),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn every_score_is_within_zero_and_one(output in text(), reference in text()) {
        for (name, metric) in all() {
            let score = metric.score(&output, &reference);
            prop_assert!((0.0..=1.0 + 1e-12).contains(&score), "{name}: {score}");
        }
    }

    #[test]
    fn a_text_matches_itself_where_it_says_something(words in "[a-z]{1,8}( [0-9]{1,4}){1,3}") {
        for (name, metric) in all().into_iter().filter(|(name, _)| *name != "json_match") {
            let score = metric.score(&words, &words);
            prop_assert!((score - 1.0).abs() < 1e-12, "{name}: {score}");
        }
    }

    #[test]
    fn the_order_of_keys_does_not_matter(keys in prop::collection::btree_map("[a-z]{1,3}", any::<i32>(), 0..6)) {
        let write = |pairs: Vec<(&String, &i32)>| {
            let fields: Vec<String> = pairs.iter().map(|(k, v)| format!("\"{k}\": {v}")).collect();
            format!("{{{}}}", fields.join(", "))
        };
        let (one, two) = (write(keys.iter().collect()), write(keys.iter().rev().collect()));
        let metric = Metric::named("json_match").expect("a metric");
        prop_assert_eq!(metric.score(&one, &two), 1.0);
    }
}

#[test]
fn an_unknown_name_is_refused_with_the_known_ones() {
    let error = Metric::named("bleu").expect_err("no such metric").to_string();
    assert!(error.contains("`bleu`") && error.contains("exact_match"), "{error}");
}

#[test]
fn a_setting_stands_behind_the_name_and_a_wrong_one_is_refused() {
    let near = Metric::named("number_match=0.5").expect("a tolerance");
    assert_eq!((near.score("2.4", "2"), near.score("2.6", "2")), (1.0, 0.0));
    let option = Metric::named("regex_match==([A-D])").expect("a pattern");
    assert_eq!(option.score("x=B", "B"), 1.0);
    for wrong in ["regex_match", "regex_match=(", "number_match=-1", "number_match=x", "chrf=2"] {
        assert!(Metric::named(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn what_may_differ_is_what_is_ignored() {
    use metrics::Normalise;
    let exact = |normalise| Metric::ExactMatch(normalise);
    let none = Normalise::default();
    assert_eq!(exact(none).score(" Yes\n", "Yes"), 1.0);
    assert_eq!(exact(none).score("yes", "Yes"), 0.0);
    assert_eq!(exact(Normalise { case: true, ..none }).score("yes", "Yes"), 1.0);
    assert_eq!(exact(none).score("a  b", "a b"), 0.0);
    assert_eq!(exact(Normalise { blanks: true, ..none }).score("a \n b", "a b"), 1.0);
    assert_eq!(exact(Normalise { punctuation: true, ..none }).score("Yes.", "Yes"), 1.0);
    assert_eq!(exact(Normalise { articles: true, ..none }).score("a dog", "dog"), 1.0);
    assert_eq!(Metric::Contains(none).score("It is Paris.", "Paris"), 1.0);
    assert_eq!(Metric::Contains(none).score("It is paris.", "Paris"), 0.0);
}
