"""Seven sets of real runs under several seeds each, with the loss of every validation example: what the
report's share of the seed is derived from and held to. About 10 minutes of one core.

    python scripts/bench/replicated.py target/release/lorasweep

writes crates/reporter/tests/replicated/quickstart.csv. With the runs of the benchmark of diagnoses (eight regimes
on two bases, scripts/bench/diagnosis_runs.py), of whose 400 validation rows 150 are kept,

    python scripts/bench/replicated.py --diagnoses OUT

writes crates/reporter/tests/replicated/diagnoses.csv. scripts/bench/seed_share.py reads both.
"""

import json
import subprocess
import sys
from pathlib import Path

import replicated_rows

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "crates/reporter/tests/replicated"
HEADER = "set,rank,learning_rate,batch_size,seed,losses"
FOLDER = ROOT / "results/replicated"

SWEEP = """name: {name}
method: grid
model: {root}/sweeps/quickstart/base
data: {{train: rows/{train}.jsonl, validation: rows/{validation}.jsonl}}
parameters:
  rank: {rank}
  learning_rate: {rate}
  batch_size: {batch}
  seed: {seeds}
train:
  epochs: {epochs}
  lora_alpha: 32
  lr_scheduler: {schedule}
  warmup_ratio: {warmup}
  max_seq_len: 64
"""

#       name         training rows  validation rows      rank        learning rates            batches
SETS = [
    ("noisy-500", "noisy_500", "noisy_validation", [4, 16], ["1e-3", "3e-3"], [8, 16],
     [1, 2, 3, 4], 6, "constant", 0.03),
    ("noisy-100", "noisy_100", "noisy_validation", [4, 16], ["1e-3", "3e-3"], [4, 8],
     [1, 2, 3, 4], 10, "cosine", 0.03),
    ("old-300", "old_300", "old_validation", [4, 16], ["3e-4", "1e-3"], [4, 8],
     [1, 2, 3, 4], 4, "linear", 0.03),
    ("noisy-60", "noisy_60", "noisy_validation", [2, 8, 32], ["1e-3", "3e-3"], [4],
     [1, 2, 3, 4], 12, "linear", 0.03),
    # The committed table has the half of this set that was trained before it was interrupted.
    ("long-500", "noisy_500", "noisy_validation", [2, 8, 32], ["3.2e-4", "1e-3", "3.2e-3"], [4, 16],
     [1, 2, 3], 12, "constant", 0),
    ("clean-250", "clean_250", "clean_validation", [4, 16], ["7e-4", "2e-3"], [8, 16],
     [1, 2, 3, 4], 8, "cosine", 0.03),
    ("mixed-240", "mixed_240", "mixed_validation", [4, 16], ["1e-3", "3e-3"], [4, 8],
     [1, 2, 3], 8, "linear", 0.03),
]  # fmt: skip


def train(lorasweep, entry):
    """Runs one set; its journal's events."""
    name, rows, validation, rank, rate, batch, seeds, epochs, schedule, warmup = entry
    text = SWEEP.format(
        name=name, root=ROOT, train=rows, validation=validation, rank=rank,
        rate="[" + ", ".join(rate) + "]", batch=batch, seeds=seeds, epochs=epochs,
        schedule=schedule, warmup=warmup,
    )  # fmt: skip
    path = FOLDER / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    subprocess.run([lorasweep, "run", path, "--results", FOLDER, "--quiet"], check=True)
    return events(FOLDER / name)


def events(folder):
    lines = [line for path in (folder / "journal").glob("*.jsonl") for line in path.open()]
    records = sorted((json.loads(line) for line in lines), key=lambda record: record["seq"])
    return [record["event"] for record in records]


def table(name, found, rows=None):
    """A line a run: its set, settings and losses (of so many rows); the targets and the base model
    first."""
    configs = {e["trial"]["id"]: e["trial"]["config"] for e in found if e["type"] == "trial_proposed"}
    examples = {e["trial"]: e["examples"] for e in found if e["type"] == "examples_evaluated"}
    seeds = {config["seed"] for config in configs.values()}
    key = lambda config: (config["rank"], config["learning_rate"], config["batch_size"])
    runs = {}
    for trial, config in configs.items():
        if trial in examples:
            runs.setdefault(key(config), {})[config["seed"]] = examples[trial]
    losses = lambda values: " ".join(f"{value:.3f}".rstrip("0").rstrip(".") for value in values[:rows])
    yield f"{name},targets,,,," + " ".join(map(str, examples[0]["targets"][:rows]))
    yield f"{name},base,,,," + losses(examples[0]["nll"])
    for (rank, rate, batch), of_seed in sorted(runs.items()):
        if of_seed.keys() == seeds:
            for seed, example in sorted(of_seed.items()):
                yield f"{name},{rank},{rate:g},{batch},{seed}," + losses(example["nll"])


def write(name, lines):
    TARGET.mkdir(parents=True, exist_ok=True)
    (TARGET / name).write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    print(f"{name}: {len(lines)} lines")


def main(lorasweep, diagnoses=None):
    if lorasweep == "--diagnoses":
        folders = sorted(path for path in Path(diagnoses).iterdir() if path.is_dir())
        found = ((path.name, events(path / "results" / path.name)) for path in folders)
        return write("diagnoses.csv", [line for name, of in found for line in table(name, of, 150)])
    replicated_rows.main(FOLDER / "rows")
    write("quickstart.csv", [line for s in SETS for line in table(s[0], train(lorasweep, s))])


if __name__ == "__main__":
    main(*sys.argv[1:])
