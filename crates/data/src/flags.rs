//! Flags by which datasets say what is not to be learnt: of a turn, of a list of turns, and the
//! labels of single judged answers (KTO).
//!
//! axolotl has `train` and `training`, ms-swift `loss` and `loss_scale`, LLaMA-Factory and `ChatGLM`
//! `loss` and `loss_mask`, verl `trainable` and `loss_mask`, torchtune `masked`, OpenAI `weight`.
//! A field whose name belongs to this family and that is none of these is refused: it was written to
//! change what is learnt.

use super::field::wrong_type;
use super::json::{Json, Object};
use super::said::Message;
use super::skip::SkipReason;

/// The flags, and whether their being true means that the turn is learnt.
const FLAGS: [(&str, bool); 9] = [
    ("weight", true),
    ("train", true),
    ("training", true),
    ("trainable", true),
    ("loss", true),
    ("loss_weight", true),
    ("loss_scale", true),
    ("loss_mask", true),
    ("masked", false),
];

/// Words by which a name of this family is recognised.
const FAMILY: [&str; 15] = [
    "loss",
    "losses",
    "mask",
    "masks",
    "masked",
    "masking",
    "train",
    "trained",
    "training",
    "trainable",
    "untrainable",
    "weight",
    "weights",
    "weighted",
    "learnable",
];

/// The field with a flag for every turn.
pub(super) const MASK_OF_TURNS: &str = "loss_mask";
/// Fields that judge a row's answer: TRL's and ms-swift's, and LLaMA-Factory's.
pub(super) const LABELS: [&str; 2] = ["label", "kto_tag"];
/// Fields that would say of a whole row how much it is learnt.
pub(super) const ROW_FLAGS: [&str; 9] = [
    "weight",
    "sample_weight",
    "train",
    "training",
    "trainable",
    "loss_weight",
    "loss_scale",
    "loss_mask",
    "masked",
];

/// What a flag or a label says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Nothing: there is none, or its cell is empty.
    Absent,
    Yes,
    No,
    /// Something between, or something else.
    Unclear,
}

/// Reads a flag in any spelling of JSON, Python and tables.
fn verdict(value: Option<&Json>) -> Verdict {
    let of_text = |text: &str| match text.trim().to_lowercase().as_str() {
        "" => Verdict::Absent,
        "true" | "yes" | "1" | "1.0" => Verdict::Yes,
        "false" | "no" | "0" | "0.0" => Verdict::No,
        _ => Verdict::Unclear,
    };
    match value {
        None | Some(Json::Null) => Verdict::Absent,
        Some(Json::Bool(true)) => Verdict::Yes,
        Some(Json::Bool(false)) => Verdict::No,
        Some(Json::Number(number)) => match number.as_f64() {
            Some(1.0) => Verdict::Yes,
            Some(0.0) => Verdict::No,
            _ => Verdict::Unclear,
        },
        Some(Json::String(text)) => of_text(text),
        Some(Json::Array(_) | Json::Object(_)) => Verdict::Unclear,
    }
}

/// Whether a field is a flag of a turn.
pub(super) fn is_flag(name: &str) -> bool {
    FLAGS.iter().any(|(flag, _)| *flag == name)
}

/// Whether a name was chosen to say what is learnt.
fn is_of_family(name: &str) -> bool {
    words(name).iter().any(|word| FAMILY.contains(&word.as_str()))
}

/// The words of a field's name, in lower case.
pub(super) fn words(name: &str) -> Vec<String> {
    name.split(|c: char| !c.is_alphanumeric()).flat_map(humps).collect()
}

/// The words of `camelCase`, in lower case.
fn humps(word: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut was_upper = true;
    for c in word.chars() {
        let begins = c.is_uppercase() && !was_upper;
        was_upper = c.is_uppercase();
        match words.last_mut() {
            Some(word) if !begins => word.extend(c.to_lowercase()),
            _ => words.push(c.to_lowercase().collect()),
        }
    }
    words
}

/// What the flags of a turn say: whether it is learnt, and the flag that says so. `path` gives a
/// field its place for messages.
pub(super) fn turn_flag(
    fields: &Object,
    path: impl Fn(&str) -> String,
) -> Result<Option<(bool, &str)>, SkipReason> {
    let mut said: Option<(bool, &str)> = None;
    for (name, value) in fields {
        let Some((_, is_learnt)) = FLAGS.iter().find(|(flag, _)| flag == name) else {
            if is_of_family(name) && !value.is_void() {
                return Err(SkipReason::UnknownFlag { field: path(name) });
            }
            continue;
        };
        let learns = match verdict(Some(value)) {
            Verdict::Absent => continue,
            Verdict::Yes => *is_learnt,
            Verdict::No => !*is_learnt,
            Verdict::Unclear => return Err(unclear(path(name), value)),
        };
        if let Some((other, flag)) = said
            && other != learns
        {
            return Err(SkipReason::FlagsDisagree { field: path(name), other: path(flag) });
        }
        said = Some((learns, name));
    }
    Ok(said)
}

/// Applies a row's `loss_mask`, which has a flag for every turn of its list, to turns whose own
/// flags are read.
pub(super) fn apply_mask(object: &Object, messages: &mut [Message]) -> Result<(), SkipReason> {
    let Some(mask) = object.get(MASK_OF_TURNS).filter(|mask| !mask.is_void()) else {
        return Ok(());
    };
    let flags = match mask {
        Json::Array(flags) if flags.len() == messages.len() => flags,
        Json::Array(flags) => {
            let (flags, turns) = (flags.len(), messages.len());
            return Err(SkipReason::MaskLength { flags, turns });
        }
        other => return Err(wrong_type(MASK_OF_TURNS, "a list with a flag for every turn", other)),
    };
    for (index, (turn, flag)) in messages.iter_mut().zip(flags).enumerate() {
        let field = || format!("{MASK_OF_TURNS}[{index}]");
        match verdict(Some(flag)) {
            Verdict::No => turn.is_target = false,
            Verdict::Yes if !turn.is_assistant() => {
                return Err(SkipReason::LearnsOther { field: field(), role: turn.role.clone() });
            }
            Verdict::Yes if !turn.is_target => {
                let other = format!("that of turn {index} itself");
                return Err(SkipReason::FlagsDisagree { field: field(), other });
            }
            Verdict::Yes | Verdict::Absent => {}
            Verdict::Unclear => return Err(unclear(field(), flag)),
        }
    }
    Ok(())
}

/// Refuses a row whose answer was judged bad, and one whose label is neither good nor bad. The
/// `label` of a text is its class.
pub(super) fn check_labels(object: &Object, is_text: bool) -> Result<(), SkipReason> {
    for field in LABELS.into_iter().skip(usize::from(is_text)) {
        match verdict(object.get(field)) {
            Verdict::Absent | Verdict::Yes => {}
            Verdict::No => return Err(SkipReason::NotPreferred { field }),
            Verdict::Unclear => {
                let found = shown(&object[field]);
                return Err(SkipReason::UnknownLabel { field, found });
            }
        }
    }
    Ok(())
}

/// Refuses a row with a weight of its own. A list of flags of its turns is none.
pub(super) fn check_row_flags(object: &Object, has_turns: bool) -> Result<(), SkipReason> {
    for field in ROW_FLAGS {
        let value = object.get(field).filter(|value| !value.is_void());
        let is_neutral = match verdict(value) {
            Verdict::Absent => true,
            Verdict::Yes => field != "masked",
            Verdict::No => field == "masked",
            Verdict::Unclear => field == MASK_OF_TURNS && has_turns,
        };
        if !is_neutral {
            return Err(SkipReason::RowFlag { field });
        }
    }
    // As a number it is a measured loss.
    let loss = object.get("loss").filter(|loss| !matches!(loss, Json::Number(_)));
    if verdict(loss) == Verdict::No {
        return Err(SkipReason::RowFlag { field: "loss" });
    }
    let is_other_list = |(name, value): &(&String, &Json)| {
        let is_list = matches!(value, Json::Array(_) | Json::Object(_)) && !value.is_void();
        is_list && !ROW_FLAGS.contains(&name.as_str()) && may_be_row_flag(name)
    };
    match object.iter().find(is_other_list) {
        Some((name, _)) => Err(SkipReason::UnknownFlag { field: name.clone() }),
        None => Ok(()),
    }
}

/// Whether a row's field may say what of it is learnt. The mask that tokenizers write says which
/// tokens are padding.
pub(super) fn may_be_row_flag(name: &str) -> bool {
    is_of_family(name) && name != "attention_mask"
}

fn unclear(field: String, value: &Json) -> SkipReason {
    SkipReason::Flag { field, found: shown(value) }
}

/// A number or a short text itself, of others what they are.
fn shown(value: &Json) -> String {
    match value {
        Json::Number(_) => value.to_string(),
        Json::String(text) if text.chars().count() <= 20 => format!("{text:?}"),
        other => other.type_name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(json: &str) -> Result<Option<bool>, String> {
        let value = Json::from_text(json).expect("well-formed JSON");
        let fields = value.as_object().expect("an object").clone();
        let flag = turn_flag(&fields, |field| format!("messages[1].{field}"));
        flag.map(|flag| flag.map(|(learns, _)| learns)).map_err(|reason| reason.to_string())
    }

    #[test]
    fn every_flag_says_in_every_spelling_whether_the_turn_is_learnt() {
        for (name, is_learnt) in FLAGS {
            for yes in ["true", "1", "1.0", "\"true\"", "\"True\"", "\"1\"", "\"yes\""] {
                let flag = format!(r#"{{"content": "x", "{name}": {yes}}}"#);
                assert_eq!(said(&flag), Ok(Some(is_learnt)), "{flag}");
            }
            for no in ["false", "0", "0.0", "-0.0", "\"false\"", "\"False\"", "\"0\"", "\"no\""] {
                let flag = format!(r#"{{"content": "x", "{name}": {no}}}"#);
                assert_eq!(said(&flag), Ok(Some(!is_learnt)), "{flag}");
            }
            for absent in ["null", "\"\""] {
                assert_eq!(said(&format!(r#"{{"{name}": {absent}}}"#)), Ok(None));
            }
        }
    }

    #[test]
    fn a_flag_between_yes_and_no_is_refused_by_name() {
        for between in ["0.5", "2", "-1", "\"maybe\"", "[1]"] {
            let told = said(&format!(r#"{{"loss_scale": {between}}}"#)).expect_err("refused");
            assert!(told.contains("`messages[1].loss_scale` must be 0 or 1"), "{told}");
        }
    }

    #[test]
    fn flags_that_contradict_are_refused_by_both_names() {
        let told = said(r#"{"weight": 1, "train": false}"#).expect_err("refused");
        assert!(told.contains("`messages[1].train`") && told.contains("`messages[1].weight`"));
        assert_eq!(said(r#"{"weight": 0, "train": false, "masked": true}"#), Ok(Some(false)));
    }

    #[test]
    fn what_only_looks_like_a_flag_is_refused_by_name() {
        for name in ["train_detail", "training_detail", "loss_weights", "train_on_turn", "mask"] {
            let told = said(&format!(r#"{{"{name}": [1]}}"#)).expect_err("refused");
            assert!(told.contains(&format!("`messages[1].{name}` is not supported")), "{told}");
            assert_eq!(said(&format!(r#"{{"{name}": []}}"#)), Ok(None));
        }
        assert!(said(r#"{"isTrainable": true}"#).is_err());
        assert_eq!(said(r#"{"constraint": 1, "name": "weightlifter"}"#), Ok(None));
    }
}
