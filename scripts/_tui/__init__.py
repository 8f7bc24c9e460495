"""What ``bench_tui.py`` and ``picture_tui.py`` are made of."""
