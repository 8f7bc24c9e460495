"""A Hugging Face Hub on this machine, for the unmodified client and for our own: real sockets.

::

    with LoopbackHub() as hub:
        commit = hub.add_repo("user/repo", {"m-Q4_K_M.gguf": body, "README.md": b"# M"})
        hub.fault(Fault(cut="rst", after=5_000_000))          # the next GET at the CDN
        hub.fault(Fault(origin="hub", method="HEAD", status=503, times=2))
        ...                                                    # with HF_ENDPOINT=hub.endpoint
        assert hub.ranges() == ["0-", "4988928-"]
        assert all("authorization" not in one.headers for one in hub.asked("cdn"))

The Hub (``hub.endpoint``) and its CDN (``hub.cdn``) are two origins: ports of 127.0.0.1. Large
files are named by their SHA-256 and answered by a redirect to a signed address of the CDN; small
text is answered by the Hub itself. The address of a blob ends in the name of its file, so that
``Fault(where="m-Q4_K_M.gguf")`` and ``hub.ranges("m-Q4_K_M.gguf")`` find it.

Content is bytes, a ``Path``, or ``Zeros(size=40 * GiB, head=header, sha256="0" * 64)``.
``hub.token`` reads everything, ``hub.other_token`` neither gated nor private repositories, any
other is refused. ``hub.rate = 2e6`` bounds the bytes a second of all answers together;
``hub.expire_links()`` makes old addresses answer 403; ``hub.update_repo`` changes a branch while
somebody downloads (also from ``Fault(then=...)``); ``hub.stop()`` is a network that goes away.

To wait for a moment: ``fault = hub.fault(Fault(cut="stall", after=n))``, ``fault.reached.wait(5)``
-- now n bytes are out and nothing more comes until ``fault.released.set()``.
"""

from tests.support.loopback_hub.content import Source, Zeros
from tests.support.loopback_hub.faults import Fault
from tests.support.loopback_hub.handler import Asked
from tests.support.loopback_hub.hub import LoopbackHub

__all__ = ["Asked", "Fault", "LoopbackHub", "Source", "Zeros"]
