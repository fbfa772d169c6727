"""Writes crates/data/tests/golden_tokens/: what transformers makes of prompts with completions.

For each kind of tokenizer a small one is trained here, saved as tokenizer.json with a
tokenizer_config.json, and read back by AutoTokenizer. Of each row the golden file has the ids of
prompt + completion tokenised as one text, and where the completion begins: at the first token
that has a character of it. Where the prompt's own tokens are a prefix of the row's, that is where
TRL's SFTTrainer puts it, which is checked here.
"""

import itertools
import json
import pathlib

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoTokenizer

HERE = pathlib.Path(__file__).parent
TARGET = HERE.parents[1] / "crates/data/tests/golden_tokens"

CORPUS = [
    "the house is big and the tree is tall\n",
    "code: house big\nQ: big? tall\nA: yes\n",
    "a  b   c\n\nd é è 你好 naïve Ünder 12 345\n",
    "first line\nsecond line\n\nthird line, the end.\n",
] * 20

PROMPTS = ["code: house", "Q: big?\n", "a ", "the hou", "first line\n\n", "tabs\t", "12", "na\u0069", "", " lead", "e"]
COMPLETIONS = [" big", "tall", "  two", "\nnext line", "se is big", "345", "\u0301 accent", "你好", " "]

LLAMA3_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def begins_with(token, token_id):
    return processors.TemplateProcessing(
        single=f"{token} $A", pair=f"{token} $A {token} $B", special_tokens=[(token, token_id)]
    )


def sentencepiece_like(normalizer, pre_tokenizer, specials):
    """BPE over the text with U+2581 for blanks, bytes for what it does not know."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    fixed = [*specials, *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=460, special_tokens=fixed, limit_alphabet=60, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    # Byte tokens are plain entries of the vocabulary.
    saved = json.loads(tokenizer.to_str())
    saved["added_tokens"] = [token for token in saved["added_tokens"] if token["content"] in specials]
    return Tokenizer.from_str(json.dumps(saved))


def byte_level(normalizer, regex, specials):
    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(regex), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=460,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def llama2():
    blanks = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer = sentencepiece_like(blanks, None, ["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = begins_with("<s>", 1)
    return tokenizer, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def metaspace():
    blanks = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    tokenizer = sentencepiece_like(normalizers.NFC(), blanks, ["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = begins_with("<s>", 1)
    return tokenizer, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def gemma():
    blanks = normalizers.Replace(" ", "▁")
    split = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    tokenizer = sentencepiece_like(blanks, split, ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"])
    tokenizer.post_processor = begins_with("<bos>", 2)
    named = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
    return tokenizer, named


def llama3():
    specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
    tokenizer = byte_level(None, LLAMA3_REGEX, specials)
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False), begins_with("<|begin_of_text|>", 0)]
    )
    return tokenizer, {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"}


def qwen():
    """Its turns' tokens stand in tokenizer_config.json alone."""
    tokenizer = byte_level(normalizers.NFC(), LLAMA3_REGEX.replace("{1,3}", ""), ["<|endoftext|>"])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    size = tokenizer.get_vocab_size()
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    added = {
        "0": {"content": "<|endoftext|>", "special": True, **flags},
        str(size): {"content": "<|im_start|>", "special": True, **flags},
        str(size + 1): {"content": "<think>", "special": False, **flags},
    }
    named = {
        "eos_token": "<|endoftext|>",
        "add_bos_token": False,
        "added_tokens_decoder": added,
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
    }
    return tokenizer, named


KINDS = {
    "llama2": (llama2, "PreTrainedTokenizerFast", ["one</s> two<s> three"]),
    "llama2_class": (llama2, "LlamaTokenizerFast", ["one</s> two<s>three", "the</s>house"]),
    "metaspace": (metaspace, "PreTrainedTokenizerFast", ["the</s>house<s> big"]),
    "llama3": (llama3, "PreTrainedTokenizerFast", ["one<|eot_id|> two"]),
    "qwen": (qwen, "Qwen2TokenizerFast", ["a<|im_start|>b<think>c<|im_end|>d"]),
    "gemma": (gemma, "GemmaTokenizerFast", ["one<eos> two", "the<bos>house"]),
}


def row(tokenizer, prompt, completion):
    """The ids of the joined text, and the first token that has a character of the completion."""
    encoded = tokenizer(prompt + completion, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    begin = len(tokenizer("")["input_ids"])
    seam = len(prompt)
    first = next(at for at in range(begin, len(ids)) if offsets[at][1] > seam)
    inside = offsets[first][0] < seam
    of_prompt = tokenizer(prompt)["input_ids"]
    if prompt and not inside and ids[: len(of_prompt)] == of_prompt:
        # TRL counts from the prompt's own tokens.
        assert first == len(of_prompt), (prompt, completion, ids, of_prompt)
    return {"prompt": prompt, "completion": completion, "input_ids": ids, "first_target": first, "is_inside": inside}


def main():
    TARGET.mkdir(parents=True, exist_ok=True)
    golden = {}
    for name, (make, kind, texts) in KINDS.items():
        tokenizer, named = make()
        folder = TARGET / name
        folder.mkdir(exist_ok=True)
        tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
        config = {"tokenizer_class": kind, **named}
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
        loaded = AutoTokenizer.from_pretrained(folder)
        rows = [row(loaded, *pair) for pair in itertools.product(PROMPTS, COMPLETIONS)]
        plain = [{"text": text, "input_ids": loaded(text)["input_ids"]} for text in texts]
        golden[name] = {"rows": rows, "texts": plain}
        inside = sum(one["is_inside"] for one in rows)
        print(f"{name}: {len(rows)} rows, the seam inside a token in {inside}")
    (TARGET / "golden.json").write_text(json.dumps(golden, ensure_ascii=False, indent=None) + "\n")


if __name__ == "__main__":
    main()
