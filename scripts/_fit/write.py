"""The constants as the Python file that the core imports."""

from __future__ import annotations

from collections.abc import Mapping


def constants_module(
    constants: Mapping[str, float], spreads: Mapping[str, tuple[float, float]], *, n_rows: int
) -> str:
    """Return the text of ``localllm/core/speed_constants.py``."""
    lines = [
        '"""Fitted constants of the speed formulas; ``scripts/fit_speed.py --write`` writes this file.',
        "",
        f"From {n_rows} public measurements (``scripts/facts/throughput.jsonl``). Nothing here belongs to",
        "a card or a model: ``scripts/_fit/parameters.py`` says what each stands for.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "from collections.abc import Mapping",
        "",
        "CONSTANTS: Mapping[str, float] = {",
        *(
            f'    "{name}": {value:.4g},'
            for name, value in constants.items()
            if value > 0 and not name[0].isdigit()
        ),
        "}",
        '"""By ``regime class term``: seconds per second at the peak, or seconds per count."""',
        "",
        "SPREADS: Mapping[str, tuple[float, float]] = {",
        *(
            f'    "{name}": ({low:.3g}, {high:.3g}),'
            for name, (low, high) in sorted(spreads.items())
        ),
        "}",
        '"""By ``regime kind``: the 80 % range as factors on the estimate, from the errors of sources that',
        'were left out of the fit."""',
        "",
    ]
    return "\n".join(lines)
