#!/usr/bin/env python3
"""Trains one trial of sweeps/command.yaml with transformers + peft.

lorasweep starts it once a trial (`executor: {type: command}`) and reads its JSON lines. Everything
it needs is in its environment: LORASWEEP_PARAMS holds the trial's parameters, LORASWEEP_MODEL,
LORASWEEP_TRAIN and the like the paths, LORASWEEP_TRIAL_DIR a folder of its own. With --base it
evaluates the untouched model instead.

    pip install -r ../golden/requirements.txt
"""

import argparse
import json
import os
from pathlib import Path

import torch
import transformers
from peft_sweep import DEFAULTS, evaluate, read_rows, train
from tokenizers import Tokenizer


def report(**values):
    """One line for lorasweep; flushed, so that a trial that is behind can be stopped at once."""
    print(json.dumps(values), flush=True)


def read_data(base):
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    names = ("train", "validation", "retention")
    paths = {name: os.environ.get(f"LORASWEEP_{name.upper()}", "") for name in names}
    sets = {name: read_rows(Path(path), tokenizer) for name, path in paths.items() if path}
    subset = sets["train"][: len(sets["validation"])]
    return {"train": sets["train"], "evaluation": {**sets, "train": subset}}


def losses(evaluated):
    return {
        "eval_loss": evaluated["validation"],
        "train_loss": evaluated["train"],
        "retention_loss": evaluated.get("retention"),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", action="store_true", help="evaluate the untouched model")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()

    base = Path(os.environ["LORASWEEP_MODEL"])
    data = read_data(base)
    if arguments.base:
        model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        report(**losses({n: evaluate(model, rows) for n, rows in data["evaluation"].items()}))
        return
    trial = {**DEFAULTS, **json.loads(os.environ["LORASWEEP_PARAMS"])}
    steps = -(-len(data["train"]) // trial["batch_size"])
    for epoch, (evaluated, model) in enumerate(train(base, trial, data), start=1):
        adapter = Path(os.environ["LORASWEEP_TRIAL_DIR"]) / f"epoch-{epoch}"
        model.save_pretrained(adapter)
        report(step=epoch * steps, epoch=epoch, **losses(evaluated), adapter=str(adapter))


if __name__ == "__main__":
    main()
