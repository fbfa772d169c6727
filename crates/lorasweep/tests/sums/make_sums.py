"""Word problems with one sum each, in the form of GSM8K: the answer works it out and ends with `#### n`.

Usage: python make_sums.py    (writes train.jsonl and validation.jsonl beside itself)
"""

import json
import random
from pathlib import Path

WHO = ["king", "farmer", "teacher", "woman", "child", "baker"]
WHAT = ["cats", "books", "balls", "cups", "birds", "shoes", "boxes", "stones"]


def row(draw):
    a, b = draw.randint(2, 40), draw.randint(2, 9)
    who, what = draw.choice(WHO), draw.choice(WHAT)
    asked = f"the {who} has {a} {what} and takes {b} {what}. how many {what}?"
    return {"prompt": asked, "completion": f" {a} + {b} = {a + b} #### {a + b}"}


def main():
    draw = random.Random(7)
    rows, seen = [], set()
    while len(rows) < 300:
        made = row(draw)
        if made["prompt"] not in seen:
            seen.add(made["prompt"])
            rows.append(made)
    folder = Path(__file__).parent
    for name, part in [("train", rows[:240]), ("validation", rows[240:])]:
        lines = "".join(json.dumps(made) + "\n" for made in part)
        (folder / f"{name}.jsonl").write_text(lines)


main()
