"""Trains the demo model and writes its GGUF file.

Needs the dependency group `train` (PyTorch for the CPU, numpy, gguf). The shipped file was made by

    python scripts/train_demo.py --out localllm/_demo/demo.gguf --steps 3000 --threads 1

on one busy core of an AMD EPYC (Zen 4, bfloat16) in 43 minutes: 6.3 million tokens, final loss
0.153 (answers and, with a tenth of the weight, questions), perplexity of the answers in unseen
dialogues 1.055, 53 of 54 tuning questions and 60 of 60 held-out ones right. With the same seed,
steps, threads and precision the same machine gives the same file; `--minutes` depends on its speed.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parent))

from demo_model import export
from demo_model.corpus import Corpus, Dialogue, left_out, questions
from demo_model.model import Llama, Shape
from demo_model.phrases import HERE
from demo_model.questions import right
from demo_model.tokenizer import ASSISTANT, BOS, END, SYSTEM, USER, Tokenizer, train

N_VOCAB = 1280
BATCH_TOKENS = 2048
MUON_RATE = 4e-3
ADAM_RATE = 3e-3
WARMUP_STEPS = 40
QUESTION_WEIGHT = 0.1  # the loss is mostly on answers
_ROLE = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT}


def encode(dialogue: Dialogue, tok: Tokenizer, limit: int) -> tuple[list[int], list[float]]:
    """Token ids of a dialogue as the chat template writes it, and the loss weight of each."""
    ids, weights = [BOS], [0.0]
    for role, text in dialogue:
        body = [*tok.encode(text), END]
        if len(ids) + 1 + len(body) > limit:
            break
        weight = 1.0 if role == "assistant" else QUESTION_WEIGHT
        ids += [_ROLE[role], *body]
        weights += [0.0, *([weight] * len(body))]
    return ids, weights


def batches(corpus: Corpus, tok: Tokenizer, limit: int, seed: int) -> Iterator[tuple[Any, Any]]:
    """Padded batches of about BATCH_TOKENS: ids and weights, both (dialogues, time)."""
    rng = random.Random(seed)
    while True:
        pool = [encode(corpus.dialogue(), tok, limit) for _ in range(1500)]
        pool.sort(key=lambda p: (len(p[0]), p[0]))
        groups: list[list[tuple[list[int], list[float]]]] = [[]]
        for item in pool:
            if groups[-1] and (len(groups[-1]) + 1) * len(item[0]) > BATCH_TOKENS:
                groups.append([])
            groups[-1].append(item)
        rng.shuffle(groups)
        for group in groups:
            width = math.ceil(max(len(ids) for ids, _ in group) / 16) * 16
            ids = torch.full((len(group), width), END)
            weights = torch.zeros(len(group), width)
            for row, (i, w) in enumerate(group):
                ids[row, : len(i)] = torch.tensor(i)
                weights[row, : len(w)] = torch.tensor(w)
            yield ids, weights


def loss_of(model: Any, ids: Any, weights: Any) -> Any:
    """Weighted mean cross-entropy of the next token, in nats."""
    logits = model(ids[:, :-1]).float()
    each = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    w = weights[:, 1:].flatten()
    return (each * w).sum() / w.sum()


@torch.no_grad()
def answer(model: Any, tok: Tokenizer, question: str, n_max: int = 80) -> str:
    """The greedy answer to one question."""
    ids = [BOS, USER, *tok.encode(question), END, ASSISTANT]
    start = len(ids)
    while len(ids) < start + n_max:
        best = int(model(torch.tensor([ids]))[0, -1].argmax())
        if best == END:
            break
        ids.append(best)
    return tok.decode(ids[start:])


def mistakes(model: Any, tok: Tokenizer) -> tuple[list[tuple[str, str]], int]:
    """The tuning questions that are answered wrongly, with the answers; and how many were asked."""
    asked = questions(HERE / "dev.toml", "dev")
    said = [(q["ask"], answer(model, tok, q["ask"]), q["needs"]) for q in asked]
    return [(ask, text) for ask, text, needs in said if not right(text, needs)], len(asked)


@torch.no_grad()
def perplexity(model: Any, tok: Tokenizer, seed: int, limit: int) -> float:
    """Perplexity of the answers in dialogues of another seed."""
    corpus = Corpus(seed, left_out())
    total = count = 0.0
    for _ in range(300):
        ids, weights = encode(corpus.dialogue(), tok, limit)
        answers = torch.tensor([[float(w == 1.0) for w in weights]])
        if answers.sum() > 0:
            total += float(loss_of(model, torch.tensor([ids]), answers)) * float(answers.sum())
            count += float(answers.sum())
    return math.exp(total / count)


def main() -> None:
    """Train, report, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the GGUF file to write")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, default=3000, help="training steps (reproducible)")
    length.add_argument("--minutes", type=float, help="train for a time instead")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--type", choices=("f32", "f16", "q8_0"), default="q8_0")
    parser.add_argument("--precision", choices=("auto", "bf16", "f32"), default="auto")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    # Twice as fast where the processor multiplies bfloat16 itself, much slower where it does not.
    fast = torch.cpu._is_avx512_bf16_supported()  # type: ignore[no-untyped-call,unused-ignore]
    half = args.precision == "bf16" or (args.precision == "auto" and fast)

    sample = Corpus(args.seed + 1000, left_out())
    tok = train((t for _ in range(20000) for _, t in sample.dialogue()), N_VOCAB)
    shape = Shape(n_vocab=len(tok.pieces))
    model = Llama(shape)
    n_params = sum(p.numel() for p in model.parameters())
    print(
        f"{n_params:,} parameters, {len(tok.pieces)} tokens, {'bf16' if half else 'f32'}",
        flush=True,
    )

    matrices = [p for n, p in model.named_parameters() if n.startswith("blk") and p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimisers = [
        torch.optim.Muon(matrices, lr=MUON_RATE, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(
            [
                {"params": [model.token_embd.weight], "weight_decay": 0.1},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=ADAM_RATE,
            betas=(0.9, 0.95),
        ),
    ]
    groups = [(g, g["lr"]) for o in optimisers for g in o.param_groups]
    source = batches(Corpus(args.seed, left_out()), tok, shape.n_ctx_train, args.seed)
    start, step, done, seen, mean = time.monotonic(), 0, 0.0, 0, 0.0
    while done < 1:
        scale = min(1.0, (step + 1) / WARMUP_STEPS)
        scale *= 0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2
        for group, rate in groups:
            group["lr"] = rate * scale
        ids, weights = next(source)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = loss_of(model, ids, weights)
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
        step, seen = step + 1, seen + ids.numel()
        mean = loss.item() if step == 1 else 0.98 * mean + 0.02 * loss.item()
        spent = time.monotonic() - start
        done = spent / (60 * args.minutes) if args.minutes else step / args.steps
        if step % 50 == 0:
            left = spent / done - spent
            if step % 600 == 0 and done < 1:
                wrong, n_asked = mistakes(model, tok)
                print(f"dev {n_asked - len(wrong)} of {n_asked}")
            print(
                f"step {step}  loss {mean:.3f}  {seen / spent:,.0f} tokens/s  {left:.0f} s left",
                flush=True,
            )

    weights_out = {n: p.detach().numpy() for n, p in model.named_parameters()}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = args.out.with_suffix(".part")
    export.write(unfinished, shape, weights_out, tok, args.type)
    os.replace(unfinished, args.out)

    wrong, n_asked = mistakes(model, tok)
    print("\n".join(f"  {ask}\n    {said}" for ask, said in wrong))
    print(
        f"dev {n_asked - len(wrong)} of {n_asked}; {step} steps, {seen:,} tokens, loss {mean:.4f}"
    )
    print(
        f"perplexity of answers {perplexity(model, tok, args.seed + 2000, shape.n_ctx_train):.3f}"
    )
    print(f"{args.out}: {args.out.stat().st_size:,} bytes; {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
