#!/usr/bin/env python3
"""Greedy answers in transformers + peft, timed: the peer of lorasweep's example `answers`.

    python peft_generate.py make DIR [--hidden 128 ...]   # DIR/base and DIR/adapter-0 to adapter-7
    python peft_generate.py time DIR ADAPTERS              # one `generate` after the other, batches of 16

Needs ../golden/requirements.txt.
"""

import argparse
import resource
import statistics
import time
from pathlib import Path

import peft
import torch
import transformers

ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ADAPTERS, PROMPTS, NEW_TOKENS, ROUNDS = 8, 16, 40, 3


def make(options):
    torch.manual_seed(0)
    base = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=options.vocab,
            hidden_size=options.hidden,
            intermediate_size=options.ffn,
            num_hidden_layers=options.layers,
            num_attention_heads=options.heads,
            num_key_value_heads=options.kv_heads,
            tie_word_embeddings=False,
        )
    )
    base.save_pretrained(options.dir / "base")
    config = peft.LoraConfig(r=8, lora_alpha=16, target_modules=ALL_LINEAR, task_type="CAUSAL_LM")
    model = peft.get_peft_model(base, config)
    for adapter in range(ADAPTERS):
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.data.normal_(std=0.02)
        model.save_pretrained(options.dir / f"adapter-{adapter}")


def prompts(vocab):
    """As the example has them, on the left filled up to one length."""
    rows = [[(i * i * 31 + i * p * 7 + p) % vocab for i in range(53 + p)] for p in range(PROMPTS)]
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}


def timed(options):
    base = transformers.AutoModelForCausalLM.from_pretrained(options.dir / "base", dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(base, options.dir / "adapter-0", adapter_name="0").eval()
    for adapter in range(1, options.adapters):
        model.load_adapter(options.dir / f"adapter-{adapter}", adapter_name=str(adapter))
    batch = prompts(base.config.vocab_size)
    settings = {"do_sample": False, "max_new_tokens": NEW_TOKENS, "eos_token_id": None, "pad_token_id": 0}
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for adapter in range(options.adapters):
            model.set_adapter(str(adapter))
            with torch.inference_mode():
                model.generate(**batch, **settings)
        seconds.append(time.perf_counter() - began)
    # Linux counts ru_maxrss in KiB.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(
        f"transformers + peft: {options.adapters} adapters x {PROMPTS} prompts: "
        f"{statistics.median(seconds):.2f} s (median of {ROUNDS}), peak {peak:.0f} MB"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("make")
    command.add_argument("dir", type=Path)
    shape = {"hidden": 512, "layers": 8, "heads": 8, "kv_heads": 4, "ffn": 1408, "vocab": 8192}
    for name, default in shape.items():
        command.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    command.set_defaults(run=make)
    command = commands.add_parser("time")
    command.add_argument("dir", type=Path)
    command.add_argument("adapters", type=int)
    command.set_defaults(run=timed)
    options = parser.parse_args()
    torch.set_num_threads(2)
    transformers.utils.logging.disable_progress_bar()
    options.run(options)


if __name__ == "__main__":
    main()
