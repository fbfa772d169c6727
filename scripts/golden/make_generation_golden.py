#!/usr/bin/env python3
"""Writes crates/trainer/tests/golden_generation/greedy.json: the tokens that transformers + peft
generate greedily from the golden models, with every adapter on them and without one.

The prompts differ in length. f32 generates them as one left-padded batch, f64 prompt by prompt (in f64
transformers' mask of padded rows overflows in Gemma 2), and both have to agree. Where the rotation
depends on a sequence's length, transformers would rotate every sequence of a batch as the longest one,
so f32 generates these prompt by prompt as well.

    python make_generation_golden.py       # after make_golden.py; some minutes
"""

import json

import torch
import transformers
from cases import ARCHITECTURES, cases_of
from make_golden import OUTPUT, load

FILE = OUTPUT.parent / "golden_generation" / "greedy.json"
LENGTHS = [3, 11, 2, 7, 14]
MAX_NEW_TOKENS = 12
BY_LENGTH = {"llama_rope_dynamic", "phi3_longrope"}
# Logits that are closer than this could change places by rounding.
MARGIN = 1e-3


def generate(model, prompts, end, alone):
    """The new tokens of each prompt, its end token included, and the least distance of the two
    largest logits."""
    batches = [[prompt] for prompt in prompts] if alone else [prompts]
    generated, margin = [], float("inf")
    for batch in batches:
        longest = max(map(len, batch))
        ids = torch.tensor([[0] * (longest - len(p)) + p for p in batch])
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in batch])
        out = model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=MAX_NEW_TOKENS,
            eos_token_id=end,
            pad_token_id=0,
            output_logits=True,
            return_dict_in_generate=True,
        )
        for row, tokens in enumerate(out.sequences[:, longest:].tolist()):
            if end in tokens:
                tokens = tokens[: tokens.index(end) + 1]
            generated.append(tokens)
            for logits in out.logits[: len(tokens)]:
                top = logits[row].topk(2).values
                margin = min(margin, (top[0] - top[1]).item())
    return generated, margin


def middle_token(generated):
    """A token at which some of the sequences end early, so that others outlive them."""
    candidates = sorted({token for tokens in generated for token in tokens[2:9]})
    ended = lambda token: sum(token in tokens[:9] for tokens in generated)
    return min(candidates, key=lambda token: (abs(ended(token) - 2), token))


def run_case(arch, name, prompts):
    model_dir = OUTPUT / arch / "model"
    adapter_dir = None if name == "base" else OUTPUT / arch / name
    alone = arch in BY_LENGTH
    with torch.no_grad():
        unbounded, _ = generate(load(model_dir, torch.float64, adapter_dir), prompts, None, True)
        end = middle_token(unbounded)
        tokens, margin = generate(load(model_dir, torch.float64, adapter_dir), prompts, end, True)
        f32, _ = generate(load(model_dir, torch.float32, adapter_dir), prompts, end, alone)
    assert tokens == f32, f"{arch} {name}: f32 and f64 generate other tokens"
    assert margin > MARGIN, f"{arch} {name}: two logits are {margin} apart"
    return {"end": end, "tokens": tokens}


def make(arch):
    config = json.loads((OUTPUT / arch / "model" / "config.json").read_text())
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        draw = lambda n: torch.randint(3, config["vocab_size"], (n,), generator=generator).tolist()
        prompts = [[1, *draw(length - 1)] for length in LENGTHS]
        try:
            cases = {name: run_case(arch, name, prompts) for name in ["base", *cases_of(arch)]}
        except AssertionError as error:
            print(f"  another seed: {error}")
            continue
        return {"prompts": prompts, "cases": cases}
    raise SystemExit(f"{arch}: no prompts without a close call")


def main():
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    golden = {}
    for arch in ARCHITECTURES:
        golden[arch] = make(arch)
        lengths = {name: [len(t) for t in c["tokens"]] for name, c in golden[arch]["cases"].items()}
        print(arch, lengths)
    FILE.parent.mkdir(exist_ok=True)
    body = {"max_new_tokens": MAX_NEW_TOKENS, "models": golden}
    FILE.write_text(json.dumps(body) + "\n")


if __name__ == "__main__":
    main()
