"""Trains the runs of the benchmark of diagnoses: eight regimes of 24 runs each.

    python diagnosis_runs.py LORASWEEP OTHER_BASE OUT [REGIME...]

LORASWEEP is the binary, OTHER_BASE what diagnosis_base.py wrote. Writes OUT/<regime>/, a sweep with
its journal; a regime that is complete is skipped. About 25 minutes on two cores.

Every regime has 400 validation rows, and as "retention set" 1,000 further rows of the same kind, which
no diagnosis sees: they say what is true. Where rows are mislabelled, so are those of validation in
half of the regimes, as in data that nobody cleaned.
"""

import json
import random
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "example"))

from code_talk import CODE_BOOK  # noqa: E402
from make_data import write_rows  # noqa: E402

EMBEDDED = HERE.parents[1] / "sweeps" / "quickstart" / "base"
VALIDATION, OTHERS = 400, 1000
# name: base, training rows, share mislabelled, the same in validation, scheduler, epochs, batch size,
# ranks, whether the answer is in reverse order (another task)
REGIMES = {
    "clean60": ("embedded", 60, 0.0, 0.0, "constant", 14, 4, (8, 64), False),
    "noisy250": ("embedded", 250, 0.12, 0.12, "constant", 10, 8, (4, 32), True),
    "other100_noisy": ("other", 100, 0.2, 0.0, "constant", 12, 4, (2, 16), False),
    "noisy100_decay": ("embedded", 100, 0.2, 0.2, "linear", 12, 8, (8, 64), False),
    "other250_decay": ("other", 250, 0.0, 0.0, "cosine", 10, 8, (4, 32), True),
    "noisy500": ("embedded", 500, 0.12, 0.0, "constant", 10, 8, (2, 16), False),
    "noisy250_long": ("embedded", 250, 0.3, 0.0, "constant", 14, 4, (8, 64), False),
    "other500_noisy": ("other", 500, 0.3, 0.3, "constant", 12, 8, (8, 32), False),
}
LEARNING_RATES = (2e-4, 1e-3, 4e-3, 1.5e-2)


def draw(rng, is_reversed):
    words = rng.sample(sorted(CODE_BOOK), rng.randint(2, 4))
    answer = [CODE_BOOK[word] for word in words]
    kind = "mirror" if is_reversed else "code"
    return f"{kind}: " + " ".join(words), "".join(f" {w}" for w in answer[:: -1 if is_reversed else 1])


def mislabel(rows, share, rng):
    """Gives a share of the rows each other's answers."""
    chosen = rng.sample(range(len(rows)), round(share * len(rows)))
    noisy = list(rows)
    for here, there in zip(chosen, chosen[1:] + chosen[:1], strict=True):
        noisy[here] = (rows[here][0], rows[there][1])
    return noisy


def write_data(folder, name):
    _, count, noise, validation_noise, _, _, _, _, is_reversed = REGIMES[name]
    rng = random.Random(f"diagnosis {name}")
    rows = {}
    while len(rows) < count + VALIDATION + OTHERS:
        prompt, answer = draw(rng, is_reversed)
        rows[prompt] = answer
    rows = list(rows.items())
    train, rest = rows[:count], rows[count:]
    write_rows(folder / "train.jsonl", mislabel(train, noise, rng))
    for file, part in (("validation", rest[:VALIDATION]), ("others", rest[VALIDATION:])):
        write_rows(folder / f"{file}.jsonl", mislabel(part, validation_noise, rng))


def sweep_file(name, other_base):
    base, _, _, _, scheduler, epochs, batch_size, ranks, _ = REGIMES[name]
    return {
        "name": name,
        "method": "grid",
        "model": str(EMBEDDED if base == "embedded" else other_base.resolve()),
        "data": {
            "train": "train.jsonl",
            "validation": "validation.jsonl",
            "retention": "others.jsonl",
        },
        "parameters": {
            "rank": list(ranks),
            "learning_rate": list(LEARNING_RATES),
            "seed": [1, 2, 3],
        },
        "train": {
            "epochs": epochs,
            "batch_size": batch_size,
            "lora_alpha": 32,
            "lr_scheduler": scheduler,
            "warmup_ratio": 0.03,
            "max_seq_len": 64,
            "eval_train_examples": 100,
        },
    }


def main(lorasweep, other_base, out, *names):
    for name in names or REGIMES:
        folder = Path(out) / name
        folder.mkdir(parents=True, exist_ok=True)
        write_data(folder, name)
        # YAML is a superset of JSON.
        file = folder / "sweep.yaml"
        file.write_text(json.dumps(sweep_file(name, Path(other_base)), indent=1), encoding="utf-8")
        subprocess.run([lorasweep, "run", file, "--quiet", "--results", folder / "results"], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
