"""The constants as the Python file that the core imports."""

from __future__ import annotations

from collections.abc import Mapping


def constants_module(
    constants: Mapping[str, float], spreads: Mapping[str, tuple[float, float]], *, n_rows: int
) -> str:
    """Return the text of ``localllm/core/speed_constants.py``."""
    lines = [
        '"""Constants of the speed formulas, as ``scripts/fit_speed.py --write`` writes them here.',
        "",
        f"Fitted to {n_rows} public measurements (``scripts/facts/throughput.jsonl``). Nothing",
        "is of one card or model; ``scripts/_fit/parameters.py`` says what each constant means.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "from collections.abc import Mapping",
        "",
        "CONSTANTS: Mapping[str, float] = {",
        *(
            f'    "{name}": {_number(value)},'
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
        '"""By ``regime kind``: the 80 % range as factors on the estimate, from the errors of',
        'sources that were left out of the fit."""',
        "",
    ]
    return "\n".join(lines)


def _number(value: float) -> str:
    """Four digits, as the formatter writes them."""
    return f"{value:.0f}.0" if value >= 1000 else f"{value:.4g}"
