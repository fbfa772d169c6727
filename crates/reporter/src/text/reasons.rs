//! Why runs were stopped, went on or diverged, as the planner and the trainer wrote it into the
//! journal: in English, since a journal outlives the choice of a language. The report translates what it
//! knows by the templates below and leaves the rest, such as the errors of other trainers, as it is.

use std::borrow::Cow;

use super::Lang;

/// English and Vietnamese, with the same numbered places.
const REASONS: &[(&str, &str)] = &[
    // `early_terminate`, of the crate planner.
    (
        "overfit: the level of the validation loss (two evaluations in a row) is {0} ± {1} ({2}) above its lowest, {3}, and at least {4} with a probability of {5}, for {6} evaluations in a row",
        "overfit: mức validation loss (hai lần đánh giá liên tiếp) cao hơn mức thấp nhất ({3}) một khoảng {0} ± {1} ({2}), và ít nhất {4} với xác suất {5}, trong {6} lần đánh giá liên tiếp",
    ),
    (
        "overfit: the level of the validation loss (two evaluations in a row) is {0} ± {1} ({2}) above its lowest, {3}, and at least {4} with a probability of {5}, for 1 evaluation in a row",
        "overfit: mức validation loss (hai lần đánh giá liên tiếp) cao hơn mức thấp nhất ({3}) một khoảng {0} ± {1} ({2}), và ít nhất {4} với xác suất {5}",
    ),
    (
        "curve: after {0} evaluations it is expected to end at {1} ({2} to {3}); the probability of getting below {4} and so among the best {5} is {6}",
        "curve: sau {0} lần đánh giá, dự kiến kết thúc ở {1} (từ {2} đến {3}); xác suất xuống dưới {4} để vào nhóm {5} lượt tốt nhất là {6}",
    ),
    (
        "curve: it is expected to end at {0} ({1} to {2}) by now; the probability of getting below {3} and so among the best {4} is {5}, which is {6} for each epoch left, and {7} for a new trial",
        "curve: hiện dự kiến kết thúc ở {0} (từ {1} đến {2}); xác suất xuống dưới {3} để vào nhóm {4} lượt tốt nhất là {5}, tức {6} cho mỗi epoch còn lại, so với {7} cho một lượt mới",
    ),
    (
        "median: after {0} evaluations its best validation loss is {1}, the median of {2} other trials {3}",
        "median: sau {0} lần đánh giá, validation loss tốt nhất là {1}, trung vị của {2} lượt khác là {3}",
    ),
    (
        "median: its best validation loss after {0} evaluations is {1}, the median of {2} other trials {3} by now",
        "median: validation loss tốt nhất sau {0} lần đánh giá là {1}, trung vị của {2} lượt khác hiện là {3}",
    ),
    (
        "hyperband: at evaluation {0} the best {1} of {2} trials had a validation loss of {3} or less; this one had {4}",
        "hyperband: ở lần đánh giá {0}, {1}/{2} lượt tốt nhất có validation loss không quá {3}; lượt này là {4}",
    ),
    (
        "hyperband: at evaluation {0} the best {1} of {2} trials had a validation loss of {3} or less; this one's best up to now is {4}",
        "hyperband: ở lần đánh giá {0}, {1}/{2} lượt tốt nhất có validation loss không quá {3}; mức tốt nhất của lượt này đến nay là {4}",
    ),
    (
        "hyperband: it is among the best {0} of {1} trials at evaluation {2} now; this one had {3}",
        "hyperband: hiện lượt này thuộc {0}/{1} lượt tốt nhất ở lần đánh giá {2}; validation loss là {3}",
    ),
    (
        "hyperband: it is among the best {0} of {1} trials at evaluation {2} now; this one's best up to now is {3}",
        "hyperband: hiện lượt này thuộc {0}/{1} lượt tốt nhất ở lần đánh giá {2}; mức tốt nhất đến nay là {3}",
    ),
    // The health of a run, of the crate trainer.
    (
        "the mean training loss of the last {0} steps, {1}, exceeds {2} (divergence_factor times the base model's)",
        "train loss trung bình của {0} bước cuối, {1}, vượt {2} (divergence_factor nhân với loss của mô hình gốc)",
    ),
    ("the training loss is {0}", "train loss là {0}"),
    ("the validation loss is {0}", "validation loss là {0}"),
    ("the gradient norm is {0}", "chuẩn của gradient là {0}"),
    // Trainers of one's own, of the crate worker.
    ("its trainer reported a {0} that is not a number", "trainer báo {0} không phải là số"),
    ("its trainer did not say why", "trainer không cho biết lý do"),
    ("its trainer said so", "trainer báo như vậy"),
];

impl Lang {
    /// A reason of the journal in this language, where it is known.
    pub fn reason(self, reason: &str) -> Cow<'_, str> {
        if self == Self::En {
            return Cow::Borrowed(reason);
        }
        let known = REASONS
            .iter()
            .find_map(|(english, template)| Some(self.fill(template, &values(english, reason)?)));
        known.map_or(Cow::Borrowed(reason), Cow::Owned)
    }
}

/// What stands in the places of an English template, in their order; `None` where `text` is not of it.
fn values<'a>(template: &str, text: &'a str) -> Option<Vec<&'a str>> {
    let mut literals = template.split(['{', '}']).step_by(2);
    let mut rest = text.strip_prefix(literals.next()?)?;
    let mut values = Vec::new();
    let mut literals = literals.peekable();
    while let Some(literal) = literals.next() {
        let is_last = literals.peek().is_none();
        let at = if is_last { rest.strip_suffix(literal)?.len() } else { rest.find(literal)? };
        values.push(&rest[..at]);
        rest = &rest[at + literal.len()..];
    }
    rest.is_empty().then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_planner_and_trainer_are_translated_with_their_numbers() {
        let vietnamese = |reason: &str| Lang::Vi.reason(reason).into_owned();
        assert_eq!(
            vietnamese(
                "median: after 3 evaluations its best validation loss is 1.4000, the median of 4 other trials 1.2000"
            ),
            "median: sau 3 lần đánh giá, validation loss tốt nhất là 1,4000, trung vị của 4 lượt khác là 1,2000"
        );
        assert_eq!(
            vietnamese(
                "overfit: the level of the validation loss (two evaluations in a row) is 0.0400 ± 0.0100 (3.1%) above its lowest, 1.2000, and at least 1.0% with a probability of 97%, for 2 evaluations in a row"
            ),
            "overfit: mức validation loss (hai lần đánh giá liên tiếp) cao hơn mức thấp nhất (1,2000) một khoảng 0,0400 ± 0,0100 (3,1%), và ít nhất 1,0% với xác suất 97%, trong 2 lần đánh giá liên tiếp"
        );
        assert_eq!(vietnamese("the training loss is NaN"), "train loss là NaN");
        assert_eq!(vietnamese("CUDA out of memory"), "CUDA out of memory");
    }

    #[test]
    fn every_reason_is_found_by_its_own_template_and_english_stays() {
        for (english, vietnamese) in REASONS {
            let places = values(english, english).expect("its own template");
            assert!(places.iter().enumerate().all(|(n, place)| *place == format!("{{{n}}}")));
            assert_eq!(Lang::Vi.reason(english), *vietnamese);
            assert_eq!(Lang::En.reason(english), *english);
        }
    }
}
