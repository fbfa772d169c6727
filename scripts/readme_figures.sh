#!/usr/bin/env bash
# Makes the README's pictures: runs the quickstart into a temporary folder and copies three plots
# and the ranking to results/bench/readme. The first picture is the run that overfits most.
# usage: scripts/readme_figures.sh
set -euo pipefail
cd "$(dirname "$0")/.."
out=results/bench/readme
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT

cargo run --release --locked -- run sweeps/quickstart.yaml --results "$temporary"
sweep=$temporary/quickstart
mkdir -p "$out"
# Of the runs flagged overfit, the one whose last validation loss is furthest above its best.
trial=$(lorasweep_ranking="$sweep/ranking.json" python3 - <<'PY'
import json, os
rows = json.load(open(os.environ["lorasweep_ranking"]))["rows"]
overfit = [r for r in rows if r["flag"] == "overfit"]
worst = max(overfit, key=lambda r: r["last_eval_loss"] / r["eval_loss"])
print("trial-%03d" % worst["trial"])
PY
)
cp "$sweep/plots/runs/$trial.png" "$out/overfit.png"
cp "$sweep/plots/overview.png" "$sweep/plots/heatmap.png" "$sweep/ranking.csv" "$out/"
cp "$sweep/report.txt" "$out/report.txt"
