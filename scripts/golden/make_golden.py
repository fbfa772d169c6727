#!/usr/bin/env python3
"""Writes the golden files that hold lorasweep's trainer to transformers + peft.

For each architecture: a tiny random base model, two LoRA adapters on it, and what transformers and
peft compute with them: logits, loss, the gradient of every adapter tensor, and 20 AdamW steps.
README.md beside this file documents the layout.

    python make_golden.py                  # every architecture
    python make_golden.py llama qwen3      # only these
"""

import argparse
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import peft
import torch
import transformers
from cases import ARCHITECTURES, FUSED, SHARD_SIZE, TOP_LEVEL_ROPE_THETA, VOCAB, cases_of
from peft.optimizers import create_loraplus_optimizer
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy

OUTPUT = Path(__file__).resolve().parents[2] / "crates" / "trainer" / "tests" / "golden"
SEED = 20250


def randomise(model, generator):
    """Weights that give logits of order one: small initialisations hide mistakes."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("norm.weight"):
            # Gemma multiplies by 1 + weight.
            value = (0 if "gemma" in model.config.model_type else 1) + 0.3 * noise
        elif name.endswith(".bias"):
            value = 0.3 * noise
        elif "embed_tokens" in name or "lm_head" in name:
            value = 0.4 * noise
        else:
            value = 1.5 * noise / parameter.shape[1] ** 0.5
        parameter.data.copy_(value)


def write_model(arch, directory, generator):
    model = transformers.AutoModelForCausalLM.from_config(ARCHITECTURES[arch](), dtype=torch.float32)
    randomise(model, generator)
    model.save_pretrained(directory, max_shard_size=SHARD_SIZE.get(arch, "1GB"))
    (directory / "generation_config.json").unlink(missing_ok=True)
    if arch in TOP_LEVEL_ROPE_THETA:
        path = directory / "config.json"
        config = json.loads(path.read_text())
        config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
        config["torch_dtype"] = config.pop("dtype")
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def targets(case, config):
    """The case's modules as the model has them."""
    if config.model_type != "phi3":
        return case.target_modules
    named = [FUSED.get(module, module) for module in case.target_modules]
    return [module for module in named if module is not None]


def write_adapter(model_dir, directory, case, generator):
    base = transformers.AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    # Recorded in adapter_config.json; relative, so that the file says nothing of this machine.
    base.name_or_path = base.config.name_or_path = "../model"
    model = peft.get_peft_model(
        base,
        peft.LoraConfig(
            r=case.rank,
            lora_alpha=case.lora_alpha,
            use_rslora=case.use_rslora,
            target_modules=targets(case, base.config),
            lora_dropout=0.0,
            bias="none",
            task_type="CAUSAL_LM",
            **case.variant,
        ),
    )
    for name, parameter in lora_parameters(model):
        noise = torch.randn(parameter.shape, generator=generator)
        if "magnitude" in name:
            # Away from the norms of the weights, which it begins with.
            parameter.data.mul_(1 + 0.2 * noise)
            continue
        std = 1 / parameter.shape[1] ** 0.5 if "lora_A" in name else 0.1
        parameter.data.copy_(std * noise)
    model.save_pretrained(directory)
    (directory / "README.md").unlink(missing_ok=True)
    sort_target_modules(directory / "adapter_config.json")


def sort_target_modules(path):
    """peft keeps targets in a set, whose order differs from run to run."""
    config = json.loads(path.read_text())
    config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def lora_parameters(model):
    return [(name, p) for name, p in model.named_parameters() if "lora_" in name]


def tensor_key(parameter_name):
    """A parameter's name as peft writes it to adapter_model.safetensors."""
    name = parameter_name.replace(".default", "")
    return name.removesuffix(".weight") if "magnitude" in name else name


def use_full_precision_norms(model):
    """transformers' RMSNorm computes in f32 whatever the weights are; keep f64 throughout."""

    def forward(self, x):
        eps = self.eps if hasattr(self, "eps") else self.variance_epsilon
        offset = 1 if "Gemma" in type(self).__name__ else 0
        return (offset + self.weight) * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps))

    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = forward.__get__(module)


def load(model_dir, dtype, adapter_dir=None):
    # Torch's own attention knows no soft cap.
    gemma2 = json.loads((model_dir / "config.json").read_text())["model_type"] == "gemma2"
    model = transformers.AutoModelForCausalLM.from_pretrained(
        model_dir, dtype=dtype, attn_implementation="eager" if gemma2 else "sdpa"
    )
    if adapter_dir is not None:
        model = peft.PeftModel.from_pretrained(
            model, adapter_dir, is_trainable=True, autocast_adapter_dtype=False
        )
        for _, parameter in lora_parameters(model):
            parameter.data = parameter.data.to(dtype)
    if dtype == torch.float64:
        use_full_precision_norms(model)
    return model.eval()


def make_sequences(generator, vocab):
    """Sequences of different lengths; `loss_mask[i] = 1` makes token i a target, so never i = 0."""

    def tokens(length):
        return [1, *torch.randint(3, vocab, (length - 1,), generator=generator).tolist()]

    def row(length, targets):
        return {
            "input_ids": tokens(length),
            "loss_mask": [int(i in targets) for i in range(length)],
        }

    return [
        row(11, range(5, 11)),
        row(5, range(1, 5)),
        row(23, [*range(4, 9), *range(14, 23)]),
        row(2, [1]),
        row(9, [8]),
        row(14, range(2, 14)),
    ]


def make_batches(generator, count, sequences):
    """Per step two micro-batches (two sequences, then one) of the step's batch of three."""
    batches = []
    for _ in range(count):
        order = torch.randperm(len(sequences), generator=generator)[:3].tolist()
        batches.append([order[:2], order[2:]])
    return batches


def forward(model, sequence):
    """Logits [T, V] of one sequence and the sum of its targets' negative log-likelihoods."""
    ids = torch.tensor(sequence["input_ids"])
    logits = model(input_ids=ids[None], use_cache=False).logits[0]
    is_target = torch.tensor(sequence["loss_mask"])[1:].bool()
    nll = cross_entropy(logits[:-1][is_target], ids[1:][is_target], reduction="sum")
    return logits, nll


def count_targets(sequences):
    return sum(sum(s["loss_mask"]) for s in sequences)


def evaluate(model, sequences):
    """Logits of each sequence and the mean loss over all target tokens."""
    results = [forward(model, s) for s in sequences]
    loss = sum(nll for _, nll in results) / count_targets(sequences)
    return [logits for logits, _ in results], loss


def train(model, sequences, batches, settings):
    """The trajectory: at each step the loss before the update, gradient norm and learning rate."""
    parameters = [p for _, p in lora_parameters(model)]
    constants = {
        "lr": settings.learning_rate,
        "betas": (settings.beta1, settings.beta2),
        "eps": settings.epsilon,
    }
    if settings.loraplus_lr_ratio is None:
        optimizer = torch.optim.AdamW(
            parameters, weight_decay=settings.weight_decay, **constants
        )
    else:
        optimizer = create_loraplus_optimizer(
            model,
            torch.optim.AdamW,
            loraplus_lr_ratio=settings.loraplus_lr_ratio,
            loraplus_weight_decay=settings.weight_decay,
            **constants,
        )
    scheduler = transformers.get_linear_schedule_with_warmup(
        optimizer, settings.warmup_steps, settings.total_steps
    )
    history = {"loss": [], "grad_norm": [], "learning_rate": []}
    for micro_batches in batches:
        targets = count_targets(sequences[i] for batch in micro_batches for i in batch)
        total = 0.0
        optimizer.zero_grad()
        for batch in micro_batches:
            loss = sum(forward(model, sequences[i])[1] for i in batch) / targets
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
        history["loss"].append(total)
        history["grad_norm"].append(norm.item())
        history["learning_rate"].append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return history


def relative_difference(a, b):
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


def check_against_f32(model_dir, adapter_dir, sequences, logits, loss, gradients):
    """The f64 reference has to be what unmodified transformers computes in f32."""
    model = load(model_dir, torch.float32, adapter_dir)
    logits_f32, loss_f32 = evaluate(model, sequences)
    for ours, theirs in zip(logits, logits_f32, strict=True):
        assert relative_difference(ours, theirs) < 1e-5
    assert abs(loss.item() - loss_f32.item()) < 1e-5 * loss.item()
    loss_f32.backward()
    for name, parameter in lora_parameters(model):
        assert parameter.grad.abs().max() > 0, f"{name} has no gradient"
        assert relative_difference(gradients[tensor_key(name)], parameter.grad) < 1e-4, name
    return loss_f32.item()


def gentler(case):
    """In a model so small, rounding grows along a steep trajectory."""
    training = replace(case.training, learning_rate=0.2 * case.training.learning_rate)
    return replace(case, training=training)


def stored_logits(name, logits, vocab):
    """Those of every sequence; of a compact model those of the longest alone."""
    longest = max(range(len(logits)), key=lambda i: len(logits[i]))
    kept = range(len(logits)) if vocab == VOCAB else [longest]
    return {f"{name}.logits.{i}": logits[i] for i in kept}


def run_case(name, case, directory, sequences, batches, tensors):
    model_dir, adapter_dir = directory / "model", directory / name
    model = load(model_dir, torch.float64, adapter_dir)
    logits, loss = evaluate(model, sequences)
    loss.backward()
    gradients = {tensor_key(n): p.grad.clone() for n, p in lora_parameters(model)}
    loss_f32 = check_against_f32(model_dir, adapter_dir, sequences, logits, loss, gradients)

    model = load(model_dir, torch.float64, adapter_dir)
    saved = load_file(adapter_dir / "adapter_model.safetensors")
    assert saved.keys() == gradients.keys()
    history = train(model, sequences, batches, case.training)

    tensors.update(stored_logits(name, logits, model.config.vocab_size))
    for key, value in gradients.items():
        tensors[f"{name}.grad.{key}"] = value
    for parameter_name, parameter in lora_parameters(model):
        tensors[f"{name}.final.{tensor_key(parameter_name)}"] = parameter
    settings = {**asdict(case), "target_modules": targets(case, model.config)}
    if case.training.loraplus_lr_ratio is None:
        del settings["training"]["loraplus_lr_ratio"]
    if not case.variant:
        del settings["variant"]
    return {**settings, "loss": loss.item(), "loss_f32": loss_f32, "trajectory": history}


def make(arch):
    directory = OUTPUT / arch
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    generator = torch.Generator().manual_seed(SEED + list(ARCHITECTURES).index(arch))
    write_model(arch, directory / "model", generator)
    vocab = json.loads((directory / "model" / "config.json").read_text())["vocab_size"]
    sequences = make_sequences(generator, vocab)
    steps = next(iter(cases_of(arch).values())).training.total_steps
    batches = make_batches(generator, steps, sequences)

    tensors = {}
    with torch.no_grad():
        logits, base_loss = evaluate(load(directory / "model", torch.float64), sequences)
    tensors.update(stored_logits("base", logits, vocab))

    cases = {}
    for name, case in cases_of(arch).items():
        if vocab != VOCAB:
            case = gentler(case)
        write_adapter(directory / "model", directory / name, case, generator)
        cases[name] = run_case(name, case, directory, sequences, batches, tensors)
    golden = {
        "versions": {m.__name__: m.__version__ for m in (torch, transformers, peft)},
        "sequences": sequences,
        "batches": batches,
        "base": {"loss": base_loss.item()},
        "cases": cases,
    }
    (directory / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    save_file(
        {k: v.detach().to(torch.float32).contiguous() for k, v in tensors.items()},
        directory / "golden.safetensors",
    )
    report(arch, directory, golden)


def report(arch, directory, golden):
    size = sum(f.stat().st_size for f in directory.rglob("*") if f.is_file())
    print(f"{arch}: {size / 1000:.0f} KB, base loss {golden['base']['loss']:.4f}")
    for name, case in golden["cases"].items():
        losses, norms = case["trajectory"]["loss"], case["trajectory"]["grad_norm"]
        clipped = sum(n > case["training"]["max_grad_norm"] for n in norms)
        print(
            f"  {name}: loss {case['loss']:.4f}, training {losses[0]:.4f} -> {losses[-1]:.4f}, "
            f"clipped in {clipped} of {len(norms)} steps"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("architectures", nargs="*", help=f"of {', '.join(ARCHITECTURES)}")
    chosen = parser.parse_args().architectures or list(ARCHITECTURES)
    unknown = sorted(set(chosen) - set(ARCHITECTURES))
    if unknown:
        parser.error(f"unknown architecture {unknown[0]}; there are {', '.join(ARCHITECTURES)}")
    torch.set_num_threads(1)
    for arch in chosen:
        make(arch)


if __name__ == "__main__":
    main()
