"""A row of the public collection -> our own fact records, or the reason why it gives none.

A record is plain and compact (``scripts/facts/README.md`` says what it holds); ``facts.py`` makes
values of the core of it. A key that is missing has its usual value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from _fit.machines import driver, power_cap_w, read_machine
from _fit.names import model_name, tables
from _fit.placement import ALL, Placed, read_placement
from _fit.rejects import prefill_marked, unusable
from _fit.sources import era_of, group_of, tier_of
from _fit.texts import (
    Command,
    Test,
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

_KV_TYPES = ("q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl", "bf16")
_SERVER_SLOTS = 4
"""llama-server without ``-np`` opens four since December 2025, and is slower for it."""


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


def normalise(rows: Iterable[object]) -> tuple[list[Record], list[LeftOut]]:
    """Return the facts of public rows, repeated ones once, and what was left out."""
    records: list[Record] = []
    left: list[LeftOut] = []
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            left.append(LeftOut(f"row {index}", "not an object"))
            continue
        try:
            made, lost = normalise_row(row, index)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # foreign data: a row in no form that we know must not keep the others away
            made, lost = [], [LeftOut(str(row.get("id")), f"cannot be read: {error}")]
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
    read = _read(row)
    if isinstance(read, str):
        return [], [LeftOut(row_id, read)]
    records: list[Record] = []
    left: list[LeftOut] = []
    for name, value in row["tests"].items():
        test = read_test(str(name), value)
        record = "no test of decode or prefill" if test is None else _record(read, test)
        if isinstance(record, str):
            left.append(LeftOut(f"{row_id}/{name}", record))
        elif not any(_same_test(record, other) for other in records):
            records.append({"id": f"{row_id}/{str(name).replace(' ', '')}"} | record)
    return records, left


def _read(row: Row) -> _Read | str:
    """Read what all tests of a row share, or say why it cannot be used."""
    command = read_command(text(row, "cmd"))
    if reason := unusable(row, command):
        return reason
    model = _model(row, command)
    if isinstance(model, str):
        return model
    machine = read_machine(row)
    if isinstance(machine, str):
        return machine
    placed = read_placement(row, command, on_gpu=bool(machine.get("gpus")))
    if isinstance(placed, str):
        return placed
    source = text(row, "source")
    common: Record = {
        "source": source,
        "group": group_of(row),
        "tier": tier_of(row),
        **model,
        **machine,
        **_placed(placed),
        **_settings(row, command),
        "era": era_of(text(row, "date"), text(row, "build", "runner"), source),
    }
    if cap := power_cap_w(row):
        common["power_cap_w"] = cap
    if told := driver(row):
        common["driver"] = told
    for key in ("build", "date"):
        if row.get(key):
            common[key] = str(row[key])
    n_ctx = whole(command.value("-c", "--ctx-size")) or whole(row.get("n_ctx"))
    return _Read(row=row, command=command, common=common, n_ctx=n_ctx)


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
    if model.startswith("gpt-oss"):  # their experts are MXFP4 whatever the file is called
        return "MXFP4", "MXFP4"
    texts = [file, text(row, "quant"), text(row, "gguf_file"), text(row, "model")]
    if "unless" in texts[1]:
        texts.insert(1, text(row, "gpu"))
    found = quant_of(*texts)
    if found is None and (foreign := foreign_quant(*texts)):
        return f"not a quantisation of llama.cpp's: {foreign}"
    if found is None and "ollama" in text(row, "provider", "backend", "cmd").lower():
        return ("Q4_0" if "qat" in " ".join(texts).lower() else "Q4_K_M"), "Ollama's usual"
    if found is None:
        return f"no quantisation told: {text(row, 'quant') or 'none'}"
    base, told = found
    return base, f"UD-{told}" if f"UD-{told}" in " ".join(texts).upper() else told


def _placed(placed: Placed) -> Record:
    record: Record = {}
    if placed.n_gpu_layers != ALL:
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
        ("n_slots", command.value("-np", "--parallel") or _usual_slots(row)),
    )
    for key, value in numbers:
        if read := whole(value):
            record[key] = read
    flag = command.value("-fa", "--flash-attn")
    if flag is None:
        flag = text(row, "flash_attn").lower()
    flag = "off" if command.has("--no-flash-attn") else flag or ("on" if command.has("-fa") else "")
    if flag in ("1", "on", "true", "yes", "0", "off", "false", "no"):
        record["flash_attn"] = flag in ("1", "on", "true", "yes")
    told = text(row, "kv_cache").lower()
    for key, letter in (("type_k", "k"), ("type_v", "v")):
        kind = command.value(f"-ct{letter}", f"--cache-type-{letter}") or text(row, key) or told
        if kind.lower() in _KV_TYPES:
            record[key] = kind.lower()
    return record


def _usual_slots(row: Row) -> int | None:
    """Sequences that a server of its time opens, where it ran as people start it."""
    runner = text(row, "cmd") or text(row, "runner")
    if "llama-server" not in runner or "np1" in text(row, "source", "note"):
        return None
    date = text(row, "date")
    return _SERVER_SLOTS if date >= "2025-12-10" else None


def _record(read: _Read, test: Test) -> Record | str:
    """Return the fact of one test, or why there is none."""
    row = read.row
    prompt = whole(row.get("prompt_tokens")) or 0
    if test.phase == "pp":
        if marked := prefill_marked(row):
            return marked
        n_tokens = test.n_tokens or prompt
        if not n_tokens:
            return "a prefill of unknown length"
        if test.tok_s < _decode_tok_s(row) and read.common.get("gpus") and not _in_ram(read.common):
            return "prefill slower than decode: not a rate of prefill"
        depth = _told_depth(read, test) or 0
    else:
        generated = next((row[k] for k in _GENERATED if row.get(k)), None)
        n_tokens = test.n_tokens or whole(generated) or 128
        told = _told_depth(read, test)
        # A server has its prompt in the context; llama-bench begins empty unless told a depth.
        # Rows that give a context ran on a server, or in a harness that puts the prompt in: their
        # rates fall with it.
        depth = told if told is not None else prompt if read.n_ctx is not None else 0
    record = read.common | {
        "phase": test.phase,
        "n_tokens": n_tokens,
        "depth": depth,
        "tok_s": round(test.tok_s, 4),
    }
    if read.n_ctx is not None and read.n_ctx >= depth + n_tokens:
        record["n_ctx"] = read.n_ctx
    if test.lower or "lower bound of decode" in text(row, "quality").lower():
        record["bound"] = "lower"
    return record


_GENERATED = ("output_tokens", "gen_tokens", "avg_output_tokens")


def _told_depth(read: _Read, test: Test) -> int | None:
    if test.depth is not None:
        return test.depth
    told = whole(read.command.value("-d", "--n-depth"))
    return told if told is not None else whole(read.row.get("depth"))


def _decode_tok_s(row: Row) -> float:
    decode = (number(value) or 0 for key, value in row["tests"].items() if str(key)[:2] == "tg")
    return max(decode, default=0.0)


def _in_ram(common: Record) -> bool:
    return any(key in common for key in ("n_gpu_layers", "n_cpu_moe", "overrides"))


def _same_test(one: Record, other: Record) -> bool:
    return all(one[key] == other[key] for key in ("phase", "n_tokens", "depth", "tok_s"))


def _without_repeats(
    records: list[Record], left: list[LeftOut]
) -> tuple[list[Record], list[LeftOut]]:
    """Keep one of the records that tell one measurement: that with the most said about it."""
    keys = ("group", "phase", "n_tokens", "tok_s", "power_cap_w", "threads")
    best: dict[str, Record] = {}
    for record in records:
        model = str(record["model"]).partition(":")[0]
        what = [model, record.get("gpus"), *(record.get(key) for key in keys)]
        other = best.setdefault(str(what), record)
        if other is record:
            continue
        worse, better = (other, record) if len(record) > len(other) else (record, other)
        best[str(what)] = better
        left.append(LeftOut(str(worse["id"]), "the same measurement as another row"))
    return list(best.values()), left
