"""Doors to the machine that probes and power meters share: NVML, PCI addresses, small files.

They read and name things, and know neither devices nor meters.
"""
