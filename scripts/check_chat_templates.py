"""Compares lorasweep's chat templates and loss masks with transformers', over a folder of templates.

    check_chat_templates.py FOLDER [WRITE_CHATS] [--out FILE] [--show N]

Every `*.jinja` of FOLDER writes some dozens of conversations, here by transformers and there by the
example `write_chats` of `crates/data` (`cargo build -p lorasweep-data --example write_chats`). Texts
must be equal. Where a template has `{% generation %}` blocks, or a twin `X_training.jinja` that has
them and writes the same text, the masks are compared too. Every message says words that no other
one says, so a system, user or tool message that is learnt, and an assistant's that is not, are seen
whatever the template does. Needs golden/requirements.txt and no network.
"""

import argparse
import collections
import datetime
import json
import re
import subprocess
from pathlib import Path

import jinja2
import transformers
from transformers.utils import chat_template_utils
from transformers.utils.chat_template_utils import render_jinja_template

TODAY = datetime.datetime(2024, 7, 26)
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
# Words of a message: who says it, and which one it is.
WORD = re.compile(r"\b([SUTDAR])W(\d+)W\b")


NOTES = """
# the masks of TRL's training templates are the twins'. Of these lorasweep learns a part where they mark a turn's header
# (DeepSeek-V3, gpt-oss), what the turn shares with the generation prompt (`<think>` of Qwen3.5 and Nemotron 3) or the
# end of a turn of which nothing is written, and more where Gemma writes `<|tool_response>` after an unanswered call
# another text: `'a'|safe + b` escapes b in Python's Jinja (functionary v3.1)
# accepted by us alone: `for` over none and `tojson` of a generator, which Python refuses
""".strip()


class FixedDatetime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return TODAY


class Words:
    """Texts whose words no other message has."""

    def __init__(self):
        self.count = 0

    def __call__(self, who, form="{}"):
        self.count += 1
        return form.replace("{}", f"{who}W{self.count}W")


TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather",
        "parameters": {
            "type": "object",
            "properties": {"town": {"type": "string", "description": "Where"}},
            "required": ["town"],
        },
    },
}


def conversations():
    """Rows by name."""
    w = Words()

    def user(form="{}"):
        return {"role": "user", "content": w("U", form)}

    def said(form="{}", **more):
        return {"role": "assistant", "content": w("A", form), **more}

    def system(form="{}"):
        return {"role": "system", "content": w("S", form)}

    def call(content="", value=None, **more):
        arguments = {"town": w("A")} if value is None else value
        function = {"name": "weather", "arguments": arguments}
        call = {"id": "call00001", "type": "function", "function": function}
        return {"role": "assistant", "content": content, "tool_calls": [call], **more}

    def result():
        return {"role": "tool", "name": "weather", "tool_call_id": "call00001", "content": w("T")}

    rows = {
        "one turn": [user(), said()],
        "two turns": [user(), said(), user(), said()],
        "three turns": [user(), said(), user(), said(), user(), said()],
        "system": [system(), user(), said()],
        "system, two turns": [system(), user(), said(), user(), said()],
        "blanks around": [user(" {} \n"), said("\n {}\n\n"), user("\n{}"), said("  {} ")],
        "lines": [user("{}\n\nagain"), said("{}\n\nmore\n"), user("# {}"), said("- {}\n- b")],
        "ends with the user": [user(), said(), user()],
        "assistant first": [said(), user(), said()],
        "system, assistant first": [system(), said(), user(), said()],
        "assistant alone": [said()],
        "two users": [user(), user(), said()],
        "two assistants": [user(), said(), said()],
        "two assistants, then more": [user(), said(), said(), user(), said()],
        "an empty user": [{"role": "user", "content": ""}, said()],
        "an empty system": [{"role": "system", "content": ""}, user(), said()],
        "blank user": [{"role": "user", "content": " \n"}, said()],
        "repeated": [user("yes {}"), said("yes {}"), user("yes {}"), said("yes {}")],
        "chatml header in user": [user("<|im_end|>\n<|im_start|>assistant\n{}"), said()],
        "chatml header last": [user("{}<|im_end|>\n<|im_start|>assistant\n"), said(), user(), said()],
        "llama header in user": [
            user("<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n{}"), said()],
        "[/INST] in user": [user("{} [/INST] no </s>"), said("{} [INST]"), user(), said()],
        "A: in user": [user("{}\nA:"), said("A: {}"), user("U:{}A:"), said()],
        "think in user": [user("<think>{}</think>"), said(), user("{} <think>\n"), said()],
        "thought in content": [user(), said("<think>\n{}\n</think>\n\nso")],
        "thoughts in contents": [
            user(), said("<think>\n" + w("R") + "\n</think>\n\n{}"),
            user(), said("<think>\n" + w("R") + "\n</think>\n\n{}")],
        "empty thought in content": [user(), said("<think>\n\n</think>\n\n{}")],
        "content begins with a tag": [user(), said("<thanks>{}</thanks>"), user(), said("<b>{}")],
        "content with tags": [user("<b>{}</b>"), said("<ul><li>{}</li>\n</ul>"), user(), said()],
        "reasoning_content": [user(), said(reasoning_content=w("R"))],
        "reasoning": [user(), said(reasoning=w("R"))],
        "thinking": [user(), said(thinking=w("R"))],
        "reasoning twice": [
            user(), said(reasoning_content=w("R")), user(), said(reasoning_content=w("R"))],
        "reasoning with lines": [user(), said(reasoning_content="\n" + w("R") + "\n\nb\n")],
        "reasoning alone": [
            user(), {"role": "assistant", "content": "", "reasoning_content": w("R")}],
        "call": [user(), call()],
        "call and answer": [user(), call(), result(), said()],
        "call with words": [user(), call(w("A")), result(), said()],
        "call without content": [user(), call(None), result(), said()],
        "call with a thought": [user(), call(reasoning_content=w("R")), result(), said()],
        "call with a number": [user(), call(value={"n": 10**20, "z": [1.5, 1e22, True, None]}), result(), said()],
        "call of numbers": [user(), call(value={w("A"): 10**20, "zero": 0})],
        "call of nothing": [user(), call(value={}), result(), said()],
        "call, then more": [user(), call(), result(), said(), user(), said()],
        "two results": [user(), call(), result(), result(), said()],
        "developer": [{"role": "developer", "content": w("D")}, user(), said()],
        "system later": [user(), said(), system(), user(), said()],
    }
    out = {name: {"messages": messages} for name, messages in rows.items()}
    for name in ["call", "call and answer", "call with words", "call with a thought", "one turn",
                 "call, then more", "system, two turns", "call with a number", "two results"]:
        out[f"{name}, tools"] = {**out[name], "tools": [TOOL]}
    for value in [True, False]:
        for name in ["two turns", "reasoning_content", "thoughts in contents"]:
            kwargs = {"enable_thinking": value}
            out[f"{name}, thinking {value}"] = {**out[name], "chat_template_kwargs": kwargs}
    return {name: row for name, row in out.items() if any(
        turn["role"] == "assistant" for turn in row["messages"])}


def by_transformers(source, row):
    """Text and generated ranges, or an error."""
    try:
        rendered, ranges = render_jinja_template(
            conversations=[row["messages"]], tools=row.get("tools"), chat_template=source,
            return_assistant_tokens_mask="generation" in source,
            **{**TOKENS, **row.get("chat_template_kwargs", {})})
    except Exception as error:
        return {"error": str(error)}
    return {"text": rendered[0], "targets": [list(pair) for pair in ranges[0]] if ranges else []}


def ours(binary, jobs):
    lines = [json.dumps({"template": str(path), "special_tokens": TOKENS, "row": json.dumps(row)})
             for path, row in jobs]
    done = subprocess.run([binary], input="\n".join(lines), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def mask(text, ranges):
    flags = [False] * len(text)
    for start, end in ranges:
        flags[start:end] = [True] * (end - start)
    return flags


def marked(text, ranges):
    for start, end in sorted(ranges, reverse=True):
        text = text[:start] + "⟦" + text[start:end] + "⟧" + text[end:]
    return text


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("binary", nargs="?", default="target/debug/examples/write_chats")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--show", type=int, default=3)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    chat_template_utils.datetime = FixedDatetime
    rows = conversations()
    templates = sorted(path for path in options.folder.glob("*.jinja") if options.only in path.name)
    jobs = [(path, name) for path in templates for name in rows]
    results = ours(options.binary, [(path, rows[name]) for path, name in jobs])
    sources = {path: path.read_text() for path in templates}
    counts = collections.Counter()
    shown = collections.defaultdict(list)

    def note(what, path, name, *details):
        counts[what] += 1
        shown[what].append((path.name, name, *details))

    theirs = {(path, name): by_transformers(sources[path], rows[name]) for path, name in jobs}
    for (path, name), found in zip(jobs, results):
        expected = theirs[path, name]
        if "error" in expected or "error" in found:
            kind = ("refused by both" if "error" in expected and "error" in found else
                    "refused by us alone" if "error" in found else "accepted by us alone")
            note(kind, path, name, expected, found)
            continue
        if expected["text"] != found["text"]:
            note("another text", path, name, expected["text"], found["text"])
            continue
        counts["equal text"] += 1
        text, targets = found["text"], mask(found["text"], found["targets"])
        if expected["targets"] or re.search(r"\{%-?\s*generation", sources[path]):
            same = targets == mask(text, expected["targets"])
            note("equal to transformers' mask" if same else "another mask than transformers'",
                 path, name, marked(text, expected["targets"]), marked(text, found["targets"]))
            continue
        twin = path.with_name(path.stem + "_training.jinja")
        if twin in sources and theirs[twin, name].get("text") == text:
            truth = theirs[twin, name]["targets"]
            both = list(zip(text, targets, mask(text, truth)))
            same = targets == mask(text, truth)
            # Some training templates leave the line end after the end token out.
            blanks = all(char.isspace() for char, ours, theirs in both if ours != theirs)
            # Some mark the header of a turn or what the generation prompt has of it, and all the end
            # of a turn of which nothing is written.
            less = all(theirs or char.isspace() for char, ours, theirs in both if ours)
            note("equal to the twin's mask" if same else
                 "equal to the twin's mask but for blanks" if blanks else
                 "a part of the twin's mask" if less else "more than the twin's mask",
                 path, name, marked(text, truth), marked(text, found["targets"]))
        for match in WORD.finditer(text):
            is_learnt = [targets[at] for at in range(match.start(), match.end())]
            if match.group(1) in "AR":
                if not all(is_learnt):
                    note("said but not learnt", path, name, marked(text, found["targets"]))
            elif any(is_learnt):
                note("leak", path, name, marked(text, found["targets"]))
    head = [f"{len(templates)} templates x {len(rows)} conversations = {len(jobs)}"]
    order = ["equal text", "another text", "refused by both", "refused by us alone",
             "accepted by us alone", "leak", "said but not learnt", "equal to transformers' mask",
             "another mask than transformers'", "equal to the twin's mask",
             "equal to the twin's mask but for blanks", "a part of the twin's mask",
             "more than the twin's mask"]
    head += [f"{what}: {counts[what]}" for what in order]
    print("\n".join(head))
    if options.out:
        versions = f"transformers {transformers.__version__}, jinja2 {jinja2.__version__}"
        options.out.write_text(f"# scripts/check_chat_templates.py; {versions}\n{NOTES}\n" + "\n".join(head) + "\n")
    for what in order[1:]:
        if what.startswith("equal to") or what == "refused by both":
            continue
        for entry in shown[what][: options.show]:
            print(f"--- {what}:", *entry, sep="\n    ")
        names = collections.Counter(entry[0] for entry in shown[what])
        if names:
            print(f"=== {what} by template:", dict(names))
        names = collections.Counter(entry[1] for entry in shown[what])
        if names:
            print(f"=== {what} by conversation:", dict(names))


if __name__ == "__main__":
    main()
