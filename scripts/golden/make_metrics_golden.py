#!/usr/bin/env python3
"""Writes crates/metrics/tests/golden/scores.json: what the usual Python implementations make of pairs
of an output and a reference.

rouge-score and sacrebleu are called; SQuAD's normaliser and F1 and GSM8K's extraction, which no package
holds, are written here by their definitions (SQuAD 2.0's evaluate-v2.0.py, GSM8K's dataset.py).

    pip install -r metrics_requirements.txt
    python make_metrics_golden.py
"""

import json
import random
import re
import string
from collections import Counter
from pathlib import Path

from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import CHRF

FILE = Path(__file__).resolve().parents[2] / "crates" / "metrics" / "tests" / "golden" / "scores.json"

PAIRS = [
    ("The cat sat on the mat.", "A cat sat on a mat"),
    ("the cat", "The  Cat!"),
    ("", ""),
    ("", "something"),
    ("something", ""),
    ("the", "a"),
    ("...", "!"),
    ("Paris", "Paris, France"),
    ("It's 9:30 a.m.", "its 930 am"),
    ("theatre and another anthem", "theatre, another anthem"),
    ("one two three four", "four three two one"),
    ("aaaa aaaa", "aaaa"),
    ("ab", "abcdef"),
    ("x", "x"),
    ("Hà Nội là thủ đô của Việt Nam", "Thủ đô của Việt Nam là Hà Nội"),
    ("東京は日本の首都です", "日本の首都は東京です。"),
    ("ΑΣ and İstanbul", "ας and istanbul"),
    ("tab\tand\u001cseparator\u00a0blank", "tab and separator blank"),
    ("snake_case and an_article", "snake case and article"),
    ("5 + 7 = 12\n#### 12", "#### 12"),
    ("#### 1,234", "#### 1234"),
    ("#### -3.50", "#### -3.5"),
    ("the answer is 12", "#### 12"),
]


def random_pairs(count):
    words = "the a an cat dog sat, on mat. Blue -- blue 12 1,200 (x) naïve và".split(" ")
    draw = random.Random(7)
    text = lambda: " ".join(draw.choices(words, k=draw.randrange(9)))
    return [(text(), text()) for _ in range(count)]


def normalize_answer(text):
    """SQuAD: lower case, no punctuation, no articles, single blanks."""
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def squad_f1(output, reference):
    ours, theirs = normalize_answer(output).split(), normalize_answer(reference).split()
    if not ours or not theirs:
        return float(ours == theirs)
    same = sum((Counter(ours) & Counter(theirs)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(ours), same / len(theirs)
    return 2 * precision * recall / (precision + recall)


def gsm8k(text):
    """The number behind ####, or None."""
    match = re.compile(r"#### (\-?[0-9\.\,]+)").search(text)
    return float(match.group(1).strip().replace(",", "")) if match else None


def scores(output, reference):
    rouge = RougeScorer(["rougeL"], use_stemmer=False).score(reference, output)["rougeL"]
    return {
        "output": output,
        "reference": reference,
        "normalised": normalize_answer(output),
        "squad_exact_match": float(normalize_answer(output) == normalize_answer(reference)),
        "squad_f1": squad_f1(output, reference),
        "rouge_l": float(rouge.fmeasure),
        "chrf": CHRF().sentence_score(output, [reference]).score / 100,
        "gsm8k": gsm8k(output),
    }


def main():
    cases = [scores(*pair) for pair in PAIRS + random_pairs(60)]
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(cases, indent=0, ensure_ascii=True) + "\n")
    print(f"{len(cases)} pairs")


if __name__ == "__main__":
    main()
