#!/usr/bin/env python3
"""One LoRA training step in transformers + peft, timed: the peer of lorasweep's step benchmark.

A Llama with random weights, LoRA on all linear layers, AdamW, f32, every token a target. Prints one
line of JSON. With `--device cuda --dtype bfloat16` base and activations are bf16 on the GPU. Without options the shape is the reference one; the quickstart's base is

    python peft_step.py --hidden 128 --layers 4 --heads 4 --kv-heads 2 --ffn 512 --vocab 1024

Needs ../golden/requirements.txt.
"""

import argparse
import json
import resource
import statistics
import time

import peft
import torch
import transformers

ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
WARM_UP = 3


def build(options):
    base = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=options.vocab,
            hidden_size=options.hidden,
            intermediate_size=options.ffn,
            num_hidden_layers=options.layers,
            num_attention_heads=options.heads,
            num_key_value_heads=options.kv_heads,
            max_position_embeddings=max(options.seq_len, 256),
            tie_word_embeddings=False,
        )
    ).to(options.device, getattr(torch, options.dtype))
    config = peft.LoraConfig(
        r=options.rank, lora_alpha=options.alpha, target_modules=ALL_LINEAR, task_type="CAUSAL_LM"
    )
    return peft.get_peft_model(base, config).train()


def timed_steps(model, options):
    """Seconds of each step after the warm-up: forward, backward, clipping, AdamW."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-4)
    seconds = []
    for step in range(WARM_UP + options.steps):
        ids = torch.randint(options.vocab, (options.batch, options.seq_len), device=options.device)
        began = time.perf_counter()
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        loss.item()
        if step >= WARM_UP:
            seconds.append(time.perf_counter() - began)
    return seconds


def parse_options():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    shape = {
        "hidden": 512,
        "layers": 8,
        "heads": 8,
        "kv_heads": 4,
        "ffn": 1408,
        "vocab": 8192,
        "batch": 4,
        "seq_len": 128,
        "rank": 8,
        "alpha": 16,
        "steps": 20,
        "threads": 2,
    }
    for name, default in shape.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, help=" ")
    parser.add_argument("--device", default="cpu", help=" ")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"], help=" ")
    return parser.parse_args()


def main():
    options = parse_options()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    seconds = timed_steps(build(options), options)
    median = statistics.median(seconds)
    result = {
        "tokens_per_second": round(options.batch * options.seq_len / median, 1),
        "step_ms_median": round(1000 * median, 2),
        "step_ms_min": round(1000 * min(seconds), 2),
        # Linux counts ru_maxrss in KiB.
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, 1),
        "shape": vars(options),
        "versions": {m.__name__: m.__version__ for m in (torch, transformers, peft)},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
