"""``python -m localllm``."""

from __future__ import annotations

from localllm.cli.main import main

if __name__ == "__main__":
    main()
