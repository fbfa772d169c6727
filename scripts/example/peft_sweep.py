#!/usr/bin/env python3
"""Trains a sweep's grid with transformers + peft alone, one trial after the other on the CPU.

The second opinion on a sweep: the curves lorasweep draws should look like these. It reads the part
of the sweep file that quickstart.yaml uses (a grid over `values`, prompt/completion rows); order
of rows and initialisation are its own, so losses agree in kind, not in digits.

    python peft_sweep.py ../../sweeps/quickstart.yaml
    python peft_sweep.py ../../sweeps/quickstart.yaml --set rank=8 --set batch_size=16
"""

import argparse
import itertools
import json
import time
from pathlib import Path

import peft
import torch
import transformers
import yaml
from pretrain import EOS, collate, loss_of
from tokenizers import Tokenizer

ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
DEFAULTS = {
    "lora_alpha": 32,
    "lr_scheduler": "linear",
    "warmup_ratio": 0.0,
    "weight_decay": 0.0,
    "seed": 0,
    "max_grad_norm": 1.0,
}


def read_rows(path, tokenizer):
    eos = tokenizer.token_to_id(EOS)
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        prompt = tokenizer.encode(row["prompt"]).ids
        completion = tokenizer.encode(row["completion"], add_special_tokens=False).ids
        rows.append(([*prompt, *completion, eos], len(prompt)))
    return rows


def grid(sweep, overrides):
    """The trials in the order of the file, the last parameter varying fastest."""
    axes = {name: p.get("values", [p.get("value")]) for name, p in sweep["parameters"].items()}
    axes.update(overrides)
    for values in itertools.product(*axes.values()):
        yield {**DEFAULTS, **sweep.get("train", {}), **dict(zip(axes, values, strict=True))}


@torch.no_grad()
def evaluate(model, rows):
    """Mean loss per target token in evaluation mode."""
    model.eval()
    total, targets_seen = 0.0, 0
    ordered = sorted(rows, key=lambda row: len(row[0]))
    for start in range(0, len(ordered), 32):
        _, targets, loss = loss_of(model, *collate(ordered[start : start + 32]))
        total += loss.item() * len(targets)
        targets_seen += len(targets)
    model.train()
    return total / targets_seen


def train(base, trial, data):
    """Trains one adapter; yields the losses at each epoch's end and the model."""
    torch.manual_seed(trial["seed"])
    wrapped = peft.get_peft_model(
        transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        peft.LoraConfig(
            r=trial["rank"], lora_alpha=trial["lora_alpha"], target_modules=ALL_LINEAR
        ),
    )
    model = wrapped.get_base_model()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=trial["learning_rate"], weight_decay=trial["weight_decay"]
    )
    size = trial["batch_size"]
    steps = -(-len(data["train"]) // size) * trial["epochs"]
    scheduler = transformers.get_scheduler(
        trial["lr_scheduler"], optimizer, round(trial["warmup_ratio"] * steps), steps
    )
    for _ in range(trial["epochs"]):
        order = torch.randperm(len(data["train"])).tolist()
        for start in range(0, len(order), size):
            batch = [data["train"][i] for i in order[start : start + size]]
            loss = loss_of(model, *collate(batch))[2]
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, trial["max_grad_norm"])
            optimizer.step()
            scheduler.step()
        losses = {name: evaluate(model, rows) for name, rows in data["evaluation"].items()}
        yield losses, wrapped


def summarise(trial, history, seconds):
    validation = [e["validation"] for e in history]
    best = min(range(len(history)), key=validation.__getitem__)
    rise = validation[-1] / validation[best] - 1
    return (
        f"r {trial['rank']:<3} lr {trial['learning_rate']:<7g} batch {trial['batch_size']:<3}"
        f" best {validation[best]:.4f} at epoch {best + 1:<2} of {len(history)}"
        f" end {validation[-1]:.4f} ({rise:+.1%}) train {history[-1]['train']:.4f}"
        f" retention {history[best]['retention']:.3f} -> {history[-1]['retention']:.3f}"
        f" [{seconds:.0f} s]"
    )


def parse_override(text):
    name, values = text.split("=")
    return name, [yaml.safe_load(v) for v in values.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=A,B", dest="overrides")
    parser.add_argument("--curves", action="store_true", help="print each epoch's losses too")
    parser.add_argument("--model", type=Path, help="instead of the sweep's")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()

    sweep = yaml.safe_load(arguments.sweep.read_text(encoding="utf-8"))
    here = arguments.sweep.parent
    base = arguments.model or here / sweep["model"]
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    sets = {name: read_rows(here / path, tokenizer) for name, path in sweep["data"].items()}
    subset = sets["train"][: len(sets["validation"])]
    data = {"train": sets["train"], "evaluation": {**sets, "train": subset}}
    tokens = {name: sum(len(ids) for ids, _ in rows) for name, rows in sets.items()}
    print("tokens:", ", ".join(f"{name} {count}" for name, count in tokens.items()))

    untouched = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    losses = {name: evaluate(untouched, rows) for name, rows in data["evaluation"].items()}
    print("base:", ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items()))
    for trial in grid(sweep, dict(map(parse_override, arguments.overrides))):
        began = time.monotonic()
        history = [losses for losses, _ in train(base, trial, data)]
        print(summarise(trial, history, time.monotonic() - began), flush=True)
        if arguments.curves:
            for name in ("train", "validation"):
                print(f"    {name:<10}", " ".join(f"{e[name]:.3f}" for e in history), flush=True)


if __name__ == "__main__":
    main()
