#!/usr/bin/env bash
# A sweep of two trials on a Llama and a Qwen3 of 100 million random weights with a tokenizer of 32,000
# tokens, on the CPU: weights as f32, as bf16, and as nf4 of bf16. For each the time from command to
# report, the peak memory of the worker, what `check` predicted, and the losses.
# Needs Python with scripts/golden/requirements.txt, which PYTHON names, about 2 GB of disk, and
# BINARY (target/release/lorasweep unless it is given).
# usage: scripts/bench/hundred_million.sh > results/bench/hundred_million.txt
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
binary=${BINARY:-target/release/lorasweep}
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT

echo "# $(uname -m), $(getconf _NPROCESSORS_ONLN) cores"
"$python" scripts/bench/hundred_million.py "$temporary"
for model in llama qwen3; do
    for weights in f32 bf16 nf4; do
        dtype=bfloat16
        extra=""
        if [ "$weights" = f32 ]; then dtype=float32; fi
        if [ "$weights" = nf4 ]; then extra="quantization: nf4"; fi
        name=$model-$weights
        cat >"$temporary/$name.yaml" <<YAML
method: grid
parameters: {rank: [4, 16]}
model: $model-$dtype
$extra
data: {train: train.jsonl, validation: validation.jsonl}
train: {epochs: 1, batch_size: 4, learning_rate: 0.0005, max_seq_len: 128, dtype: f32}
executor: {devices: cpu}
YAML
        predicted=$("$binary" check "$temporary/$name.yaml" --json |
            python3 -c 'import json, sys; print(json.load(sys.stdin)["memory_total"] >> 20)')
        began=$(date +%s.%N)
        "$binary" run "$temporary/$name.yaml" --results "$temporary/results" --quiet >/dev/null
        ended=$(date +%s.%N)
        python3 - "$temporary/results/$name" "$name" "$predicted" "$began" "$ended" <<'PY'
import csv, json, pathlib, sys
folder, name, predicted, began, ended = sys.argv[1:]
peak = 0
for journal in pathlib.Path(folder).rglob("*.jsonl"):
    for line in journal.read_text().splitlines():
        if "peak_bytes" in line:
            found = json.dumps(json.loads(line)).split('"peak_bytes": ')[1].split("}")[0].split(",")[0]
            peak = max(peak, int(found) if found.isdigit() else 0)
losses = [float(row["eval_loss"]) for row in csv.DictReader(open(f"{folder}/ranking.csv"))]
print(f"{name:12} {float(ended) - float(began):6.1f} s  peak {peak >> 20:5} MiB  predicted "
      f"{predicted:>5} MiB  losses {' '.join(f'{loss:.4f}' for loss in losses)}", flush=True)
PY
    done
done
