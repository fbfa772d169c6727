"""Writes further clean rows of the quickstart's new skill, none of which is in its data.

    python real_grid_rows.py COUNT rows.jsonl
"""

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "example"))

from code_talk import draw_pair  # noqa: E402
from make_data import new_skill_rows, write_rows  # noqa: E402


def main(count, target):
    train, validation = new_skill_rows()
    known = {prompt for prompt, _ in train + validation}
    rng = random.Random("further code talk rows")
    rows = {}
    while len(rows) < int(count):
        prompt, completion = draw_pair(rng)
        if prompt not in known:
            rows[prompt] = completion
    write_rows(Path(target), list(rows.items()))


if __name__ == "__main__":
    main(*sys.argv[1:])
