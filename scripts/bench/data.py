#!/usr/bin/env python3
"""Writes a JSONL file of plain text of any size, for data.sh.

    python scripts/bench/data.py BYTES ROW_BYTES OUT

Rows are {"text": ...} of about ROW_BYTES bytes, words of the embedded base's vocabulary in a random
order, so that no two rows are alike. A row begins with its number.
"""

import json
import random
import sys

WORDS = "house tree dog child big farmer ball old king green tall book bird box woman red cat".split()


def main():
    size, row_bytes, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    random.seed(1)
    # Pieces of text, drawn once: drawing each word would take longer than reading the file.
    pieces = [" ".join(random.choices(WORDS, k=40)) for _ in range(5000)]
    each = max(1, row_bytes // (len(pieces[0]) + 1))
    written, number = 0, 0
    with open(out, "w", encoding="utf-8") as file:
        while written < size:
            text = f"{number} " + " ".join(random.choices(pieces, k=each))
            written += file.write(json.dumps({"text": text[:row_bytes]}) + "\n")
            number += 1


if __name__ == "__main__":
    main()
