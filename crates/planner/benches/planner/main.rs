//! How many trials the planners need: `cargo bench -p lorasweep-planner --bench planner -- --help`.

mod numpy;
mod runner;
mod surrogate;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use surrogate::{Instance, Shift};

fn main() {
    let mut args = std::env::args().skip(1);
    let mut get = std::collections::HashMap::new();
    while let Some(a) = args.next() {
        if let Some(k) = a.strip_prefix("--")
            && k != "bench"
        {
            get.insert(k.to_owned(), args.next().unwrap_or_default());
        }
    }
    let g = |k: &str, d: &str| get.get(k).cloned().unwrap_or(d.to_owned());
    let method = g("method", "bayes");
    let extra = g("extra", "").replace("\\n", "\n");
    let batch: usize = g("batch", "1").parse().unwrap();
    let first: u64 = g("first", "0").parse().unwrap();
    let instances: u64 = g("instances", "20").parse().unwrap();
    let seeds: u64 = g("seeds", "10").parse().unwrap();
    let cap: u32 = g("trials", "32").parse().unwrap();
    let threads: usize = g("threads", "1").parse().unwrap();
    let shift = match g("shift", "none").as_str() {
        "none" => Shift::None,
        "rank" => Shift::LowRank,
        f => Shift::Rate(f.parse().unwrap()),
    };
    let jobs: Vec<(u64, u64)> =
        (first..first + instances).flat_map(|i| (0..seeds).map(move |s| (i, s))).collect();
    let next = AtomicUsize::new(0);
    let results = Mutex::new(vec![None; jobs.len()]);
    let oracle = Mutex::new(Vec::new());
    let began = Instant::now();
    let inst: Vec<_> = (first..first + instances)
        .map(|i| {
            let x = Instance::new(i).shifted(shift);
            let o = x.optimum();
            (x, o)
        })
        .collect();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| loop {
        let j = next.fetch_add(1, Ordering::Relaxed);
        let Some(&(i, s)) = jobs.get(j) else { break };
        let (instance, optimum) = &inst[(i - first) as usize];
        let sweep = runner::sweep(&method, &extra, s, cap, instance.decays);
        let state = runner::run(&sweep, instance, s, batch);
        let sc = runner::score(&sweep, &state, instance, *optimum);
        let any = state.trials.values().map(|t| { let st = runner::setting(&t.trial.config); (1..=if instance.decays { 1 } else { st.epochs }).map(|e| instance.expected(st, if instance.decays { st.epochs } else { e })).fold(9.0, f64::min) }).fold(9.0, f64::min);
        let near = state.trials.values().filter(|t| { let st = runner::setting(&t.trial.config); instance.expected(st, st.epochs) <= 1.01 * optimum.grid }).count();
        oracle.lock().unwrap().push((any <= 1.01 * optimum.grid, near));
        if get.contains_key("why") && !sc.is_close {
            let all = state.trials.values().map(|t| { let st = runner::setting(&t.trial.config); (instance.expected(st, st.epochs), st, t.trial.id.0) }).min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
            let inc = planner::incumbent(&sweep, &state);
            let chosen = inc.map(|i| (runner::setting(&state.trials[&i.trial].trial.config), i.epoch, i.trial.0));
            println!("  {i}/{s} regret {:.4} limit {:.4} best evaluated {:.4} {:?} #{} | chosen {:?} last eval {:?}", sc.regret, 1.01 * optimum.grid, all.0, all.1, all.2, chosen, chosen.map(|c| state.trials[&spec::TrialId(c.2)].evaluations.iter().map(|e| (e.eval_loss*1e3).round()/1e3).collect::<Vec<_>>()));
        }
        results.lock().unwrap()[j] = Some(sc);
    });
        }
    });
    let results: Vec<runner::Score> = results.into_inner().unwrap().into_iter().flatten().collect();
    let mut r: Vec<f64> = results.iter().map(|s| s.regret).collect();
    r.sort_by(f64::total_cmp);
    let oracle = oracle.into_inner().unwrap();
    eprintln!(
        "oracle {:.3} share of trials close {:.3}",
        oracle.iter().filter(|o| o.0).count() as f64 / oracle.len() as f64,
        oracle.iter().map(|o| o.1).sum::<usize>() as f64 / oracle.len() as f64 / 32.0
    );
    let close = results.iter().filter(|s| s.is_close).count() as f64 / results.len() as f64;
    println!(
        "{method} {extra:?} batch {batch} shift {shift:?} instances {first}+{instances}x{seeds}: median {:.4} mean {:.4} within1% {:.1}%  ({:.1}s)",
        r[r.len() / 2],
        r.iter().sum::<f64>() / r.len() as f64,
        close * 100.0,
        began.elapsed().as_secs_f64()
    );
    if get.contains_key("detail") {
        for (j, &(i, _)) in jobs.iter().enumerate().step_by(seeds as usize) {
            let rs = &results[j..j + seeds as usize];
            println!(
                "  {i}: decays {} close {} mean {:.4}",
                inst[(i - first) as usize].0.decays,
                rs.iter().filter(|s| s.is_close).count(),
                rs.iter().map(|s| s.regret).sum::<f64>() / seeds as f64
            );
        }
    }
}
