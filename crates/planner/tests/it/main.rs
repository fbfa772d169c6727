//! The planners and stopping rules, through the public interface.

mod bayes;
mod common;
mod extended;
mod maximize;
mod planners;
mod promotions;
mod pruners;
mod rank_ladder;
mod replicates;
mod surrogate_points;
