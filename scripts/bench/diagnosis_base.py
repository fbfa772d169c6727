#!/usr/bin/env python3
"""Makes the second base model of the benchmark of diagnoses: smaller than the quickstart's and
pre-trained on a sixth of its rows, so that fine-tuning starts from other features.

    python diagnosis_base.py results/diagnosis-base

About three minutes on one core. Needs what scripts/example/pretrain.py needs.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "example"))

import pretrain  # noqa: E402
import torch  # noqa: E402
from make_data import pretraining_rows, retention_rows  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

SEED = 7
ROWS = 40_000


def build_model():
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=pretrain.VOCAB,
            hidden_size=96,
            intermediate_size=256,
            num_hidden_layers=3,
            num_attention_heads=3,
            num_key_value_heads=3,
            max_position_embeddings=256,
            rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
            tie_word_embeddings=True,
            initializer_range=0.05,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )


def main(output):
    output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    rows = pretraining_rows(ROWS, SEED)
    tokenizer = pretrain.train_tokenizer(rows)
    pretrain.write_tokenizer(tokenizer, output)
    model = build_model()
    settings = argparse.Namespace(learning_rate=3e-3, batch_size=48, seed=SEED)
    held_out = pretrain.encode(tokenizer, retention_rows())
    pretrain.pretrain(model, pretrain.encode(tokenizer, rows), held_out, settings)
    pretrain.save(model, output)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
