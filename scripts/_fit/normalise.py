"""A row of the public collection -> our own fact records, or the reason why it gives none.

A record is plain and compact (it is a line of ``scripts/facts/throughput.jsonl``); ``facts.py``
makes values of the core of it. A key that is missing has its usual value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from _fit.hosts import read_host
from _fit.names import gpu_names, model_name, tables
from _fit.placement import Placed, read_placement
from _fit.texts import (
    Command,
    Test,
    any_of,
    era_of,
    foreign_quant,
    number,
    quant_of,
    read_command,
    read_test,
    text,
    whole,
)

Row = Mapping[str, Any]
Record = dict[str, Any]

USER_REPORTED = ("localmaxxing", "llmfit-community")
_BENCHED = ("XiongjieDai", "scoreboard", "kyuz0", "geerling", "hilbertraum", "dgx-spark", "4x3090")
_GROUPS = {"llmfit#774": "Akciali", "llmfit#775": "Akciali"}
"""Rows of one person under several names."""
_ENGINES = (
    ("ktransformers", r"ktransformers"),
    ("exllama", r"exllama|exl[23]\b|tabby"),
    ("vllm", r"\bvllm\b"),
    ("sglang", r"sglang"),
    ("mlx", r"\bmlx\b"),
    ("TensorRT-LLM", r"tensorrt|\btrt"),
    ("llamafile", r"llamafile"),
    ("a fork of llama.cpp", r"turbo-?quant|moe-cache|turbo\d"),
    ("ik_llama.cpp", r"ik_llama"),
    ("transformers", r"^hf$|transformers"),
    ("a script", r"^python3? "),
)
_BACKENDS = (
    ("vulkan", r"vulkan"),
    ("rocm", r"rocm|\bhip"),
    ("metal", r"metal"),
    ("cuda", r"cuda"),
    ("other", r"sycl|opencl|cann|musa"),
    ("cpu", r"\bcpu\b"),
)
_BROKEN = r"broken|invalid|impossible|thrash|throttl|wrong|battery|power state|mislabel"
_SPECULATIVE = ("--draft", "--draft-max", "--draft-n", "-md", "--model-draft", "--spec-type")
_SPECULATIVE_WORDS = r"--spec|--mtp|-mtp-|draft[-_]mtp|eagle|lookup-decoding|dflash"


class LeftOut(NamedTuple):
    """A row, or one of its tests, that gives no fact."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What all tests of a row share."""

    row: Row
    command: Command
    common: Record
    n_ctx: int | None


def normalise(rows: Iterable[Row]) -> tuple[list[Record], list[LeftOut]]:
    """Return the facts of public rows, repeated ones once, and what was left out."""
    records: list[Record] = []
    left: list[LeftOut] = []
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            left.append(LeftOut(f"row {index}", "not an object"))
            continue
        made, lost = normalise_row(row, index)
        records += made
        left += lost
    return _without_repeats(records, left)


def normalise_row(row: Row, index: int = 0) -> tuple[list[Record], list[LeftOut]]:
    """Return the facts of one row, and its tests that give none."""
    row_id = str(row.get("id") or f"row {index}")
    correction = tables()["rows"].get(row_id, {})
    if "drop" in correction:
        return [], [LeftOut(row_id, str(correction["drop"]))]
    row = {**row, **{key: correction[key] for key in correction if key != "why"}}
    read = _read(row, row_id)
    if isinstance(read, str):
        return [], [LeftOut(row_id, read)]
    records: list[Record] = []
    left: list[LeftOut] = []
    tests = row.get("tests")
    for name, value in (tests if isinstance(tests, Mapping) else {}).items():
        test = read_test(str(name), value)
        record = "no test of decode or prefill" if test is None else _record(read, test)
        if isinstance(record, str):
            left.append(LeftOut(f"{row_id}/{name}", record))
        elif not any(_same_test(record, other) for other in records):
            records.append({"id": f"{row_id}/{str(name).replace(' ', '')}"} | record)
    if not records and not left:
        left.append(LeftOut(row_id, "no figure"))
    return records, left


def _read(row: Row, row_id: str) -> _Read | str:
    """Read what all tests of a row share, or say why it cannot be used."""
    command = read_command(text(row, "cmd"))
    unusable = _unusable(row, command)
    if unusable:
        return unusable
    model = _model(row, command)
    if isinstance(model, str):
        return model
    machine = _machine(row, command)
    if isinstance(machine, str):
        return machine
    placed = read_placement(row, command, on_gpu=bool(machine.get("gpus")))
    if isinstance(placed, str):
        return placed
    source = text(row, "source")
    common: Record = {
        "source": source,
        "group": _group(row),
        "tier": _tier(row),
        **model,
        **machine,
        **_placed(placed),
        **_settings(row, command),
        "era": era_of(text(row, "date"), text(row, "build", "runner"), source),
    }
    if number(row.get("power_cap_w")):
        common["power_cap_w"] = number(row.get("power_cap_w"))
    for key in ("build", "date"):
        if row.get(key):
            common[key] = str(row[key])
    n_ctx = whole(row.get("n_ctx")) or whole(command.value("-c", "--ctx-size"))
    return _Read(row=row, command=command, common=common, n_ctx=n_ctx)


def _unusable(row: Row, command: Command) -> str | None:
    """Say why nothing of a row can be used, if so."""
    if row.get("oom"):
        return "out of memory: no figure"
    if not isinstance(row.get("tests"), Mapping) or not row["tests"]:
        return "no figure"
    engine = _engine(row)
    if engine:
        return f"another engine: {engine}"
    split = text(row, "split_mode") or command.value("-sm", "--split-mode") or ""
    told = any_of(
        [r"\(tensor split\)", r"-sm (row|tensor)", r"split-mode row", r"\(tp\)"],
        text(row, "gpu", "offload"),
    )
    if split.lower() in ("row", "tensor", "graph") or told:
        return f"split by {split.lower() if split and not told else told}, not by layers"
    spoken = " ".join(command.words)
    if row.get("spec_decode") or command.has(*_SPECULATIVE) or any_of([_SPECULATIVE_WORDS], spoken):
        return "speculative decoding"
    if row.get("outlier"):
        return "marked as an outlier"
    quality = text(row, "quality")
    if any_of([_BROKEN], text(row, "note")):
        return "marked in its note: " + text(row, "note")
    if any_of([_BROKEN], quality) and not any_of(["usable", "columns"], quality):
        return f"marked broken: {quality}"
    if command.value("-m", "--model") == "":
        return "the command names no model: whatever it ran is not what the row says"
    if (concurrent := number(row.get("concurrency"))) and concurrent > 1:
        return "several requests at once"
    return None


def _engine(row: Row) -> str | None:
    """Return the engine if it is not llama.cpp, nor something that is llama.cpp inside."""
    if text(row, "build").startswith("llama.cpp"):
        return None
    where = [
        text(row, "engine"),
        text(row, "runner"),
        text(row, "backend"),
        text(row, "provider"),
        text(row, "build"),
        text(row, "offload"),
        text(row, "quant"),
        text(row, "kv_cache"),
        text(row, "model"),
        text(row, "cmd"),
    ]
    for name, pattern in _ENGINES:
        if any(re.search(pattern, each, re.IGNORECASE) for each in where):
            return name
    if "ik_llama" in text(row, "source") and "mainline" not in text(row, "runner", "note"):
        return "ik_llama.cpp"
    if re.match(r"# Remote endpoint", text(row, "cmd")) and ":" not in text(row, "cmd")[-40:]:
        return "unknown"
    return None


def _model(row: Row, command: Command) -> Record | str:
    """Return the known model with its quantisation and what the file weighs."""
    file = command.value("-m", "--model", "-hf", "-hfr", "--hf-repo") or ""
    told = [file, text(row, "gguf_file"), text(row, "model"), text(row, "hf_id").partition("/")[2]]
    params_b = number(row.get("params_b"))
    names = [each for each in told if each]
    found = next((name for each in names if (name := model_name(each, params_b))), None)
    if found is None:
        return f"no shape of the model: {text(row, 'model')}"
    quant = _quant(row, file, found)
    if isinstance(quant, str):
        return quant
    record: Record = {"model": f"{found}:{quant[0]}"}
    if quant[1] != quant[0]:
        record["quant_told"] = quant[1]
    size = number(row.get("gguf_size_gib"))
    if size:
        record["file_bytes"] = round(size * 2**30)
    return record


def _quant(row: Row, file: str, model: str) -> tuple[str, str] | str:
    """Return the quantisation by llama.cpp's name and as told; the file's name says it best."""
    if model.startswith("gpt-oss"):
        return "MXFP4", "MXFP4"
    texts = [file, text(row, "quant"), text(row, "gguf_file"), text(row, "model")]
    found = quant_of(*texts)
    if found is None and (foreign := foreign_quant(*texts)):
        return f"not a quantisation of llama.cpp's: {foreign}"
    if found is None and ("ollama" in text(row, "provider", "backend", "cmd").lower()):
        return ("Q4_0" if "qat" in " ".join(texts).lower() else "Q4_K_M"), "Ollama's usual"
    if found is None:
        return f"no quantisation told: {text(row, 'quant') or 'none'}"
    base, told = found
    whole_text = " ".join(texts).upper()
    return base, f"UD-{told}" if f"UD-{told}" in whole_text else told


def _machine(row: Row, command: Command) -> Record | str:
    """Return the GPUs' profiles, the backend and the host."""
    record: Record = {}
    backend = next(
        (
            name
            for name, pattern in _BACKENDS
            if re.search(pattern, text(row, "toolbox", "backend"), re.IGNORECASE)
        ),
        None,
    )
    gpu = text(row, "gpu") or text(row, "device_line")
    on_cpu = row.get("kind") == "cpu_only" or row.get("n_gpus") == 0
    if backend == "cpu" and not on_cpu and gpu:
        return "names a GPU and the CPU backend"
    host_told = text(row, "cpu", "ram") or text(row, "host") or text(row, "hardware_hint")
    if not on_cpu:
        if not gpu:
            return "names no GPU"
        names = _gpus(row, gpu)
        if isinstance(names, str):
            return names
        record["gpus"] = names
        if backend and backend != "cpu":
            record["backend"] = backend
    else:
        record["backend"] = "cpu"
        host_told = host_told or text(row, "system")
    host = read_host(host_told) if host_told else None
    if host is not None:
        record["host"] = host
    elif on_cpu:
        return f"no figures of the processor: {host_told or 'not told'}"
    return record


def _gpus(row: Row, gpu: str) -> list[str] | str:
    if re.match(r"\s*(same|\?|small|unknown)", gpu, re.IGNORECASE):
        return f"the GPU is not told: {gpu}"
    used = re.search(r"\((\d+) used\)", gpu)
    n_gpus = int(used[1]) if used else whole(row.get("n_gpus"))
    author = re.search(r"rig.*?((?:rtx|gtx) \d{4}(?: ti| super)*)", gpu, re.IGNORECASE)
    if re.search(r"\brig\b", gpu):
        if author is None:
            return f"the GPU is not told: {gpu}"
        gpu = author[1]
    gpu = re.sub(r"\s+Q\d\w*( \d+K)?$|\s+layer split$|\s+-sm layer$", "", gpu)
    return gpu_names(gpu, n_gpus, number(row.get("vram_gib")))


def _placed(placed: Placed) -> Record:
    record: Record = {}
    if placed.n_gpu_layers >= 0:
        record["n_gpu_layers"] = placed.n_gpu_layers
    if placed.n_cpu_moe:
        record["n_cpu_moe"] = placed.n_cpu_moe
    if placed.overrides:
        record["overrides"] = list(placed.overrides)
    if placed.tensor_split:
        record["tensor_split"] = list(placed.tensor_split)
    return record


def _settings(row: Row, command: Command) -> Record:
    record: Record = {}
    numbers = (
        ("n_ubatch", command.value("-ub", "--ubatch-size") or row.get("n_ubatch")),
        ("n_batch", command.value("-b", "--batch-size") or row.get("n_batch")),
        ("threads", command.value("-t", "--threads") or row.get("threads")),
    )
    for key, value in numbers:
        if read := whole(value):
            record[key] = read
    flag = command.value("-fa", "--flash-attn")
    if flag is None:
        flag = text(row, "flash_attn").lower()
    elif flag == "":
        flag = "on"
    if command.has("--no-flash-attn"):
        flag = "off"
    if flag in ("1", "on", "true", "yes", "0", "off", "false", "no"):
        record["flash_attn"] = flag in ("1", "on", "true", "yes")
    told = text(row, "kv_cache").lower()
    for key, flags in (
        ("type_k", ("-ctk", "--cache-type-k")),
        ("type_v", ("-ctv", "--cache-type-v")),
    ):
        kind = (command.value(*flags) or text(row, key) or told).lower().replace("fp16", "f16")
        if kind in ("q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl", "bf16"):
            record[key] = kind
    return record


def _record(read: _Read, test: Test) -> Record | str:
    """Return the fact of one test, or why there is none."""
    row, command = read.row, read.command
    quality = text(row, "quality").lower()
    if test.phase == "pp" and re.search(rf"pp columns.*({_BROKEN}|include)", quality):
        return "marked: " + quality.partition(";")[0]
    prompt = whole(row.get("prompt_tokens")) or 0
    tests = row["tests"]
    if test.phase == "pp":
        n_tokens = test.n_tokens or prompt
        if not n_tokens:
            return "a prefill of unknown length"
        decode = max(
            (number(v) or 0 for k, v in tests.items() if str(k).startswith("tg")), default=0
        )
        if test.tok_s < decode and read.common.get("gpus") and "n_cpu_moe" not in read.common:
            return "prefill slower than decode: not a rate of prefill"
        depth = test.depth if test.depth is not None else whole(row.get("depth")) or 0
        depth = max(depth, whole(command.value("-d", "--n-depth")) or 0)
    else:
        generated = (
            row.get("output_tokens") or row.get("gen_tokens") or row.get("avg_output_tokens")
        )
        n_tokens = test.n_tokens or whole(generated) or 128
        depth = _tg_depth(read, test, prompt)
    record = read.common | {
        "phase": test.phase,
        "n_tokens": n_tokens,
        "depth": depth,
        "tok_s": round(test.tok_s, 4),
    }
    needed = depth + n_tokens
    if read.n_ctx is not None and read.n_ctx >= needed:
        record["n_ctx"] = read.n_ctx
    if test.lower or "lower bound of decode" in quality:
        record["bound"] = "lower"
    return record


def _tg_depth(read: _Read, test: Test, prompt: int) -> int:
    """Tokens in the context when decoding begins.

    A server has its prompt there; llama-bench begins empty unless told a depth. Rows that give a
    context ran on a server, or on a harness that puts the prompt in (their rates fall with it).
    """
    if test.depth is not None:
        return test.depth
    told = whole(read.command.value("-d", "--n-depth")) or whole(read.row.get("depth"))
    if told is not None:
        return told
    return prompt if read.n_ctx is not None else 0


def _group(row: Row) -> str:
    source = text(row, "source_id") or text(row, "group") or text(row, "source") or "unknown"
    for prefix in ("scoreboard", "XiongjieDai", "kyuz0", "geerling", "localmaxxing"):
        if source.lower().startswith(prefix.lower()):
            return prefix
    plain = re.sub(r"^ik-bench#", "ik#", source)
    return _GROUPS.get(plain, plain)


def _tier(row: Row) -> str:
    """Return C for what users report to a site, A for benches with a build, B for the rest."""
    source = text(row, "source_id") or text(row, "group")
    if source.startswith(USER_REPORTED):
        return "C"
    if source.lower().startswith(tuple(name.lower() for name in _BENCHED)):
        return "A"
    benched = "bench" in text(row, "runner") or bool(row.get("build"))
    if " PR #" in text(row, "source") and benched:
        return "A"
    return "A" if row.get("build") and re.search(r"llama\.cpp|ik", source) else "B"


def _same_test(one: Record, other: Record) -> bool:
    return all(one[key] == other[key] for key in ("phase", "n_tokens", "depth", "tok_s"))


def _without_repeats(
    records: list[Record], left: list[LeftOut]
) -> tuple[list[Record], list[LeftOut]]:
    """Keep one of the records that tell one measurement: that with the most said about it."""
    best: dict[tuple[object, ...], Record] = {}
    for record in records:
        key = (
            record["group"],
            tuple(record.get("gpus", ())),
            record["phase"],
            record["n_tokens"],
            record["tok_s"],
            str(record["model"]).partition(":")[0],
            record.get("power_cap_w"),
            record.get("threads"),
        )
        other = best.get(key)
        if other is None:
            best[key] = record
            continue
        worse, better = (other, record) if len(record) > len(other) else (record, other)
        best[key] = better
        left.append(LeftOut(worse["id"], "the same measurement as another row"))
    return list(best.values()), left
