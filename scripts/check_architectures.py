#!/usr/bin/env python3
"""Trains, exports and reads back an adapter for every architecture, with transformers and peft.

    python check_architectures.py [LORASWEEP] [ARCHITECTURE...]     (target/release/lorasweep, all)

For each architecture of golden/cases.py: a random base of its kind with the quickstart's tokenizer, a
sweep of two short runs on the quickstart's rows (plain LoRA and one variant), `lorasweep export
--with-validation` of both, and check_peft.py on each export: the loss that lorasweep reported and its
logits against peft's. Prints a line for each; exits with 1 if any failed. Minutes on two cores.
Needs golden/requirements.txt.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "golden"))
from cases import ARCHITECTURES, SHARD_SIZE  # noqa: E402
from make_golden import randomise  # noqa: E402

QUICKSTART = HERE.parent / "sweeps" / "quickstart"
ROWS = {"train": 60, "validation": 20}
# Beside plain LoRA each architecture trains one of these, in turn.
VARIANTS = [
    "use_dora: true",
    "use_rslora: true",
    "loraplus_lr_ratio: 4",
    "init_lora_weights: orthogonal",
    "layers_to_transform: [1]",
]
SWEEP = """\
name: {name}
method: grid
model: base
data: {{train: train.jsonl, validation: validation.jsonl}}
parameters: {{rank: [4], learning_rate: [2e-3]}}
train: {{epochs: 2, batch_size: 8, max_seq_len: 64, {variant}}}
executor: {{devices: cpu}}
"""


def write_base(arch, directory):
    config = ARCHITECTURES[arch]()
    # The quickstart's vocabulary and positions for its rows; everything else as it is.
    config.vocab_size = 1024
    config.max_position_embeddings = max(config.max_position_embeddings, 64)
    config.pad_token_id = 0
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    randomise(model, torch.Generator().manual_seed(list(ARCHITECTURES).index(arch)))
    model.save_pretrained(directory, max_shard_size=SHARD_SIZE.get(arch, "1GB"))
    (directory / "generation_config.json").unlink(missing_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (directory / name).write_bytes((QUICKSTART / "base" / name).read_bytes())


def write_rows(directory):
    for name, count in ROWS.items():
        lines = (QUICKSTART / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        (directory / f"{name}.jsonl").write_text("\n".join(lines[:count]) + "\n", encoding="utf-8")


def run(*command, cwd):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def check(lorasweep, folder, name, variant):
    """What went wrong, or None; and what check_peft.py said."""
    (folder / f"{name}.yaml").write_text(SWEEP.format(name=name, variant=variant))
    export = folder / f"{name}-export"
    for command in (
        [lorasweep, "run", f"{name}.yaml", "--quiet"],
        [lorasweep, "export", f"results/{name}", "--with-validation", "--to", str(export)],
        [sys.executable, str(HERE / "check_peft.py"), str(export), "--model", str(folder / "base")],
    ):
        code, said = run(*command, cwd=folder)
        if code != 0:
            return f"`{' '.join(command[:2])}` ended with {code}:\n{said}", ""
    settings = json.loads((export / "adapter_config.json").read_text())
    if "use_dora" in variant and not settings["use_dora"]:
        return "the export is not one of DoRA", ""
    differences = [line.split("relative difference", 1)[1] for line in said.splitlines() if "relative" in line]
    return None, ", ".join(d.strip(" at most").split(" (")[0] for d in differences)


def main():
    arguments = sys.argv[1:]
    named = [a for a in arguments if a in ARCHITECTURES]
    binaries = [a for a in arguments if a not in ARCHITECTURES]
    lorasweep = str(Path(binaries[0] if binaries else HERE.parent / "target/release/lorasweep").resolve())
    transformers.utils.logging.disable_progress_bar()
    failed = 0
    for index, arch in enumerate(named or ARCHITECTURES):
        with tempfile.TemporaryDirectory() as directory:
            folder = Path(directory)
            write_base(arch, folder / "base")
            write_rows(folder)
            variant = VARIANTS[index % len(VARIANTS)]
            for name, setting in (("plain", "weight_decay: 0"), ("variant", variant)):
                problem, differences = check(lorasweep, folder, name, setting)
                failed += problem is not None
                label = "LoRA" if name == "plain" else variant
                result = f"FAIL {problem}" if problem else f"PASS loss, logits: {differences}"
                print(f"{arch:18} {label:30} {result}", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
