//! The simplest of the runs that cannot be told from the best.

use serde::Serialize;
use spec::TrialId;

use super::candidate::Candidate;

/// The run to take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Choice {
    /// Which.
    pub trial: TrialId,
    /// What made it the choice.
    pub reason: Reason,
    /// Its validation loss above the lowest.
    pub behind: f64,
}

/// What decided among tied runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No other run is tied with the best.
    ClearlyBest,
    /// The lowest rank of those close to the best.
    LowestRank,
    /// The smallest gap among those of the lowest rank.
    SmallestGap,
    /// The least retention loss among those.
    LeastForgetting,
    /// Equally simple ones: the lowest validation loss.
    LowestLoss,
}

/// Chooses among the candidates that are close to `best`, which is one of them; `tied` is how many
/// cannot be told from it in all.
pub fn choose(close: &[&Candidate], tied: usize, best: &Candidate) -> Choice {
    let chosen = |candidate: &Candidate, reason| Choice {
        trial: candidate.trial,
        reason,
        behind: candidate.loss - best.loss,
    };
    if close.len() < 2 {
        let reason = if tied < 2 { Reason::ClearlyBest } else { Reason::LowestLoss };
        return chosen(best, reason);
    }
    let rank = close.iter().map(|c| c.rank).min().unwrap_or(best.rank);
    let of_rank: Vec<&Candidate> = close.iter().copied().filter(|c| c.rank == rank).collect();
    if let [only] = of_rank[..] {
        return chosen(only, Reason::LowestRank);
    }
    let Some(smallest) = of_rank.iter().min_by(|a, b| a.gap.total_cmp(&b.gap)) else {
        return chosen(best, Reason::LowestLoss);
    };
    let limit = smallest.gap + smallest.stderr;
    let of_gap: Vec<&Candidate> = of_rank.iter().copied().filter(|c| c.gap <= limit).collect();
    if let [only] = of_gap[..] {
        return chosen(only, Reason::SmallestGap);
    }
    let least = of_gap.iter().filter_map(|c| c.retention).min_by(f64::total_cmp);
    let kept: Vec<&Candidate> =
        of_gap.iter().copied().filter(|c| least.is_none() || c.retention == least).collect();
    if let [only] = kept[..] {
        return chosen(only, Reason::LeastForgetting);
    }
    let lowest = kept.iter().min_by(|a, b| a.loss.total_cmp(&b.loss));
    chosen(lowest.copied().unwrap_or(best), Reason::LowestLoss)
}
