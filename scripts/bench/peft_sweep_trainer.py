#!/usr/bin/env python3
"""A sweep as people run it without lorasweep: Optuna's GridSampler, transformers' Trainer and peft,
one trial after the other in one process.

Reads a sweep file (a grid over `values`, prompt/completion rows) and trains the same trials on the
same rows for the same steps, with an evaluation of validation, train subset and retention rows
after each epoch. The order of rows and the initial adapters are its own. Prints a line a trial,
then the seconds from the start of the command to the ranking.

    python peft_sweep_trainer.py SWEEP.yaml [--threads 2] [--csv OUT.csv]

Needs ../golden/requirements.txt and requirements.txt of this folder.
"""

import time

BEGAN = time.monotonic()

import argparse
import csv
import json
import math
from pathlib import Path

import optuna
import peft
import torch
import transformers
import yaml
from tokenizers import Tokenizer

ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
END = "<eos>"
IGNORED = -100


def read_rows(path, tokenizer):
    """Token ids and labels: the completion and the end token are targets."""
    end = tokenizer.token_to_id(END)
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        prompt = tokenizer.encode(row["prompt"]).ids
        completion = [*tokenizer.encode(row["completion"], add_special_tokens=False).ids, end]
        labels = [IGNORED] * len(prompt) + completion
        rows.append({"input_ids": [*prompt, *completion], "labels": labels})
    return rows


def collate(rows):
    """Padded to the longest of the batch."""
    longest = max(len(row["input_ids"]) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORED)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        n = len(row["input_ids"])
        ids[i, :n] = torch.tensor(row["input_ids"])
        labels[i, :n] = torch.tensor(row["labels"])
        mask[i, :n] = 1
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


def objective(trial, sweep, base, sets, subset):
    axes = {name: p["values"] for name, p in sweep["parameters"].items() if "values" in p}
    chosen = {name: trial.suggest_categorical(name, values) for name, values in axes.items()}
    settings = {**sweep.get("train", {}), **chosen}
    began = time.monotonic()
    torch.manual_seed(settings.get("seed", 42))
    model = peft.get_peft_model(
        transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        peft.LoraConfig(
            r=settings["rank"],
            lora_alpha=settings["lora_alpha"],
            target_modules=ALL_LINEAR,
            task_type="CAUSAL_LM",
        ),
    )
    steps = math.ceil(len(sets["train"]) / settings["batch_size"]) * settings["epochs"]
    arguments = transformers.TrainingArguments(
        output_dir="unused",
        num_train_epochs=settings["epochs"],
        per_device_train_batch_size=settings["batch_size"],
        per_device_eval_batch_size=64,
        learning_rate=settings["learning_rate"],
        lr_scheduler_type=settings.get("lr_scheduler", "linear"),
        warmup_steps=math.ceil(settings.get("warmup_ratio", 0.03) * steps),
        max_grad_norm=settings.get("max_grad_norm", 1.0),
        weight_decay=settings.get("weight_decay", 0.0),
        eval_strategy="epoch",
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        seed=settings.get("seed", 42),
    )
    history = []

    class Record(transformers.TrainerCallback):
        def on_evaluate(self, arguments, state, control, metrics, **rest):
            history.append(dict(metrics))

    evaluation = {"validation": sets["validation"], "train": subset, **retention(sets)}
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=sets["train"],
        eval_dataset=evaluation,
        data_collator=collate,
        callbacks=[Record()],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    losses = [m["eval_validation_loss"] for m in history if "eval_validation_loss" in m]
    best = min((loss for loss in losses if math.isfinite(loss)), default=math.inf)
    print(f"{chosen} best eval_loss {best:.4f} [{time.monotonic() - began:.0f} s]", flush=True)
    return best


def retention(sets):
    return {"retention": sets["retention"]} if "retention" in sets else {}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--csv", type=Path, help="write the trials and their losses here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    sweep = yaml.safe_load(options.sweep.read_text(encoding="utf-8"))
    here = options.sweep.parent
    base = here / sweep["model"]
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    sets = {name: read_rows(here / path, tokenizer) for name, path in sweep["data"].items()}
    subset = sets["train"][: len(sets["validation"])]
    grid = {name: p["values"] for name, p in sweep["parameters"].items() if "values" in p}
    study = optuna.create_study(sampler=optuna.samplers.GridSampler(grid, seed=0))
    study.optimize(lambda trial: objective(trial, sweep, base, sets, subset))
    ranked = sorted(study.trials, key=lambda trial: trial.value)
    print(f"best {ranked[0].params}: eval_loss {ranked[0].value:.4f}")
    print(f"seconds from command to ranking: {time.monotonic() - BEGAN:.1f}")
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*grid, "eval_loss"])
            writer.writerows([*(t.params[name] for name in grid), t.value] for t in ranked)


if __name__ == "__main__":
    main()
