"""A plan becomes a loaded model: memory looked at again, and less of it when it runs out.

Composition only: what "less" means is decided in ``core/stepping_down.py``.
"""
