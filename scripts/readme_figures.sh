#!/usr/bin/env bash
# Makes every picture of README.md and the guides: runs the quickstart with the present binary in a
# temporary folder and copies plots, the ranking and the report to results/bench/readme. Runs are found
# by their settings, so that the guide's text stays true: overfitting (rank 32, 2e-3), a rate that is too
# high (1e-2) and one that is too low (1e-4). A screenshot of the page needs Chromium; without it the
# picture is removed, not left as it was.
# usage: scripts/readme_figures.sh [FOLDER OF A FINISHED QUICKSTART]
# LORASWEEP names a binary; without it one is built.
set -euo pipefail
cd "$(dirname "$0")/.."
out=results/bench/readme
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT

lorasweep() {
    if [ -n "${LORASWEEP:-}" ]; then "$LORASWEEP" "$@"; else cargo run --release --locked -- "$@"; fi
}

sweep=${1:-$temporary/quickstart}
[ -n "${1:-}" ] || lorasweep run sweeps/quickstart.yaml --results "$temporary"
lorasweep report "$sweep" --to "$temporary/report" >/dev/null
mkdir -p "$out"
plots=$temporary/report/plots

# The plot of the run with these settings.
copy_run() { # rank, learning rate, batch size, name
    local trial
    trial=$(python3 - "$temporary/report/ranking.json" "$1" "$2" "$3" <<'PY'
import json, sys
path, rank, rate, batch = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
wanted = (rank, rate, batch)
for row in json.load(open(path))["rows"]:
    config = row["config"]
    if config and (config["rank"], config["learning_rate"], config["batch_size"]) == wanted:
        print("trial-%03d" % row["trial"])
PY
    )
    cp "$plots/runs/$trial.svg" "$out/$4.svg"
}
copy_run 32 2e-3 4 overfit
copy_run 32 1e-2 16 rate_too_high
copy_run 32 1e-4 4 rate_too_low
for plot in overview heatmap rank learning_rate; do cp "$plots/$plot.svg" "$out/"; done
cp "$temporary/report/ranking.csv" "$temporary/report/report.txt" "$out/"

# A test compares it with the plots of the day.
probe=${LORASWEEP:-target/release/lorasweep}
scripts/plots_probe.sh "$probe" | sha256sum | cut -d ' ' -f 1 >"$out/plots.sha256"

rm -f "$out/report.png"
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [ -n "$chromium" ]; then
    "$chromium" --headless --no-sandbox --hide-scrollbars --window-size=1000,1000 \
        --user-data-dir="$temporary/browser" --screenshot="$PWD/$out/report.png" \
        "file://$temporary/report/report.html" 2>/dev/null
fi
ls -l "$out"
