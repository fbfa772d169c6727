#!/usr/bin/env python3
"""Checks an adapter exported by lorasweep with transformers and peft alone.

    lorasweep export SWEEP --with-validation DIR
    python check_peft.py DIR [--model BASE] [--data FILE]

DIR holds adapter_config.json and adapter_model.safetensors as peft writes them, and beside them:

    lorasweep.json                eval_loss: the validation loss the report printed
    validation_tokens.jsonl       a line per validation example: {"input_ids": [T ints],
                                  "loss_mask": [T of 0/1]}; mask[i] = 1 makes token i a target,
                                  predicted from position i - 1
    lorasweep_check.safetensors   optional: `logits.<i>`, f32 [T, vocab], of validation example i

Prints one PASS, FAIL or SKIP line a check; exits with 0 if none failed, else 1. Everything is
computed in f32 on the CPU. Needs torch, transformers, peft (see golden/requirements.txt).
"""

import argparse
import json
import math
import sys
from pathlib import Path

import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM
from transformers.utils import logging

TOLERANCE = 1e-4


class Unusable(Exception):
    """The folder cannot be checked at all; the message says what is missing."""


class Report:
    """Prints the outcome of each check and remembers whether one failed."""

    def __init__(self):
        self.failed = False

    def check(self, passed, what):
        self.failed |= not passed
        print(f"{'PASS' if passed else 'FAIL'}  {what}")

    def skip(self, what):
        print(f"SKIP  {what}")


def read_json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Unusable(f"failed to read {path}: {error.strerror}") from error
    except ValueError as error:
        raise Unusable(f"{path} is not JSON: {error}") from error


def read_rows(path):
    """Validation examples, one JSON object a line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise Unusable(f"failed to read {path}: {error.strerror}") from error
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            ids, mask = row["input_ids"], row["loss_mask"]
        except (ValueError, KeyError, TypeError) as error:
            raise Unusable(f"{path}, line {number}: expected input_ids and loss_mask") from error
        if len(ids) != len(mask) or (mask and mask[0]):
            raise Unusable(
                f"{path}, line {number}: loss_mask needs one entry a token, the first of them 0"
            )
        rows.append(row)
    return rows


def find_base(directory, given):
    """The base model's folder; a relative path in the config is tried from the adapter's folder."""
    if given is not None:
        return given
    config_path = directory / "adapter_config.json"
    name = read_json(config_path).get("base_model_name_or_path")
    if not name:
        raise Unusable(f"{config_path} names no base model; give one with --model")
    candidates = [directory / name, Path(name)]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise Unusable(
        f"base model {name!r} of {config_path} is not a folder here; give its place with --model"
    )


def load(base, directory):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return PeftModel.from_pretrained(model, directory).eval()


def check_tensors(model, directory, report):
    """peft only warns of a tensor that fits nowhere; here it fails the check."""
    with safe_open(directory / "adapter_model.safetensors", "pt") as file:
        stored = set(file.keys())
    names = {n.replace(".default", "") for n, _ in model.named_parameters() if "lora_" in n}
    # peft leaves the ending of DoRA's magnitudes away in the file.
    wanted = {n.removesuffix(".weight") if "magnitude" in n else n for n in names}
    strays = sorted(stored ^ wanted)
    detail = f"; {len(strays)} do not match, first {strays[0]}" if strays else ""
    report.check(not strays, f"{len(stored)} adapter tensors are those the base needs{detail}")


@torch.no_grad()
def evaluate(model, row):
    """Logits [T, vocab] of one example and the summed negative log-likelihood of its targets."""
    ids = torch.tensor(row["input_ids"])
    logits = model(input_ids=ids[None], use_cache=False).logits[0]
    is_target = torch.tensor(row["loss_mask"])[1:].bool()
    nll = cross_entropy(logits[:-1][is_target], ids[1:][is_target], reduction="sum")
    return logits, nll.double().item()


def relative_difference(ours, theirs):
    """Norm of the difference over the norm of peft's."""
    return ((ours - theirs).norm() / theirs.norm()).item()


def check_losses(model, rows, stored_logits, expected, report):
    total, worst, compared = 0.0, 0.0, 0
    for index, row in enumerate(rows):
        logits, nll = evaluate(model, row)
        total += nll
        ours = stored_logits.get(f"logits.{index}")
        if ours is not None:
            compared += 1
            if ours.shape != logits.shape:
                raise Unusable(
                    f"logits.{index} has shape {list(ours.shape)}, the model gives"
                    f" {list(logits.shape)}"
                )
            worst = max(worst, relative_difference(ours.float(), logits))
    targets = sum(sum(row["loss_mask"]) for row in rows)
    if targets == 0:
        raise Unusable("the validation examples have no target token")
    loss = total / targets
    difference = abs(loss - expected) / abs(loss)
    report.check(
        math.isfinite(loss) and difference <= TOLERANCE,
        f"validation loss: peft {loss:.6f}, reported {expected:.6f}, relative difference"
        f" {difference:.1e} (at most {TOLERANCE:.0e}; {len(rows)} examples, {targets} targets)",
    )
    if compared:
        report.check(
            worst <= TOLERANCE,
            f"logits of {compared} examples: relative difference at most {worst:.1e}"
            f" (at most {TOLERANCE:.0e})",
        )
    else:
        report.skip("logits: no lorasweep_check.safetensors here")


def run(arguments, report):
    directory = arguments.directory
    base = find_base(directory, arguments.model)
    summary = read_json(directory / "lorasweep.json")
    if "eval_loss" not in summary:
        raise Unusable(f"{directory / 'lorasweep.json'} has no eval_loss")
    data = arguments.data or directory / "validation_tokens.jsonl"
    if not data.exists():
        raise Unusable(f"{data} does not exist; export with --with-validation, or give --data")
    rows = read_rows(data)
    logits_file = directory / "lorasweep_check.safetensors"
    stored_logits = load_file(logits_file) if logits_file.exists() else {}

    print(f"adapter {directory}, trial {summary.get('trial', '?')}, base {base}")
    model = load(base, directory)
    check_tensors(model, directory, report)
    check_losses(model, rows, stored_logits, summary["eval_loss"], report)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, metavar="DIR", help="the exported adapter")
    parser.add_argument("--model", type=Path, help="the base model, if not where the adapter says")
    parser.add_argument("--data", type=Path, help="instead of DIR/validation_tokens.jsonl")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    report = Report()
    try:
        run(arguments, report)
    except Unusable as error:
        report.check(False, str(error))
    sys.exit(report.failed)


if __name__ == "__main__":
    main()
