"""How ``fit_power.py`` reads its facts, fits, cross-validates and reports."""
