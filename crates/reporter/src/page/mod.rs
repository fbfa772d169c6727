//! `report.html`: everything on one page, in one file that needs no network.
//!
//! The verdict and the findings are HTML; tables and plots are drawn by the page's own script from
//! the data embedded beside it. Nothing in it comes from elsewhere, and a content security policy
//! sees that nothing can.

mod answers;
mod curves;
mod data;

use minijinja::{AutoEscape, Environment, context};
use spec::{ReportSettings, SweepState};

use crate::error::ReportError;
use crate::rank::{Ranking, Row};
use crate::text::Lang;

const TEMPLATE: &str = include_str!("assets/report.html");
const STYLE: &str = include_str!("assets/style.css");
const SCRIPT: &str = concat!(
    include_str!("assets/draw.js"),
    include_str!("assets/marked.js"),
    include_str!("assets/runs.js"),
    include_str!("assets/sweep.js"),
    include_str!("assets/table.js"),
    include_str!("assets/main.js"),
);

/// What the page shows.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// The sweep.
    pub state: &'a SweepState,
    /// Its ranking, in the same language.
    pub ranking: &'a Ranking,
    /// Thresholds of the diagnosis.
    pub settings: &'a ReportSettings,
    /// The language.
    pub lang: Lang,
    /// Seconds after which the page loads itself again; `None` for a finished sweep.
    pub reload_seconds: Option<u32>,
}

/// The page as HTML.
pub fn html(page: Page<'_>) -> Result<String, ReportError> {
    let failed = |source| ReportError::Page { source };
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.add_template("report.html", TEMPLATE).map_err(failed)?;
    let words: std::collections::BTreeMap<_, _> = page.lang.page_labels().collect();
    let verdict = &page.ranking.verdict;
    let row_of = |id| page.ranking.rows.iter().find(|row| row.trial == id);
    let chosen: Option<&Row> = verdict.choice.as_ref().and_then(|choice| row_of(choice.trial));
    environment
        .get_template("report.html")
        .and_then(|template| {
            template.render(context! {
                lang => page.lang.code(),
                name => page.ranking.sweep,
                words,
                is_live => page.reload_seconds.is_some(),
                is_finished => page.ranking.finished,
                sentences => verdict.sentences,
                findings => verdict.findings,
                failures => page.ranking.failures.iter().map(|failure| {
                    context! { whose => failure.whose(), ..minijinja::Value::from_serialize(failure) }
                }).collect::<Vec<_>>(),
                choice => verdict.choice.as_ref().map(|choice| data::headline(choice, chosen, page.lang)),
                expected => page
                    .ranking
                    .comparison
                    .as_ref()
                    .filter(|_| page.ranking.finished)
                    .and_then(|comparison| data::expected(comparison, page.lang)),
                style => STYLE,
                script => SCRIPT,
                data => embedded(&data::of(page)),
            })
        })
        .map_err(failed)
}

/// JSON that cannot end the element it stands in.
fn embedded(data: &serde_json::Value) -> String {
    data.to_string()
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}
