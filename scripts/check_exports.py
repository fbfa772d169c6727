#!/usr/bin/env python3
"""Reads everything that lorasweep exports with the tools it is meant for.

    python check_exports.py SWEEP [--lorasweep BINARY]

SWEEP is the results folder of a finished sweep. The script exports its chosen adapter into a
temporary folder in every form, converts the sweep for every tool, and reads all of it back:

    peft folder     loaded by transformers + peft; the validation loss is the reported one
    epochs          where `save_strategy: epoch` kept them: the chosen trial's first one, likewise
    merged model    loaded by transformers; the same logits as base + adapter in peft
    adapter.gguf    read by llama.cpp's `gguf` package; the matrices multiply to the same update
    event files     read by tensorboard: last validation loss of every run, settings of every run
    journal file    loaded by optuna.load_study: values, settings and states of all trials
    mlruns          read by mlflow.search_runs: best losses, settings and curves of all trials
    parquet         read by pyarrow: the types, values and nulls of both tables
    SHA256SUMS      every file of an export is what the manifest says

Prints one PASS or FAIL line a check; exits with 0 if none failed, else 1. Everything is computed in
f32 on the CPU. Needs exports_requirements.txt.
"""

import argparse
import csv
import hashlib
import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"  # Later versions read file stores only when asked.

import gguf
import mlflow
import numpy as np
import optuna
import pyarrow.parquet as pq
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from peft import PeftModel
from safetensors.numpy import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

TOLERANCE = 1e-4
failed = False


def check(passed, what):
    global failed
    failed |= not passed
    print(f"{'PASS' if passed else 'FAIL'}  {what}", flush=True)


def run(binary, *arguments):
    subprocess.run([binary, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def manifest(folder):
    lines = [x for x in (folder / "SHA256SUMS").read_text().splitlines() if not x.startswith("#")]
    sums = dict(reversed(line.split("  ", 1)) for line in lines)
    paths = (path for path in folder.rglob("*") if path.is_file())
    files = {path.relative_to(folder).as_posix() for path in paths} - {"SHA256SUMS"}
    same = all(
        hashlib.sha256((folder / name).read_bytes()).hexdigest() == value
        for name, value in sums.items()
    )
    check(same and files == set(sums), f"{folder.name}: SHA256SUMS names all {len(files)} files")


def rows(folder):
    with open(folder / "validation_tokens.jsonl", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@torch.no_grad()
def logits(model, row):
    return model(input_ids=torch.tensor([row["input_ids"]])).logits[0]


def validation_loss(model, examples):
    nll, targets = 0.0, 0
    for row in examples:
        ids = torch.tensor(row["input_ids"])[1:]
        mask = torch.tensor(row["loss_mask"])[1:].bool()
        losses = cross_entropy(logits(model, row)[:-1], ids, reduction="none")
        nll += losses[mask].sum().item()
        targets += int(mask.sum())
    return nll / targets


def base_of(adapter):
    return json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]


def check_adapter(adapter):
    """The reported validation loss; returns the model and the rows."""
    origin = json.loads((adapter / "lorasweep.json").read_text())
    base = AutoModelForCausalLM.from_pretrained(base_of(adapter), dtype=torch.float32)
    model = PeftModel.from_pretrained(base, adapter).eval()
    examples = rows(adapter)
    loss = validation_loss(model, examples)
    close = abs(loss - origin["eval_loss"]) <= TOLERANCE * origin["eval_loss"]
    what = f"peft: epoch {origin['epoch']:.2f}, validation loss {loss:.6f}"
    check(close, f"{what}, reported {origin['eval_loss']:.6f}")
    return model, examples


def check_epoch(export, sweep, trial, out):
    """The first epoch of a trial, where it was kept."""
    train = json.loads((sweep / "resolved.json").read_text())["sweep"]["train"]
    if train.get("save_strategy", "best") == "epoch":
        run(*export, "--trial", trial, "--epoch", 1, "--with-validation", "--to", out)
        manifest(out)
        check_adapter(out)


def check_models(adapter, merged):
    model, examples = check_adapter(adapter)
    whole = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval()
    stored = AutoModelForCausalLM.from_pretrained(merged, dtype="auto").dtype
    # Merged weights are rounded to the base's number format once more.
    tolerance = {torch.float32: 1e-4, torch.float16: 2e-2}.get(stored, 1e-1)
    worst = max(
        ((logits(whole, row) - logits(model, row)).abs().max() / logits(model, row).abs().max()).item()
        for row in examples[:20]
    )
    check(worst <= tolerance, f"transformers: merged logits ({stored}) differ by {worst:.2e} at most")
    tokenizer = AutoTokenizer.from_pretrained(merged)
    check(len(tokenizer) > 0, f"transformers: the tokenizer loads ({len(tokenizer)} tokens)")


def check_gguf(adapter):
    """llama.cpp adds alpha / r x B A; for its llama architecture the rows of q and k are permuted."""
    reader = gguf.GGUFReader(adapter / "adapter.gguf")
    value = lambda key: reader.fields[key].contents()
    check(value("general.type") == "adapter" and value("adapter.type") == "lora", "gguf: a LoRA adapter")
    config = json.loads((adapter / "adapter_config.json").read_text())
    base = json.loads((Path(base_of(adapter)) / "config.json").read_text())
    scale = config["lora_alpha"] / (config["r"] ** 0.5 if config["use_rslora"] else config["r"])
    tensors = {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
    weights = load_file(adapter / "adapter_model.safetensors")
    names = {
        "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output",
        "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
    }  # fmt: skip
    worst, count = 0.0, 0
    for name, a in weights.items():
        if ".lora_A." not in name:
            continue
        parts = name.split(".")
        layer, module = parts[parts.index("layers") + 1], parts[-3]
        update = scale * (weights[name.replace("lora_A", "lora_B")] @ a)
        if value("general.architecture") == "llama" and module in ("q_proj", "k_proj"):
            key = "num_attention_heads" if module == "q_proj" else "num_key_value_heads"
            heads = base.get(key) or base["num_attention_heads"]
            split = update.reshape(heads, 2, update.shape[0] // heads // 2, update.shape[1])
            update = split.swapaxes(1, 2).reshape(update.shape)
        stem = f"blk.{layer}.{names[module]}.weight"
        lora_a, lora_b = tensors[f"{stem}.lora_a"], tensors[f"{stem}.lora_b"]
        own = value("adapter.lora.alpha") / lora_b.shape[1] * (lora_b @ lora_a)
        worst = max(worst, float(np.abs(own - update).max() / np.abs(update).max()))
        count += 1
    check(2 * count == len(tensors), f"gguf: {len(tensors)} tensors, two for each adapted layer")
    check(worst <= 1e-5, f"gguf: scaled B A differ by {worst:.1e} at most")


def check_tensorboard(folder, ranking):
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    wrong, sessions = [], 0
    for row in ranking["rows"]:
        if row["eval_loss"] is None:
            continue
        run = folder / ("base" if row["trial"] == 0 else f"trial-{row['trial']:03}")
        events = EventAccumulator(str(run), size_guidance={"tensors": 0, "scalars": 0}).Reload()
        last = events.Tensors("eval/loss") if "eval/loss" in events.Tags()["tensors"] else None
        value = float(last[-1].tensor_proto.float_val[0]) if last else events.Scalars("eval/loss")[-1].value
        if abs(value - row["last_eval_loss"]) > 1e-5 * abs(value):
            wrong.append(run.name)
        if row["trial"]:
            content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
            data = plugin_data_pb2.HParamsPluginData.FromString(content)
            rate = data.session_start_info.hparams["learning_rate"].number_value
            sessions += rate == float(f"{row['config']['learning_rate']:.2e}")
    runs = sum(1 for row in ranking["rows"] if row["trial"] and row["eval_loss"] is not None)
    check(not wrong, f"tensorboard: last validation loss of {runs} runs and the base ({wrong or 'all right'})")
    check(sessions == runs, f"tensorboard: HParams of {sessions} of {runs} runs")


def check_optuna(path, ranking):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(study_name=None, storage=JournalStorage(JournalFileBackend(str(path))))
    rows_by_trial = {row["trial"]: row for row in ranking["rows"] if row["trial"]}
    check(len(study.trials) == len(rows_by_trial), f"optuna: {len(study.trials)} trials")
    complete = [t for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]
    right = all(
        abs(t.value - rows_by_trial[t.user_attrs["trial"]]["eval_loss"]) < 1e-9 for t in complete
    )
    check(right and complete, f"optuna: values of {len(complete)} complete trials")
    best = min(complete, key=lambda t: t.value)
    config = rows_by_trial[best.user_attrs["trial"]]["config"]
    same = all(
        best.params[name] == config[name] for name in best.params if isinstance(config[name], (int, float))
    )
    check(same and study.best_trial.number == best.number, f"optuna: best trial {best.params}")


def check_csv(path, ranking):
    with open(path, newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    best = {row["trial"]: row["eval_loss"] for row in ranking["rows"] if row["trial"]}
    marked = {int(r["trial"]): float(r["eval_loss"]) for r in table if r["is_best"] == "true"}
    same = all(abs(marked[trial] - best[trial]) < 1e-7 for trial in marked)
    check(same and marked, f"csv: {len(table)} evaluations, {len(marked)} best ones")


def check_mlflow(store, ranking):
    mlflow.set_tracking_uri(store.as_uri())
    experiment = mlflow.get_experiment_by_name(ranking["sweep"])
    found = mlflow.search_runs([experiment.experiment_id], output_format="list")
    runs = {int(run.data.tags["lorasweep.trial"]): run for run in found}
    rows_by_trial = {row["trial"]: row for row in ranking["rows"]}
    check(set(runs) == set(rows_by_trial), f"mlflow: {len(runs)} runs of `{experiment.name}`")
    wrong = []
    client = mlflow.MlflowClient()
    for trial, row in rows_by_trial.items():
        if trial == 0 or row["eval_loss"] is None:
            continue
        history = client.get_metric_history(runs[trial].info.run_id, "eval_loss")
        lowest = min(history, key=lambda metric: metric.value)
        right = (lowest.value, lowest.step) == (row["eval_loss"], row["best_step"])
        right &= runs[trial].data.metrics["best_eval_loss"] == row["eval_loss"]
        right &= runs[trial].data.params["rank"] == str(row["config"]["rank"])
        if not right:
            wrong.append(trial)
    check(not wrong, f"mlflow: curves, best losses and settings of all runs ({wrong or 'all right'})")


def check_parquet(folder, table_csv, ranking):
    evaluations = pq.read_table(folder / "evaluations.parquet")
    with open(table_csv, newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    check(evaluations.column_names == list(lines[0]), "parquet: the columns of the CSV table")
    same = len(lines) == evaluations.num_rows
    for line, row in zip(lines, evaluations.to_pylist()):
        for name in ("step", "epoch", "eval_loss", "train_loss", "retention_loss", "rank"):
            same &= (line[name] == "") == (row[name] is None)
            same &= line[name] == "" or abs(float(line[name]) - row[name]) < 1e-7
    check(same, f"parquet: {evaluations.num_rows} evaluations, the same as in the CSV table")
    rows_read = pq.read_table(folder / "ranking.parquet").to_pylist()
    losses = [(row["trial"], row["eval_loss"]) for row in rows_read]
    expected = [(row["trial"], row["eval_loss"]) for row in ranking["rows"]]
    rates = all(
        row["learning_rate"] == own["config"]["learning_rate"]
        for row, own in zip(rows_read, ranking["rows"])
        if own["config"]
    )
    check(losses == expected and rates, f"parquet: a ranking of {len(rows_read)} rows, to the last digit")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--lorasweep", default="lorasweep")
    args = parser.parse_args()
    ranking = json.loads((args.sweep / "ranking.json").read_text())
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        export = [args.lorasweep, "export", args.sweep, "--best"]
        run(*export, "--gguf", "--with-validation", "--to", out / "adapter")
        run(*export, "--merge", "--to", out / "merged")
        run(args.lorasweep, "convert", args.sweep, "--tensorboard", out / "events",
            "--optuna", out / "study.log", "--csv", out / "evaluations.csv",
            "--mlflow", out / "mlruns", "--parquet", out / "tables")  # fmt: skip
        manifest(out / "adapter")
        manifest(out / "merged")
        check_models(out / "adapter", out / "merged")
        best = json.loads((out / "adapter" / "lorasweep.json").read_text())["trial"]
        check_epoch(export[:-1], args.sweep, best, out / "epoch")
        check_gguf(out / "adapter")
        check_tensorboard(out / "events", ranking)
        check_optuna(out / "study.log", ranking)
        check_csv(out / "evaluations.csv", ranking)
        check_mlflow(out / "mlruns", ranking)
        check_parquet(out / "tables", out / "evaluations.csv", ranking)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
