#!/usr/bin/env python3
"""Writes the golden files of quantised weights: lorasweep against gguf and bitsandbytes.

README.md beside this file documents what is written.

    python make_quantised_golden.py
"""

import json
import math
from pathlib import Path

import gguf
import numpy as np
import torch
from bitsandbytes import functional as bnb
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import load_file, save_file

TESTS = Path(__file__).resolve().parents[2] / "crates" / "trainer" / "tests"
OUTPUT = TESTS / "golden_quantised"
BLOCKS = [Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0, Type.Q4_K, Type.Q5_K, Type.Q6_K]
# Where a block's half-precision scales stand; every other byte may be anything.
SCALES = {Type.Q4_1: (0, 2), Type.Q5_1: (0, 2), Type.Q4_K: (0, 2), Type.Q5_K: (0, 2), Type.Q6_K: (208,)}
# Our golden models, and their architecture in llama.cpp.
MODELS = {
    "llama": "llama",
    "llama_bias": "llama",
    "llama_tied": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
}
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def random_blocks(kind, rng, rows=2, cols=512):
    """Blocks of random codes whose scales are ordinary numbers, and what gguf reads in them."""
    values, size = gguf.GGML_QUANT_SIZES[kind]
    data = rng.integers(0, 256, (rows, cols // values, size), dtype=np.uint8)
    for at in SCALES.get(kind, (0,)):
        scale = rng.uniform(-0.1, 0.1, data.shape[:2]).astype(np.float16)
        data[:, :, at : at + 2] = scale[..., None].view(np.uint8)
    data = data.reshape(rows, -1)
    return {
        f"{kind.name.lower()}.bytes": data,
        f"{kind.name.lower()}.values": gguf.quants.dequantize(data, kind).astype(np.float32),
    }


def normal_levels():
    """NF4's levels by the paper's appendix E: quantiles of the normal distribution, eight on the
    negative side, nine on the positive one with zero on both, scaled to [-1, 1]."""
    offset = 0.9677083
    quantile = lambda p: math.sqrt(2) * torch.erfinv(2 * p.double() - 1)
    positive = quantile(torch.linspace(offset, 0.5, 9, dtype=torch.float64)[:-1])
    negative = -quantile(torch.linspace(offset, 0.5, 8, dtype=torch.float64)[:-1])
    levels = torch.cat([negative, torch.zeros(1, dtype=torch.float64), positive]).sort().values
    return (levels / levels.abs().max()).float()


def of_bitsandbytes(rng):
    weight = rng.normal(0, 0.05, (4, 320)).astype(np.float32)
    weight[1, :64] = 0
    weight[2, 7] = -3
    tensor = torch.from_numpy(weight)
    codes, state = bnb.quantize_4bit(tensor, blocksize=64, quant_type="nf4")
    nf4 = bnb.dequantize_4bit(codes, state)
    assert torch.allclose(state.code, normal_levels(), atol=1e-6), "the paper's levels are others"
    half = tensor.half()
    int8, scales, _ = bnb.int8_vectorwise_quant(half)
    return {
        "nf4.weight": weight,
        "nf4.levels": normal_levels().numpy(),
        "nf4.codes": codes.numpy().reshape(4, -1),
        "nf4.absmax": state.absmax.numpy(),
        "nf4.values": nf4.numpy(),
        "int8.weight": half.float().numpy(),
        "int8.codes": int8.numpy(),
        "int8.absmax": scales.numpy(),
    }


def neighbours(tensor, head_dim):
    """llama.cpp's order of the rows of q and k where it rotates neighbouring pairs."""
    rest = tensor.shape[1:]
    return tensor.reshape(-1, 2, head_dim // 2, *rest).swapaxes(1, 2).reshape(tensor.shape)


def write_gguf(folder, architecture):
    model = TESTS / "golden" / folder / "model"
    config = json.loads((model / "config.json").read_text())
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    writer = gguf.GGUFWriter(OUTPUT / f"{folder}.gguf", architecture)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_embedding_length(config["hidden_size"])
    # Lists and texts that a reader of weights has to find its way over.
    writer.add_token_list(["<s>", "</s>", "a", "\u00e4"])
    writer.add_token_scores([0.0, -1.0, -2.0, -3.0])
    for name, tensor in load_file(model / "model.safetensors").items():
        stem, suffix = name.rsplit(".", 1)
        if architecture == "llama" and stem.endswith((".q_proj", ".k_proj")):
            tensor = neighbours(tensor, head_dim)
        if stem.startswith("model.layers."):
            layer, part = stem.removeprefix("model.layers.").split(".", 1)
            own = f"blk.{layer}.{NAMES[part]}"
        else:
            own = NAMES[stem]
        writer.add_tensor(f"{own}.{suffix}", np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    OUTPUT.mkdir(exist_ok=True)
    rng = np.random.default_rng(7)
    tensors = {}
    for kind in BLOCKS:
        tensors |= random_blocks(kind, rng)
    tensors |= of_bitsandbytes(rng)
    save_file(tensors, OUTPUT / "blocks.safetensors")
    for folder, architecture in MODELS.items():
        write_gguf(folder, architecture)


if __name__ == "__main__":
    main()
