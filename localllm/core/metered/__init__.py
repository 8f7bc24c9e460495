"""What power meters say and what became of it: readings, windows, sums, joules per token.

The way in is ``core/joules.py``. Predicted power is ``core/energy.py``'s.
"""
