"""A model as a person reads it: its shape, where it comes from, its tensor types and its files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.text import Text

from localllm.cli.folding import Column, table
from localllm.cli.output import wrapped
from localllm.core.described import Described, Origin, origin_of, template_features, type_shares
from localllm.core.described_document import TEMPLATE_KEY
from localllm.core.model import MetadataValue, ModelSpec
from localllm.core.text import printable
from localllm.units import format_bytes, format_count
from localllm.words.fetching import licence_words

if TYPE_CHECKING:
    from rich.console import Console

_MAX_LISTED = 16
"""Elements of an array on the page: a value for each layer tells its pattern by then."""
_MAX_VALUE = 300
"""Characters of one metadata value on the page; ``--json`` has all of it."""


def print_model(
    console: Console, shown: Described, *, metadata: bool = False, tensors: bool = False
) -> None:
    """Print one model."""
    spec = shown.spec
    facts = [spec.quant, f"{format_count(spec.n_params)} parameters"]
    facts += [format_bytes(spec.file_bytes), spec.arch]
    console.print(Text.assemble((printable(spec.name), "bold"), f"  {printable(', '.join(facts))}"))
    console.print(Text(f"{printable(shown.name)}, known by {shown.known_by}", style="dim"))
    console.print()
    facts_shown = list(facts_of(shown))
    width = max(len(label) for label, _ in facts_shown) + 2
    for label, text in facts_shown:
        for index, part in enumerate(wrapped(printable(text), console.width - width)):
            head = (f"{label if index == 0 else '':<{width}}", "bold")
            console.print(Text.assemble(head, part), soft_wrap=True)
    console.print()
    console.print(table(type_columns(spec)))
    if shown.files:
        console.print()
        for line in _file_lines(shown):
            console.print(line, soft_wrap=True)
    if tensors:
        console.print()
        console.print(table(tensor_columns(spec)))
    if metadata:
        console.print()
        for key, text in metadata_lines(shown):
            head = (printable(key), "bold")
            console.print(Text.assemble(head, f" = {printable(text)}"), soft_wrap=True)


def facts_of(shown: Described) -> Iterator[tuple[str, str]]:
    """Yield a heading and a sentence for all that is known."""
    spec, origin = shown.spec, origin_of(shown.spec.metadata)
    yield "Layers", _layers(spec)
    if spec.n_expert:
        shared = f", {spec.n_expert_shared} shared" if spec.n_expert_shared else ""
        yield "Experts", f"{spec.n_expert}, {spec.n_expert_used} of them for a token{shared}"
    yield "Context", _context(spec)
    yield "Vocabulary", _vocabulary(spec)
    yield "Licence", _licence(shown, origin)
    yield from _makers(shown, origin)
    yield "Template", _template(shown)
    for index, note in enumerate(shown.notes):
        yield "" if index else "Notes", note


def type_columns(spec: ModelSpec) -> list[Column]:
    """Return a table of tensor types: how many, how large, how many bits a weight."""
    shares = type_shares(spec.tensors)
    n_bytes = sum(share.n_bytes for share in shares)
    n_elements = sum(share.n_elements for share in shares)
    whole = 8 * n_bytes / n_elements if n_elements else 0.0

    def column(heading: str, cells: list[str], total: str) -> Column:
        return Column(heading=heading, cells=(*cells, total), right=heading != "type")

    return [
        column("type", [share.type for share in shares], "all"),
        column("tensors", [f"{s.n_tensors:,}" for s in shares], f"{len(spec.tensors):,}"),
        column("size", [format_bytes(s.n_bytes) for s in shares], format_bytes(n_bytes)),
        column("share", [_percent(s.n_bytes, n_bytes) for s in shares], ""),
        column("bits/weight", [f"{s.bits_per_weight:.2f}" for s in shares], f"{whole:.2f}"),
    ]


def tensor_columns(spec: ModelSpec) -> list[Column]:
    """Return a table of all tensors, in the order of the file."""
    tensors = spec.tensors
    columns = [
        Column(heading="tensor", cells=tuple(printable(t.name) for t in tensors)),
        Column(heading="type", cells=tuple(t.type for t in tensors)),
        Column(
            heading="shape", cells=tuple(" x ".join(map(str, t.shape)) for t in tensors), right=True
        ),
        Column(heading="size", cells=tuple(format_bytes(t.n_bytes) for t in tensors), right=True),
    ]
    if any(tensor.part for tensor in tensors):
        parts = tuple(str(tensor.part + 1) for tensor in tensors)
        columns.append(Column(heading="part", cells=parts, right=True))
    return columns


def metadata_lines(shown: Described) -> Iterator[tuple[str, str]]:
    """Yield every key in the order of the file, with its value in a line."""
    for key, value in shown.spec.metadata.items():
        if key == TEMPLATE_KEY:
            yield key, f"{len(str(value)):,} characters: --template prints it"
        else:
            yield key, _value(value)
    for key, (kind, n) in shown.arrays.items():
        yield key, f"{n:,} of type {kind}"


def _layers(spec: ModelSpec) -> str:
    words = [f"{spec.n_layer}, width {spec.n_embd:,}"]
    heads = sorted({(layer.n_head, layer.n_head_kv) for layer in spec.layers if layer.n_head_kv})
    if len(heads) == 1:
        n_head, n_head_kv = heads[0]
        words.append(f"{n_head} heads of {spec.n_embd_head_k} over {n_head_kv} KV heads")
    elif heads:
        kv = sorted({n_head_kv for _, n_head_kv in heads})
        words.append(f"{heads[0][0]} to {heads[-1][0]} heads over {kv[0]} to {kv[-1]} KV heads")
    n_ff = {layer.n_ff for layer in spec.layers if layer.n_ff}
    if n_ff:
        low, high = min(n_ff), max(n_ff)
        words.append(f"feed-forward {low:,}" + (f" to {high:,}" if high > low else ""))
    n_state = sum(layer.is_recurrent for layer in spec.layers)
    if n_state:
        words.append(f"{n_state} of them keep a state")
    return ", ".join(words)


def _context(spec: ModelSpec) -> str:
    window = sum(layer.is_swa for layer in spec.layers)
    text = f"{spec.n_ctx_train:,} tokens"
    if window and spec.n_swa:
        text += f", {window} of {spec.n_layer} layers look back {spec.n_swa:,}"
    return text


def _vocabulary(spec: ModelSpec) -> str:
    kinds = [spec.metadata.get(f"tokenizer.ggml.{key}") for key in ("model", "pre")]
    named = [kind for kind in kinds if isinstance(kind, str) and kind != "no_vocab"]
    kind = f" ({', '.join(named)})" if named else ""
    return f"{spec.n_vocab:,} tokens{kind}"


def _licence(shown: Described, origin: Origin) -> str:
    licence = origin.licence or shown.licence or "not stated in the file"
    return licence_words(licence, is_gated=shown.is_gated)


def _makers(shown: Described, origin: Origin) -> Iterator[tuple[str, str]]:
    author = origin.author or shown.publisher
    if author is not None:
        yield "Author", author
    if origin.base_models:
        yield "Made of", ", ".join(origin.base_models)
    if origin.quantised_by is not None or origin.imatrix is not None:
        words = [origin.quantised_by] if origin.quantised_by else []
        words += [f"importance matrix {origin.imatrix}"] if origin.imatrix else []
        yield "Quantised", ", ".join(words)
    if origin.languages:
        yield "Languages", ", ".join(origin.languages)
    if origin.tags:
        yield "Tags", ", ".join(origin.tags)
    if origin.url is not None:
        yield "Page", origin.url
    if origin.description is not None:
        yield "About", origin.description[:_MAX_VALUE]


def _template(shown: Described) -> str:
    if shown.template is None:
        if shown.known_by == "its recorded shape":
            return "not part of a recorded shape"
        return "none: it is addressed in ChatML"
    features = template_features(shown.template, shown.reasoning_markers)
    provides = f", provides for {', '.join(features)}" if features else ""
    return f"{len(shown.template):,} characters{provides}"


def _file_lines(shown: Described) -> Iterator[Text]:
    for file in shown.files:
        yield Text.assemble((printable(file.place), "cyan"), f"  {format_bytes(file.n_bytes)}")
        if file.sha256 is not None:
            yield Text(f"  sha256 {file.sha256}", style="dim")


def _value(value: MetadataValue) -> str:
    if isinstance(value, tuple):
        more = f", ... ({len(value):,} in all)" if len(value) > _MAX_LISTED else ""
        text = f"[{', '.join(map(_value, value[:_MAX_LISTED]))}{more}]"
    elif isinstance(value, float):
        text = f"{value:.7g}"
    else:
        text = str(value).lower() if isinstance(value, bool) else str(value)
    text = text.replace("\n", "\\n")
    return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}... ({len(text):,} characters)"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else ""
