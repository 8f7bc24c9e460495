"""The shapes and words that our pictures are made of, for light and dark backgrounds.

Widths of text are estimated on the wide side, so that nothing overlaps in whatever font the viewer
has.
"""

from __future__ import annotations

import textwrap
from xml.sax.saxutils import escape

from localllm.core.text import printable

STYLE = """
text{font:13px system-ui,-apple-system,"Segoe UI","Noto Sans",sans-serif;fill:#1f2328}
.title{font-size:18px;font-weight:600}.name{font-weight:600}.head{font-weight:600;font-size:13px}
.dim{fill:#59636e;font-size:12px}.bad{fill:#b42318}
.page{fill:#ffffff}.grid{stroke:#d8dee4}.axis{stroke:#8c959f}.range{stroke:#1f2328}
.lead{stroke:#b6bec8}
.value{paint-order:stroke;stroke:#ffffff;stroke-width:3px}.decode{fill:#2f81d8}.prompt{fill:#2a9d6f}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}.dim{fill:#9da7b3}.bad{fill:#ff8f80}.page{fill:#0d1117}.grid{stroke:#30363d}
.axis{stroke:#656d76}.range{stroke:#e6edf3}.lead{stroke:#4b535d}
.value{stroke:#0d1117}.decode{fill:#3f8fe0}
.prompt{fill:#2ea878}}
"""


def wrapped(text: str, size: int, width: float) -> list[str]:
    """Break a text into lines of at most a width; a word longer than that is broken as well."""
    n = max(int(width / (size * 0.58)), 8)
    return textwrap.wrap(_printable(text), n, break_on_hyphens=False) or [""]


def text_at(x: float, y: float, text: str, *, css: str, anchor: str = "") -> str:
    """Return a line of text that begins, or ends as ``anchor`` says, at a point."""
    css = f' class="{css}"' if css else ""
    anchor = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{css}{anchor}>{safe(text)}</text>'


def safe(text: str) -> str:
    """Return a text as XML takes it."""
    return escape(_printable(text), {'"': "&quot;"})


def _printable(text: str) -> str:
    """No newline, tab or anything else that XML does not take or that draws backwards."""
    return printable(" ".join(text.split()))
