#!/usr/bin/env python3
"""Writes tests/golden_files/losses.json: what transformers makes of weight files that do not match
their config.json word for word.

Each variant is made from a golden model by renaming or changing tensors; tests/weight_files.rs makes
the same variants and compares the loss of one sequence. Nothing but the losses is kept.

    python make_files_golden.py
"""

import json
import shutil
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

GOLDEN = Path(__file__).resolve().parents[2] / "crates" / "trainer" / "tests"
OUTPUT = GOLDEN / "golden_files" / "losses.json"
SEQUENCE = [1, 5, 9, 20, 33, 7, 2]
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def other_head(tensors):
    """A head of its own: the embeddings in reverse order."""
    return {**tensors, HEAD: tensors[EMBEDDING].flip(0).contiguous()}


def same_head(tensors):
    return {**tensors, HEAD: tensors[EMBEDDING].clone()}


def signed_zero(tensors):
    """Equal values in different bytes."""
    embedding, head = tensors[EMBEDDING].clone(), tensors[EMBEDDING].clone()
    embedding[0, 0], head[0, 0] = 0.0, -0.0
    return {**tensors, EMBEDDING: embedding, HEAD: head}


def head_alone(tensors):
    return {HEAD if name == EMBEDDING else name: tensor for name, tensor in tensors.items()}


def bare(tensors):
    return {name.removeprefix("model."): tensor for name, tensor in tensors.items()}


def one_more(tensors):
    return {f"model.{name}": tensor for name, tensor in tensors.items()}


def unknown_bias(tensors):
    outputs = tensors["model.layers.0.self_attn.q_proj.weight"].shape[0]
    return {**tensors, "model.layers.0.self_attn.q_proj.bias": torch.ones(outputs)}


VARIANTS = {
    "tied, as saved": ("llama_tied", dict),
    "tied, another head": ("llama_tied", other_head),
    "tied, the same head": ("llama_tied", same_head),
    "tied, equal but for the sign of a zero": ("llama_tied", signed_zero),
    "tied, the head alone": ("llama_tied", head_alone),
    "tied, bare names": ("llama_tied", bare),
    "untied, bare names": ("llama", bare),
    "tied, one prefix more": ("llama_tied", one_more),
    "untied, one prefix more": ("llama", one_more),
    "tied, a bias more": ("llama_tied", unknown_bias),
}


def loss(architecture, change):
    source = GOLDEN / "golden" / architecture / "model"
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        shutil.copy(source / "config.json", directory)
        tensors = change(load_file(source / "model.safetensors"))
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            directory, dtype=torch.float32, output_loading_info=True
        )
    assert not info["missing_keys"], info
    ids = torch.tensor(SEQUENCE)
    with torch.no_grad():
        logits = model.double()(ids[None]).logits[0]
    return torch.nn.functional.cross_entropy(logits[:-1], ids[1:]).item()


def main():
    torch.set_num_threads(1)
    losses = {name: loss(*variant) for name, variant in VARIANTS.items()}
    OUTPUT.parent.mkdir(exist_ok=True)
    written = {"transformers": transformers.__version__, "sequence": SEQUENCE, "losses": losses}
    OUTPUT.write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
