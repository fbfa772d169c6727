#!/bin/sh
# Prints the text of all plots of a made-up sweep, so that a change of what draws them is seen without
# training anything. readme_figures.sh records its hash beside the pictures; a test compares.
# usage: scripts/plots_probe.sh PATH-OF-LORASWEEP
set -eu
lorasweep=$(realpath "$1")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >probe.yaml <<'END'
name: probe
method: grid
parameters:
  rank: [2, 8, 32]
  learning_rate: [1e-4, 1e-3, 1e-2]
model: my-model
data: {train: my-rows}
train: {epochs: 6}
executor: {type: external}
END
"$lorasweep" ask probe.yaml -n 9 >asked
# Trials overfit, barely learn, or have a loss that jumps, by turns.
awk 'BEGIN {
    for (trial = 1; trial <= 9; trial++) for (epoch = 1; epoch <= 6; epoch++) {
        kind = trial % 3
        loss = kind == 0 ? 1.2 + 0.05 * (epoch - 3) ^ 2 : kind == 1 ? 3 - 0.05 * epoch : 2 + epoch % 2
        printf "{\"trial\": %d, \"step\": %d, \"epoch\": %d, \"eval_loss\": %.4f, \"train_loss\": %.4f%s}\n",
            trial, epoch * 10, epoch, loss + trial / 100, loss - epoch / 10,
            epoch == 6 ? ", \"outcome\": \"completed\"" : ""
    }
}' | "$lorasweep" tell probe.yaml >told
"$lorasweep" report probe.yaml --to report >text
find report/plots -name '*.svg' | LC_ALL=C sort | xargs cat
