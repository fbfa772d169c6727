"""Rows for the sweeps of replicated.sh: other sizes and other skills than the quickstart's.

    python replicated_rows.py FOLDER
"""

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "example"))

from code_talk import draw_pair  # noqa: E402
from make_data import new_skill_rows, pretraining_rows, write_rows  # noqa: E402


def old_skills(seed, shuffle):
    """Rows of what the base model can do already, without stories."""
    rows = list({p: c for p, c in pretraining_rows(4000, seed) if p}.items())
    shuffle(rows)
    return rows


def clean_rows(count, rng):
    """Correct rows of the new skill, none of which is in the quickstart."""
    known = {prompt for prompt, _ in sum(new_skill_rows(), [])}
    rows = {}
    while len(rows) < count:
        prompt, completion = draw_pair(rng)
        if prompt not in known:
            rows[prompt] = completion
    return list(rows.items())


def main(folder):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    noisy, validation = new_skill_rows()
    write_rows(folder / "noisy_500.jsonl", noisy)
    write_rows(folder / "noisy_100.jsonl", noisy[:100])
    write_rows(folder / "noisy_60.jsonl", noisy[-60:])
    write_rows(folder / "noisy_validation.jsonl", validation)
    old = old_skills(777, random.Random("x").shuffle)
    write_rows(folder / "old_300.jsonl", old[:300])
    write_rows(folder / "old_validation.jsonl", old[300:450])
    rng = random.Random("seed prior rows")
    clean = clean_rows(400, rng)
    write_rows(folder / "clean_250.jsonl", clean[:250])
    write_rows(folder / "clean_validation.jsonl", clean[250:])
    other = old_skills(778, rng.shuffle)
    write_rows(folder / "mixed_240.jsonl", clean[:120] + other[:120])
    write_rows(folder / "mixed_validation.jsonl", clean[250:325] + other[200:275])


if __name__ == "__main__":
    main(*sys.argv[1:])
