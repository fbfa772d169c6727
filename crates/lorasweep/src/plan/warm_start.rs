//! Planners that begin from earlier sweeps (`warm_start`).

use std::path::Path;

use planner::{Earlier, Fits, Knowledge, Planner};
use serde_json::Value;
use spec::Sweep;
use store::{EARLIER_SWEEP, Identity, SweepFolder};

use crate::error::Error;

/// The planner of a sweep, with what it knows from earlier ones; it leaves out what does not fit.
pub fn planner(
    sweep: &Sweep,
    identity: &Identity,
    fits: Option<Fits>,
) -> Result<Box<dyn Planner>, Error> {
    let earlier = sweep.warm_start.iter().map(|path| earlier(path, identity));
    let earlier = earlier.collect::<Result<_, _>>()?;
    Ok(planner::knowing(sweep, Knowledge { earlier, fits }))
}

fn earlier(path: &Path, own: &Identity) -> Result<Earlier, Error> {
    let folder = SweepFolder::open(path)?;
    let mut history = folder.state()?;
    if !history.finished {
        // What is added later would change proposals that were made already.
        return Err(Error::Unfinished { path: path.to_path_buf() });
    }
    for trial in history.trials.values_mut() {
        trial.train_points = Vec::new();
        trial.examples = None;
    }
    Ok(Earlier { history, is_same_problem: is_same_problem(own, &folder.identity()?) })
}

/// Whether two sweeps validate one base model on the same rows after training on the same.
fn is_same_problem(a: &Identity, b: &Identity) -> bool {
    let of_problem = |of: &Identity| {
        let mut inputs = of.clone();
        inputs.inputs.retain(|what, _| !what.starts_with(EARLIER_SWEEP));
        inputs
    };
    let (files, earlier) = (of_problem(a), of_problem(b));
    // An earlier version listed fewer of a model's files, but all data.
    let data = |of: &Identity| -> Vec<String> {
        of.inputs.keys().filter(|what| !what.starts_with("model's ")).cloned().collect()
    };
    let is_same_content =
        data(&files) == data(&earlier) && files.changed_inputs(&earlier).is_empty();
    let metric = a.sweep["metric"]["name"].as_str();
    let by_score = metric.is_some_and(|metric| metric != spec::EVAL_LOSS);
    let names = |of: &Identity| -> Vec<Value> {
        let sweep = &of.sweep;
        let length = sweep["train"]["max_seq_len"].clone();
        let form = sweep["base"]["quantization"].clone();
        // Files are known by their content; what is no file here, by its name.
        let named = of.inputs.is_empty().then(|| [sweep["model"].clone(), sweep["data"].clone()]);
        // Scores compare where the same was asked in the same way.
        let answers = by_score.then(|| sweep["metric"]["answers"].clone());
        named.into_iter().flatten().chain([length, form]).chain(answers).collect()
    };
    is_same_content && names(a) == names(b)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;
    use store::InputFile;

    use super::*;

    fn identity(model: &str, hash: Option<&str>) -> Identity {
        let file = |sha256: &str| InputFile {
            path: format!("anywhere/{sha256}"),
            bytes: 3,
            sha256: Some(sha256.to_owned()),
            sampled: None,
        };
        let inputs: BTreeMap<_, _> =
            hash.map(|hash| ("training data".to_owned(), file(hash))).into_iter().collect();
        Identity::new("s", "print", inputs, json!({"model": model, "train": {"max_seq_len": 64}}))
    }

    #[test]
    fn files_are_compared_by_content_and_names_where_there_are_no_files() {
        assert!(is_same_problem(&identity("here", Some("a")), &identity("there", Some("a"))));
        assert!(!is_same_problem(&identity("here", Some("a")), &identity("here", Some("b"))));
        assert!(is_same_problem(&identity("a", None), &identity("a", None)));
        assert!(!is_same_problem(&identity("a", None), &identity("b", None)));
    }
}
