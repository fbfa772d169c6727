#!/usr/bin/env python3
"""Writes crates/data/tests/golden_plain_chat/: what transformers makes of plain conversations.

A model without a chat template gets one in its export (`crates/data/src/plain.rs`). For small
tokenizers of five kinds, `apply_chat_template` with that template gives the tokens that lorasweep
must have trained on. The templates differ only in their special tokens; the test compares the
committed ones with what lorasweep writes. Needs requirements.txt; takes some seconds on one CPU.
"""

import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

TARGET = Path(__file__).parents[2] / "crates/data/tests/golden_plain_chat"
TEXT = [
    "### User:\nWhere is the house?\n\n### Assistant:\nThe house is by the sea.\n\n",
    "### System:\nBe brief.\n\n### User:\nHow far is it?\n\n### Assistant:\n  Not far.\n\n\n",
    "The sea is near the house, and the house is old: 12 rooms, 3 doors.\n    indented\n",
] * 20
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def turn(role, content):
    return {"role": role, "content": content}


CONVERSATIONS = [
    [turn("user", "Where is it?"), turn("assistant", "By the sea.")],
    [turn("user", " a "), turn("assistant", " b "), turn("user", "\nc\n"), turn("assistant", "d\n")],
    [turn("system", "Be brief."), turn("user", "x"), turn("assistant", "\n\ny")],
    [turn("user", "\n"), turn("assistant", "."), turn("user", "### User:"), turn("assistant", "\n.")],
    [turn("user", "é ▁ 12"), turn("assistant", "  two\n  lines\n"), turn("tool", "3")],
]


def byte_level(special, regex=None):
    tokenizer = Tokenizer(models.BPE())
    if regex is None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        split = pre_tokenizers.Split(Regex(regex), "isolated")
        plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, plain])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def sentence_piece(special, normalizer, pre_tokenizer=None):
    """BPE on text whose spaces are `▁`, with bytes for what it does not know."""
    pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=380, special_tokens=["<unk>", *special, *pieces], show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    # Bytes are pieces of the model, not tokens that are looked for in text.
    saved = json.loads(tokenizer.to_str())
    saved["added_tokens"] = [t for t in saved["added_tokens"] if t["content"] not in pieces]
    return Tokenizer.from_str(json.dumps(saved))


def with_bos(tokenizer, bos):
    tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )
    return tokenizer


def kinds():
    space = normalizers.Replace(" ", "▁")
    llama_2 = normalizers.Sequence([normalizers.Prepend("▁"), space])
    first = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return {
        "llama_2": (with_bos(sentence_piece(["<s>", "</s>"], llama_2), "<s>"), "</s>"),
        "metaspace": (with_bos(sentence_piece(["<s>", "</s>"], None, first), "<s>"), "</s>"),
        "gemma": (with_bos(sentence_piece(["<bos>", "<eos>"], space), "<bos>"), "<eos>"),
        "llama_3": (
            with_bos(byte_level(["<|begin|>", "<|end▁of｜text|>"], LLAMA_3), "<|begin|>"),
            "<|end▁of｜text|>",
        ),
        "qwen": (byte_level(["<|endoftext|>"], LLAMA_3), "<|endoftext|>"),
    }


def main():
    golden = {"conversations": CONVERSATIONS, "kinds": {}}
    for name, (tokenizer, eos) in kinds().items():
        folder = TARGET / name
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
        config = json.dumps({"eos_token": eos, "tokenizer_class": "PreTrainedTokenizerFast"})
        (folder / "tokenizer_config.json").write_text(config + "\n")
        if not (folder / "chat_template.jinja").exists():
            print(f"{folder}/chat_template.jinja: put the one of an export here and run again")
            continue
        loaded = PreTrainedTokenizerFast.from_pretrained(folder)
        apply = lambda messages, **more: loaded.apply_chat_template(
            messages, tokenize=True, return_dict=False, **more
        )
        golden["kinds"][name] = {
            "input_ids": [apply(messages) for messages in CONVERSATIONS],
            "prompt": loaded.apply_chat_template(
                CONVERSATIONS[0][:1], tokenize=False, add_generation_prompt=True
            ),
        }
    (TARGET / "golden.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
