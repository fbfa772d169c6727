//! The guides, which the program carries: pages in Markdown beside the crate that each describes.

/// One guide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guide {
    /// Its name: `lorasweep guide <name>`.
    pub name: &'static str,
    /// The page, in Markdown.
    pub text: &'static str,
}

/// This crate's own: the first and the last step of a sweep.
const FIRST: &[(&str, &str)] = &[("quick-tour", include_str!("../guides/quick-tour.md"))];
const LAST: &[(&str, &str)] = &[("exporting", include_str!("../guides/exporting.md"))];

impl Guide {
    /// All guides, in the order in which a newcomer needs them.
    pub fn all() -> Vec<Self> {
        [
            FIRST,
            spec::GUIDES,
            data::GUIDES,
            trainer::GUIDES,
            metrics::GUIDES,
            planner::GUIDES,
            reporter::GUIDES,
            LAST,
            worker::GUIDES,
        ]
        .into_iter()
        .flatten()
        .map(|&(name, text)| Self { name, text })
        .collect()
    }

    /// The guide of that name.
    pub fn find(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|guide| guide.name == name)
    }

    /// What its first line says it is about.
    pub fn title(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches("# ")
    }
}
