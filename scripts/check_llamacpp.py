#!/usr/bin/env python3
"""Runs an exported adapter in llama.cpp itself and compares its predictions with peft's.

    python check_llamacpp.py SWEEP [--lorasweep BINARY] [--rows 20]

SWEEP is the results folder of a finished sweep over a base of the `llama` architecture with a
tokenizer of bytes (BPE). The script exports the chosen adapter with `--gguf`, writes the base as GGUF
in f32, loads both in llama.cpp (by way of xllamacpp) and asks for the probabilities of all tokens after
each of some validation rows: with the adapter they are those of transformers + peft, without it those
of the base. Prints one PASS or FAIL line a check. Needs exports_requirements.txt.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
import torch
import xllamacpp
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

# llama.cpp keeps its cache in f32 here, but multiplies in its own order.
TOLERANCE = 1e-3
NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
WHOLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def for_llama_cpp(name, weight, config):
    """The name of a tensor in GGUF, and its values: q and k with the halves of each head interleaved."""
    stem = name.removesuffix(".weight")
    if stem in WHOLE:
        return f"{WHOLE[stem]}.weight", weight
    _, _, layer, module = stem.split(".", 3)
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    kind = NAMES[module]
    if kind in heads:
        rows = weight.shape[0] // heads[kind]
        split = weight.reshape(heads[kind], 2, rows // 2, weight.shape[1])
        weight = np.ascontiguousarray(split.swapaxes(1, 2)).reshape(weight.shape)
    return f"blk.{layer}.{kind}.weight", weight


def write_base(base, path):
    config = json.loads((base / "config.json").read_text())
    tokenizer = json.loads((base / "tokenizer.json").read_text())["model"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_vocab_size(config["vocab_size"])
    words = sorted(tokenizer["vocab"], key=tokenizer["vocab"].get)
    words += [f"[unused{n}]" for n in range(len(words), config["vocab_size"])]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words)
    writer.add_token_types([gguf.TokenType.NORMAL] * len(words))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    for name, weight in load_file(base / "model.safetensors").items():
        writer.add_tensor(*for_llama_cpp(name, weight.float().numpy(), config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return config["vocab_size"]


def server(base, adapter=None):
    params = xllamacpp.CommonParams()
    params.model.path = str(base)
    params.n_ctx, params.n_parallel = 512, 1
    params.warmup = False
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    if adapter:
        lora = xllamacpp.CommonAdapterLoraInfo()
        lora.path, lora.scale = str(adapter), 1.0
        params.lora_adapters = [lora]
    return xllamacpp.Server(params)


def predictions(llama, rows, vocabulary):
    """Natural logarithms of the probabilities of all tokens after each row."""
    found = []
    for row in rows:
        asked = {"prompt": row, "n_predict": 1, "n_probs": vocabulary, "temperature": 0, "cache_prompt": False}
        answer = llama.handle_completions(asked)
        answer = json.loads(answer) if isinstance(answer, (str, bytes)) else answer
        first = answer["choices"][0]["logprobs"]["content"][0]
        logs = np.full(vocabulary, -math.inf)
        for token in first["top_logprobs"]:
            logs[token["id"]] = token["logprob"]
        assert np.isfinite(logs).all(), f"{np.isfinite(logs).sum()} of {vocabulary} tokens came back"
        found.append(logs)
    return np.array(found)


@torch.no_grad()
def expected(model, rows):
    logits = [model(input_ids=torch.tensor([row])).logits[0, -1].double() for row in rows]
    return torch.stack(logits).log_softmax(-1).numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--lorasweep", default="lorasweep")
    parser.add_argument("--rows", type=int, default=20)
    args = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        export = [args.lorasweep, "export", args.sweep, "--gguf", "--with-validation", "--to", out / "adapter"]
        subprocess.run(list(map(str, export)), check=True, stdout=subprocess.DEVNULL)
        config = json.loads((out / "adapter" / "adapter_config.json").read_text())
        base_dir = config["base_model_name_or_path"]
        vocabulary = write_base(Path(base_dir), out / "base.gguf")
        lines = (out / "adapter" / "validation_tokens.jsonl").read_text().splitlines()[: args.rows]
        # Without the end, so that there is something left to predict.
        rows = [json.loads(line)["input_ids"][:-2] for line in lines]
        base = AutoModelForCausalLM.from_pretrained(base_dir, dtype=torch.float32).eval()
        of_base = expected(base, rows)
        of_adapter = expected(PeftModel.from_pretrained(base, out / "adapter").eval(), rows)
        cases = [("the base alone", None, of_base), ("with adapter.gguf", out / "adapter" / "adapter.gguf", of_adapter)]
        for what, adapter, theirs in cases:
            ours = predictions(server(out / "base.gguf", adapter), rows, vocabulary)
            worst = float(np.abs(ours - theirs).max())
            failed |= not worst <= TOLERANCE
            print(f"{'PASS' if worst <= TOLERANCE else 'FAIL'}  llama.cpp, {what}: log probabilities of "
                  f"{vocabulary} tokens after {len(rows)} rows differ by {worst:.1e} at most")  # fmt: skip
        apart = float(np.abs(of_adapter - of_base).max())
        failed |= not apart > 100 * TOLERANCE
        print(f"{'PASS' if apart > 100 * TOLERANCE else 'FAIL'}  adapter and base differ by {apart:.1f}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
