//! What chat templates leave out of conversations: the model does not learn it, and nobody sees it
//! missing.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What a template may leave out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Kind {
    /// The descriptions of tools.
    Tools,
    /// A thought in a field of its own.
    Reasoning,
    /// A thought in the content.
    Thoughts,
    /// An assistant's plan before it calls tools.
    ToolPlan,
    /// Calls of tools.
    ToolCalls,
    /// What is said in turns of a role.
    Content {
        /// The role.
        role: String,
    },
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tools => f.write_str("`tools`"),
            Self::Reasoning => f.write_str("`reasoning_content`"),
            Self::Thoughts => f.write_str("the thoughts (`<think>...`)"),
            Self::ToolPlan => f.write_str("`tool_plan`"),
            Self::ToolCalls => f.write_str("`tool_calls`"),
            Self::Content { role } => write!(f, "the content of `{role}`"),
        }
    }
}

/// How much of a file's conversations the template leaves out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unwritten {
    /// What it leaves out.
    #[serde(flatten)]
    pub kind: Kind,
    /// Rows with such.
    pub rows: usize,
    /// Their turns that lack it; 0 for what belongs to no turn.
    pub turns: usize,
    /// Line of the first such row.
    pub first_line: u64,
}

/// What is left out, of how many turns, and where first: "`tools` (2 rows, first line 7)".
impl fmt::Display for Unwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, rows, turns, first_line } = self;
        write!(f, "{kind}")?;
        if *turns > 0 {
            write!(f, " of {turns} turn{}", if *turns == 1 { "" } else { "s" })?;
        }
        let plural = if *rows == 1 { "" } else { "s" };
        write!(f, " ({rows} row{plural}, first line {first_line})")
    }
}

/// Counts what is left out, row by row.
#[derive(Debug, Default)]
pub(super) struct UnwrittenCounts(BTreeMap<Kind, Unwritten>);

impl UnwrittenCounts {
    /// Adds a row.
    pub fn add(&mut self, line: u64, row: BTreeMap<Kind, usize>) {
        for (kind, turns) in row {
            let new = || Unwritten { kind: kind.clone(), rows: 0, turns: 0, first_line: line };
            let count = self.0.entry(kind.clone()).or_insert_with(new);
            count.rows += 1;
            count.turns += turns;
        }
    }

    /// What was counted.
    pub fn take(&mut self) -> Vec<Unwritten> {
        std::mem::take(&mut self.0).into_values().collect()
    }
}
