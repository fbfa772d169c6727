"""The architectures, the adapters on them and how these are trained, for make_golden.py."""

from dataclasses import dataclass, field

import transformers

VOCAB = 61
SEPARATE = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

TINY = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

# Smaller still, so that many architectures stay a light download.
COMPACT = {
    **TINY,
    "vocab_size": 37,
    "hidden_size": 16,
    "intermediate_size": 24,
    "head_dim": 8,
    "pad_token_id": 0,
}


def plain_rope(theta):
    return {"rope_type": "default", "rope_theta": theta}


# Constants such as the rotary base and epsilon differ from each class's defaults, so that a reader
# that ignores the key is found out.
ARCHITECTURES = {
    "llama": lambda: transformers.LlamaConfig(
        **TINY, rms_norm_eps=1e-5, rope_parameters=plain_rope(5000.0)
    ),
    "llama_tied": lambda: transformers.LlamaConfig(
        **{**TINY, "tie_word_embeddings": True},
        head_dim=12,
        rms_norm_eps=1e-6,
        rope_parameters=plain_rope(10000.0),
    ),
    "llama_sharded": lambda: transformers.LlamaConfig(
        **{**TINY, "num_hidden_layers": 3, "num_key_value_heads": 1},
        rms_norm_eps=1e-5,
        rope_parameters=plain_rope(10000.0),
    ),
    "llama_rope_llama3": lambda: transformers.LlamaConfig(
        **TINY,
        rms_norm_eps=1e-5,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    ),
    "qwen2": lambda: transformers.Qwen2Config(
        **TINY, rms_norm_eps=1e-6, rope_parameters=plain_rope(20000.0), use_sliding_window=False
    ),
    "qwen3": lambda: transformers.Qwen3Config(
        **TINY,
        head_dim=12,
        rms_norm_eps=1e-6,
        rope_parameters=plain_rope(20000.0),
        use_sliding_window=False,
    ),
    "mistral": lambda: transformers.MistralConfig(
        **TINY, rms_norm_eps=1e-5, rope_parameters=plain_rope(8000.0), sliding_window=None
    ),
    "mistral_window": lambda: transformers.MistralConfig(
        **COMPACT, rms_norm_eps=1e-5, rope_parameters=plain_rope(8000.0), sliding_window=5
    ),
    "llama_bias": lambda: transformers.LlamaConfig(
        **COMPACT,
        rms_norm_eps=1e-5,
        rope_parameters=plain_rope(3000.0),
        attention_bias=True,
        mlp_bias=True,
    ),
    "llama_rope_linear": lambda: transformers.LlamaConfig(
        **COMPACT,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "linear", "rope_theta": 9000.0, "factor": 3.0},
    ),
    # One sequence is longer than max_position_embeddings. Of two that were, transformers would scale
    # the shorter as the longer if it came after it.
    "llama_rope_dynamic": lambda: transformers.LlamaConfig(
        **{**COMPACT, "max_position_embeddings": 16},
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "dynamic", "rope_theta": 2000.0, "factor": 4.0},
    ),
    "llama_rope_yarn": lambda: transformers.LlamaConfig(
        **COMPACT,
        rms_norm_eps=1e-5,
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 500.0,
            "factor": 4.0,
            "beta_fast": 8.0,
            "beta_slow": 0.5,
            "original_max_position_embeddings": 64,
        },
    ),
    "olmo2": lambda: transformers.Olmo2Config(
        **COMPACT, rms_norm_eps=1e-5, rope_parameters=plain_rope(7000.0)
    ),
    "smollm3": lambda: transformers.SmolLM3Config(
        **COMPACT, rms_norm_eps=1e-6, rope_parameters=plain_rope(6000.0), no_rope_layers=[1, 0]
    ),
    "phi3": lambda: transformers.Phi3Config(
        **COMPACT,
        rms_norm_eps=1e-5,
        rope_parameters={**plain_rope(4000.0), "partial_rotary_factor": 0.5},
        sliding_window=7,
    ),
    "phi3_longrope": lambda: transformers.Phi3Config(
        **{**COMPACT, "hidden_size": 32},
        rms_norm_eps=1e-5,
        original_max_position_embeddings=12,
        rope_parameters={
            **plain_rope(4000.0),
            "rope_type": "longrope",
            "short_factor": [1.0, 1.1, 1.3, 1.6],
            "long_factor": [1.0, 2.1, 3.9, 7.5],
        },
    ),
    # Caps low enough that scores and logits reach them.
    "gemma2": lambda: transformers.Gemma2Config(
        **{**COMPACT, "tie_word_embeddings": True},
        rms_norm_eps=1e-6,
        rope_parameters=plain_rope(5000.0),
        query_pre_attn_scalar=5,
        attn_logit_softcapping=2.0,
        final_logit_softcapping=3.0,
        sliding_window=6,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "gemma3": lambda: transformers.Gemma3TextConfig(
        **{**COMPACT, "tie_word_embeddings": True},
        rms_norm_eps=1e-6,
        rope_parameters={
            "sliding_attention": plain_rope(500.0),
            "full_attention": {"rope_type": "linear", "rope_theta": 50000.0, "factor": 2.0},
        },
        query_pre_attn_scalar=5,
        sliding_window=6,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "llama_variants": lambda: transformers.LlamaConfig(
        **COMPACT, rms_norm_eps=1e-5, rope_parameters=plain_rope(5000.0)
    ),
}

# Modules that other architectures have instead of those of a case.
FUSED = {"q_proj": "qkv_proj", "k_proj": None, "v_proj": None, "gate_proj": "gate_up_proj", "up_proj": None}

# Many published checkpoints keep the rotary base at the top of config.json; transformers 5 nests
# it under `rope_parameters`. Both are in use, so both stand among the golden files.
TOP_LEVEL_ROPE_THETA = {"llama", "qwen2"}
SHARD_SIZE = {"llama_sharded": "40KB"}


@dataclass
class Training:
    """Settings of one 20-step trajectory."""

    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    max_grad_norm: float
    warmup_steps: int = 3
    total_steps: int = 20
    loraplus_lr_ratio: float | None = None


@dataclass
class Case:
    """One adapter and how it is trained."""

    rank: int
    lora_alpha: float
    use_rslora: bool
    target_modules: list
    training: Training
    # What else goes into LoraConfig.
    variant: dict = field(default_factory=dict)


CASES = {
    "adapter": Case(4, 10, False, SEPARATE, Training(5e-3, 0.9, 0.999, 1e-8, 0.01, 1.0)),
    # Strong decay and a higher epsilon, so that a mistake in either moves the losses; a bound that
    # some gradients exceed and others do not.
    "adapter_rslora": Case(
        3, 5, True, ["q_proj", "v_proj", "down_proj"], Training(1e-2, 0.9, 0.99, 1e-3, 0.5, 5.0)
    ),
}

VARIANTS = {
    "loraplus": Case(
        4, 6, False, SEPARATE, Training(5e-3, 0.9, 0.999, 1e-8, 0.3, 1.0, loraplus_lr_ratio=6.0)
    ),
    "layers": Case(
        4,
        10,
        False,
        ["k_proj", "o_proj", "up_proj"],
        Training(5e-3, 0.9, 0.999, 1e-8, 0.01, 1.0),
        {"layers_to_transform": [1]},
    ),
    "patterns": Case(
        4,
        10,
        True,
        ["q_proj", "v_proj", "down_proj"],
        Training(5e-3, 0.9, 0.999, 1e-8, 0.01, 1.0),
        {
            "rank_pattern": {"q_proj": 2, "layers.1.mlp.down_proj": 6},
            "alpha_pattern": {"layers.0.self_attn.v_proj": 3, "down_proj": 17},
        },
    ),
    "dora": Case(
        4,
        10,
        True,
        ["q_proj", "o_proj", "gate_proj", "down_proj"],
        Training(5e-3, 0.9, 0.999, 1e-8, 0.01, 1.0),
        {"use_dora": True},
    ),
}

# With LoRA+, whose optimizer counts the magnitudes among the B matrices. One model has biases, which
# DoRA leaves alone, the other norms over heads.
DORA = {
    "dora": Case(
        4,
        6,
        False,
        SEPARATE,
        Training(5e-3, 0.9, 0.999, 1e-8, 0.1, 1.0, loraplus_lr_ratio=3.0),
        {"use_dora": True},
    ),
}


def cases_of(arch):
    if arch == "llama_variants":
        return VARIANTS
    return {**CASES, **DORA} if arch in {"llama_bias", "qwen3"} else CASES
