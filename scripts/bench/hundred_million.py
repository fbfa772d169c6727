#!/usr/bin/env python3
"""Makes what hundred_million.sh trains: a tokenizer, rows, and models of random weights.

The tokenizer is byte-level BPE with 32,000 tokens, trained on the sources of Python's standard
library; rows are functions of the same (the definition's line is the prompt). Llama and Qwen3 have
about 100 million parameters each.
"""

import ast
import json
import sys
import sysconfig
from pathlib import Path

import torch
import transformers
from tokenizers import ByteLevelBPETokenizer

VOCABULARY = 32_000
ROWS = {"train": 16, "validation": 4}


def is_text(path):
    """Whether a source is UTF-8: some tests of Python's own are not."""
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    return True


def functions(sources):
    for source in sources:
        text = source.read_text(encoding="utf-8")
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError):
            continue
        lines = text.splitlines(keepends=True)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and 6 <= node.end_lineno - node.lineno <= 30:
                body = node.body[0].lineno - 1
                yield "".join(lines[node.lineno - 1 : body]), "".join(lines[body : node.end_lineno])


def main(folder):
    stdlib = Path(sysconfig.get_path("stdlib"))
    sources = sorted(stdlib.glob("*.py")) + sorted(stdlib.glob("[a-z]*/*.py"))
    sources = [path for path in sources if "site-packages" not in path.parts and is_text(path)]
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train([str(path) for path in sources], VOCABULARY, special_tokens=["<s>", "</s>"])
    rows = (json.dumps({"prompt": a, "completion": b}) for a, b in functions(sources))
    for name, count in ROWS.items():
        lines = [next(rows) for _ in range(count)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    shape = {
        "vocab_size": VOCABULARY,
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 11,
        "num_attention_heads": 12,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    torch.manual_seed(0)
    transformers.utils.logging.disable_progress_bar()
    for config in (transformers.LlamaConfig(**shape), transformers.Qwen3Config(**shape)):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        for dtype in (torch.float32, torch.bfloat16):
            model = model.to(dtype)
            target = folder / f"{config.model_type}-{str(dtype).removeprefix('torch.')}"
            model.save_pretrained(target)
            tokenizer.save(str(target / "tokenizer.json"))
            (target / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
            parameters = sum(p.numel() for p in model.parameters())
            print(f"# {target.name}: {parameters:,} parameters", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
