"""Joules beside a run: the meters of this machine, sampled while a model works.

Composition only: meters are ``power/``'s, the arithmetic ``core/joules.py``'s.
"""
