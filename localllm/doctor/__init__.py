"""What is installed, what is missing, and the exact line that mends it.

``gather`` looks at the machine, ``diagnose`` judges what it found and knows nothing of the world.
"""

from __future__ import annotations

from localllm.doctor.facts import Facts
from localllm.doctor.finding import Finding
from localllm.doctor.findings import diagnose
from localllm.doctor.gather import gather

__all__ = ["Facts", "Finding", "diagnose", "gather"]
