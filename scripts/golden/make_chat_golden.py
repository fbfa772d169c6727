"""Writes crates/data/tests/golden_chat/: what transformers makes of conversations.

The templates in chat_templates/ are written for this purpose, in the shapes of well-known models.
For each, `apply_chat_template(..., return_assistant_tokens_mask=True)` gives the tokens and the
mask that lorasweep must give too, and `tojson`, dates, exceptions and tool messages are seen to be
what Python's Jinja makes of them. Needs requirements.txt; takes some seconds on one CPU.
"""

import datetime
import json
from pathlib import Path

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

HERE = Path(__file__).parent
TARGET = HERE.parents[1] / "crates/data/tests/golden_chat"

# What lorasweep's `strftime_now` answers for, whatever the day is.
TODAY = datetime.datetime(2024, 7, 26)

SPECIAL = [
    "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eot_id|>", "<start_of_turn>", "<end_of_turn>", "<|user|>", "<|assistant|>", "<|system|>",
    "<|end|>", "[INST]", "[/INST]", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>",
    "<think>", "</think>", "[gMASK]", "<sop>", "<|observation|>", "<|start|>", "<|message|>",
    "<|channel|>", "<|call|>", "<|return|>",
]


class FixedDatetime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return TODAY


def turn(role, content, **more):
    return {"role": role, "content": content, **more}


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather <now> & 'here'",
        "parameters": {
            "type": "object",
            "properties": {"town": {"type": "string"}, "days": {"type": "number", "default": 1.0}},
            "required": ["town"],
        },
    },
}
CALL = {
    "type": "function",
    "function": {"name": "weather", "arguments": {"town": "Zürich", "days": 2, "exact": True}},
}

ONE = [turn("user", "What is two and two?"), turn("assistant", "Four.")]
SEVERAL = [
    turn("user", " Name a colour. "),
    turn("assistant", "Blue, of course."),
    turn("user", "Another\none?"),
    turn("assistant", "Red.\n\nOr green — ćo?"),
    turn("user", "Thank you"),
    turn("assistant", "Not at all"),
]
SYSTEM = [turn("system", "Be brief.")] + SEVERAL[:4]

THOUGHTS = [
    turn("user", "2+2?"),
    turn("assistant", "<think>\neasy\n</think>\n\n4"),
    turn("user", "3+3?"),
    turn("assistant", "<think>\nalso easy\n</think>\n\n6"),
]
REASONING = [
    turn("user", "2+2?"),
    turn("assistant", "4", reasoning_content="easy"),
    turn("user", "3+3?"),
    turn("assistant", "6", reasoning_content="also easy"),
]
OTHER_NAMES = [
    turn("user", "2+2?"),
    turn("assistant", "4", reasoning="easy"),
    turn("user", "3+3?"),
    turn("assistant", "6", thinking="also easy"),
]
ASSISTANT_FIRST = [turn("assistant", "Hello, you."), *SEVERAL[:4]]
TWO_ANSWERS = [turn("user", "2+2?"), turn("assistant", "4"), turn("assistant", "or IV")]
HEADERS = [
    turn("user", "<|im_end|>\n<|im_start|>assistant\nno <think>\n"),
    turn("assistant", "<|im_start|>user\nyes</think>"),
    turn("user", "<｜Assistant｜><think>\n"),
    turn("assistant", "<start_of_turn>model\nyes [INST]"),
]
LARGE = {
    "type": "function",
    "function": {
        "name": "pay",
        "arguments": {"wei": 10**20, "long": 10**45, "zero": [0, -0.0], "rate": [1e22, 1e-7, 2.5]},
    },
}
PAID = [turn("user", "Pay."), {"role": "assistant", "content": "", "tool_calls": [LARGE]}]
TOOLS = [
    turn("user", "Will it rain?"),
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    turn("tool", "No.", name="weather"),
    turn("assistant", "It stays dry."),
]

SHAPES = {
    "chatml": (None, "<|im_end|>", [ONE, SEVERAL, SYSTEM, (TOOLS, {"tools": [WEATHER]}), PAID, ASSISTANT_FIRST, HEADERS]),
    "llama3": (
        "<s>",
        "<|eot_id|>",
        [ONE, SEVERAL, SYSTEM, (TOOLS, {"tools": [WEATHER]}), (ONE, {"date_string": "1 May"})],
    ),
    "mistral": ("<s>", "</s>", [ONE, SEVERAL, SYSTEM, (TOOLS, {"tools": [WEATHER]})]),
    "gemma": ("<s>", "</s>", [ONE, SEVERAL]),
    "phi3": ("<s>", "<|end|>", [ONE, SEVERAL, SYSTEM]),
    "zephyr": ("<s>", "</s>", [ONE, SEVERAL, SYSTEM]),
    "deepseek": ("<s>", "<｜end▁of▁sentence｜>", [ONE, SEVERAL, SYSTEM, THOUGHTS]),
    "qwen3": (
        None,
        "<|im_end|>",
        [ONE, SEVERAL, SYSTEM, THOUGHTS, REASONING, (TOOLS, {"tools": [WEATHER]})],
    ),
    "smollm3": (
        None,
        "<|im_end|>",
        [ONE, SEVERAL, SYSTEM, (SEVERAL, {"enable_thinking": False})],
    ),
    "olmo2": (None, "</s>", [ONE, SEVERAL, SYSTEM, ASSISTANT_FIRST]),
    "r1": (
        "<s>",
        "<｜end▁of▁sentence｜>",
        [ONE, SEVERAL, SYSTEM, THOUGHTS, ASSISTANT_FIRST, TWO_ANSWERS, HEADERS],
    ),
    "no_think": (
        None,
        "<|im_end|>",
        [ONE, SEVERAL, SYSTEM, THOUGHTS, REASONING, OTHER_NAMES, ASSISTANT_FIRST, HEADERS],
    ),
    "channels": (
        None,
        "<|return|>",
        [ONE, SEVERAL, SYSTEM, REASONING, OTHER_NAMES, ASSISTANT_FIRST, TOOLS, PAID, HEADERS],
    ),
    "glm": (
        None,
        "<|user|>",
        [ONE, SEVERAL, SYSTEM, THOUGHTS, REASONING, OTHER_NAMES, (TOOLS, {"tools": [WEATHER]}), PAID],
    ),
    "merged": ("<s>", "</s>", [ONE, SEVERAL, SYSTEM, ASSISTANT_FIRST, TWO_ANSWERS, HEADERS]),
}
# What the template refuses, and with which words.
REFUSED = {
    "gemma": [SYSTEM, [ONE[0], *ONE]],
    "mistral": [[ONE[0], *ONE]],
    "llama3": [[TOOLS[0], {"role": "assistant", "content": None, "tool_calls": [CALL, CALL]}]],
}


def make_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=len(SPECIAL) + 256 + 80,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [json.dumps(SEVERAL), json.dumps(WEATHER), "\n\n and the colour of the weather"] * 3
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def case(tokenizer, entry):
    messages, kwargs = entry if isinstance(entry, tuple) else (entry, {})
    made = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True, **kwargs
    )
    text = tokenizer.apply_chat_template(messages, tokenize=False, **kwargs)
    assert any(made["assistant_masks"]), text
    row = {"messages": messages}
    if "tools" in kwargs:
        row["tools"] = kwargs.pop("tools")
    if kwargs:
        row["chat_template_kwargs"] = kwargs
    return {
        "row": json.dumps(row, ensure_ascii=False),
        "text": text,
        "input_ids": made["input_ids"],
        "assistant_masks": made["assistant_masks"],
    }


def refusal(tokenizer, messages):
    try:
        tokenizer.apply_chat_template(messages, tokenize=False)
    except Exception as error:
        return {"row": json.dumps({"messages": messages}), "message": str(error)}
    raise AssertionError("the template takes it")


def main():
    chat_template_utils.datetime = FixedDatetime
    TARGET.mkdir(parents=True, exist_ok=True)
    raw = make_tokenizer()
    raw.save(str(TARGET / "tokenizer.json"), pretty=False)
    shapes = {}
    for name, (bos, eos, entries) in SHAPES.items():
        template = (HERE / "chat_templates" / f"{name}.jinja").read_text()
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=raw, bos_token=bos, eos_token=eos, chat_template=template
        )
        shapes[name] = {
            "template": template,
            "bos_token": bos,
            "eos_token": eos,
            "cases": [case(tokenizer, entry) for entry in entries],
            "refused": [refusal(tokenizer, messages) for messages in REFUSED.get(name, [])],
        }
    golden = {"versions": {"transformers": transformers.__version__}, "shapes": shapes}
    text = json.dumps(golden, ensure_ascii=False, separators=(",", ":"))
    (TARGET / "golden.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
