#!/usr/bin/env python3
"""Makes the quickstart's base model: a byte-level BPE tokenizer and a Llama of 1.2 M parameters,
pre-trained from scratch on the skills of skills.py. Writes sweeps/quickstart/base.

Repeatable on one machine: same seed, same thread count, same versions. Needs
../golden/requirements.txt.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
from make_data import OUTPUT, pretraining_rows, retention_rows
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

VOCAB = 1024
PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
IGNORED = -100


def train_tokenizer(rows):
    """Byte-level BPE in which every digit is a token of its own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((p + c for p, c in rows), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return tokenizer


def write_tokenizer(tokenizer, directory):
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "model_max_length": 256,
        "clean_up_tokenization_spaces": False,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def encode(tokenizer, rows):
    """Rows as (ids, prompt length): bos, prompt, completion, eos, as lorasweep tokenises them."""
    prompts = tokenizer.encode_batch([p for p, _ in rows])
    completions = tokenizer.encode_batch([c for _, c in rows], add_special_tokens=False)
    eos = tokenizer.token_to_id(EOS)
    return [
        (prompt.ids + completion.ids + [eos], len(prompt.ids))
        for prompt, completion in zip(prompts, completions, strict=True)
    ]


def collate(rows):
    """Input ids and labels, padded to the longest; only completions and eos have labels."""
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORED)
    for i, (tokens, prompt) in enumerate(rows):
        ids[i, : len(tokens)] = torch.tensor(tokens)
        labels[i, prompt : len(tokens)] = ids[i, prompt : len(tokens)]
    return ids, labels


def batches_of_like_length(rows, batch_size, generator):
    """Shuffled batches, each of rows of nearly one length, so that little is padding."""
    pool = batch_size * 32
    for start in range(0, len(rows) - pool + 1, pool):
        chunk = sorted(rows[start : start + pool], key=lambda row: len(row[0]))
        for b in torch.randperm(32, generator=generator).tolist():
            yield collate(chunk[b * batch_size : (b + 1) * batch_size])


def build_model():
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB,
            hidden_size=128,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
            tie_word_embeddings=False,
            initializer_range=0.05,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )


def loss_of(model, ids, labels):
    """Mean loss over targets; the head runs only where there is a target."""
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    targets = labels[:, 1:]
    chosen = targets != IGNORED
    logits = model.lm_head(hidden[chosen])
    return logits, targets[chosen], cross_entropy(logits, targets[chosen])


@torch.no_grad()
def evaluate(model, rows):
    """Loss per target token, and the share of rows whose every target is the likeliest token."""
    model.eval()
    total, targets_seen, exact = 0.0, 0, 0
    for row in rows:
        logits, targets, loss = loss_of(model, *collate([row]))
        total += loss.item() * len(targets)
        targets_seen += len(targets)
        exact += bool((logits.argmax(-1) == targets).all())
    model.train()
    return total / targets_seen, exact / len(rows)


def pretrain(model, train, held_out, settings):
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.05
    )
    total = len(train) // (settings.batch_size * 32) * 32
    warmup = total // 20
    generator = torch.Generator().manual_seed(settings.seed)
    began, tokens = time.monotonic(), 0
    batches = batches_of_like_length(train, settings.batch_size, generator)
    for step, (ids, labels) in enumerate(batches):
        cosine = 0.5 * (1 + math.cos(math.pi * step / total))
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * min((step + 1) / warmup, 1.0) * cosine
        _, _, loss = loss_of(model, ids, labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        tokens += ids.numel()
        if step % 200 == 0 or step == total - 1:
            held_out_loss, exact = evaluate(model, held_out)
            print(
                f"step {step}/{total} loss {loss.item():.3f} held out {held_out_loss:.3f}"
                f" exact {exact:.0%} {tokens / (time.monotonic() - began):,.0f} tokens/s",
                flush=True,
            )


def save(model, directory):
    """Half precision halves the file; rounding moves the loss by less than a thousandth."""
    model.half().save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=OUTPUT / "base")
    parser.add_argument("--rows", type=int, default=240_000)
    parser.add_argument("--batch-size", type=int, default=48)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    settings.output.mkdir(parents=True, exist_ok=True)

    rows = pretraining_rows(settings.rows, settings.seed)
    tokenizer = train_tokenizer(rows[:50_000])
    write_tokenizer(tokenizer, settings.output)
    print(f"{tokenizer.get_vocab_size()} tokens in the vocabulary")
    model = build_model()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    held_out = encode(tokenizer, retention_rows())
    pretrain(model, encode(tokenizer, rows), held_out, settings)
    before, exact = evaluate(model, held_out)
    save(model, settings.output)
    after, _ = evaluate(model.float(), held_out)
    print(f"held out {before:.4f} ({exact:.0%} exact), saved in half precision {after:.4f}")


if __name__ == "__main__":
    main()
