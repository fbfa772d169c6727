#!/usr/bin/env python3
"""Writes the quickstart's data: sweeps/quickstart/{train,validation,retention}.jsonl.

Deterministic and without dependencies. pretrain.py takes the base model's text from here too.
"""

import argparse
import hashlib
import itertools
import json
import random
from pathlib import Path

from code_talk import draw_pair
from skills import SKILLS, story

OUTPUT = Path(__file__).resolve().parents[2] / "sweeps" / "quickstart"
TRAIN_ROWS = 500
VALIDATION_ROWS = 150
RETENTION_ROWS = 96
NOISE = 0.12


def held_out(prompt):
    """One prompt in twenty of the old skills is never pre-trained on."""
    return hashlib.sha256(prompt.encode()).digest()[0] % 20 == 0


def pretraining_rows(count, seed):
    """Rows of the base's skills, every eighth a story (an empty prompt)."""
    rng = random.Random(f"pretraining {seed}")
    rows = []
    while len(rows) < count:
        if len(rows) % 8 == 0:
            rows.append(("", story(rng)))
            continue
        prompt, completion = rng.choice(SKILLS)(rng)
        if not held_out(prompt):
            rows.append((prompt, completion))
    return rows


def retention_rows():
    """Held-out prompts, of each skill about as many (some have few prompts in all)."""
    rng = random.Random("retention")
    rows = {}
    for skill in itertools.cycle(SKILLS):
        prompt, completion = skill(rng)
        if held_out(prompt):
            rows[prompt] = completion
        if len(rows) == RETENTION_ROWS:
            return list(rows.items())


def new_skill_rows():
    """Distinct training and validation rows of the new skill; no prompt stands in both."""
    rng = random.Random("code talk rows")
    rows = {}
    while len(rows) < TRAIN_ROWS + VALIDATION_ROWS:
        prompt, completion = draw_pair(rng)
        rows[prompt] = completion
    rows = list(rows.items())
    return mislabel(rows[:TRAIN_ROWS], rng), rows[TRAIN_ROWS:]


def mislabel(rows, rng):
    """Gives a share of the rows each other's answers: the noise of a real dataset."""
    chosen = rng.sample(range(len(rows)), round(NOISE * len(rows)))
    noisy = list(rows)
    for here, there in zip(chosen, chosen[1:] + chosen[:1], strict=True):
        noisy[here] = (rows[here][0], rows[there][1])
    return noisy


def write_rows(path, rows):
    lines = [json.dumps({"prompt": p, "completion": c}) + "\n" for p, c in rows]
    path.write_text("".join(lines), encoding="utf-8")
    print(f"{path.name}: {len(rows)} rows")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=OUTPUT)
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    train, validation = new_skill_rows()
    write_rows(output / "train.jsonl", train)
    write_rows(output / "validation.jsonl", validation)
    write_rows(output / "retention.jsonl", retention_rows())


if __name__ == "__main__":
    main()
