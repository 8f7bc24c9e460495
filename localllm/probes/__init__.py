"""This machine, read into ``core.hardware``: host, NVIDIA, AMD, Apple silicon, profiles.

Every reader takes the root of the file system as an argument, so that a folder can stand for a
machine. A value that could not be read is ``None`` with a reason; nothing here raises for a machine
that is merely unusual.
"""
