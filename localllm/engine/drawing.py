"""Who draws the next token: the host, from logits copied to it, or the device that computed them.

llama.cpp can run a sampler chain as a part of the graph (``llama_set_sampler``). On a GPU this
saves the copy of a row of logits and the CPU's passes over the vocabulary, for which the GPU waits
(0.2 ms of each token at 128k tokens), and costs a few more kernels. What is faster is measured in
the first answer that is long enough, half of the trial here and half there, and kept until the
model is unloaded. The seed gives the same answer whoever draws, also when that changes on the way:

- A generator draws once per row of logits on both sides, and its state is carried over.
- The device sums probabilities as 32-bit floats, the host as 64-bit ones. Over a few dozen
  candidates that moves a border by 1e-7; over a whole vocabulary it changes tokens within a
  hundred draws, so the device draws only behind top-k.
- ggml's top-k returns its candidates in any order, and a draw depends on the order; top-p sorts
  them again, so the device draws only behind top-p as well.
- min-p on the device leaves nothing at all at 1, where the host leaves the best token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from localllm.core.generation import SampledOn, Sampling
from localllm.engine.llama import C
from localllm.engine.sampling import carry_state, device_chain, host_chain, penalises
from localllm.units import MiB

_N_SKIPPED, _N_COUNTED = 8, 24
"""Tokens of each half of a trial: the first pay for the new graph."""
_LEAST_GAIN = 0.01
_MAX_TOP_K = 1024
"""What CUDA sorts without CUB (``ggml-cuda.cu``, GGML_OP_ARGSORT), and few enough to sum."""
_SPARE_BYTES = 64 * MiB
"""The compute buffer is made anew, a few rows of logits larger at most; what is in the way of an
allocation of that size would end the process."""
_N_LOGIT_ROWS = 8

Wish = Literal["measured", "host", "device", "alternating"]
"""Who shall draw; all but ``measured`` are for tests."""
_ALTERNATION = 7


@dataclass(frozen=True, slots=True)
class _Verdict:
    on_device: bool
    why: str


class Drawing:
    """The sampler chains of a context, and who has turned out to be faster."""

    def __init__(
        self,
        context: int,
        n_vocab: int,
        *,
        why_not: str | None,
        free_bytes: Callable[[], int | None],
    ) -> None:
        """``why_not``: what stands against the device from the start, as a clause.

        ``free_bytes``: memory free on the device with the least, None where it is not known.
        """
        self.wish: Wish = "measured"
        self.chain = 0
        """What ``llama_sampler_sample`` is to draw with."""
        self.watched = False
        """Whether ``watch`` has to be called between a token and the next decode."""
        self._context, self._n_vocab = context, n_vocab
        self._why_not, self._free_bytes = why_not, free_bytes
        self._verdicts: dict[object, _Verdict] = {}
        self._sampling = Sampling()
        self._host = 0
        self._attached = 0
        self._attached_for: Sampling | None = None
        self._on_device = False
        self._sides: set[bool] = set()
        self._n_drawn = 0
        self._last_s = 0.0
        self._times: dict[bool, list[float]] = {}

    # -- an answer -----------------------------------------------------------------------------

    def begin(self, sampling: Sampling, *, seed: int, prompt: Sequence[int]) -> None:
        """Make the chain of an answer, before its prompt is decoded; ``end`` frees it."""
        self._sampling = sampling
        self._host = host_chain(sampling, seed=seed, n_vocab=self._n_vocab, prompt=prompt)
        self._sides = set()
        self._n_drawn = 0
        self._times = {False: [], True: []}
        verdict = self._verdict()
        self.watched = self.wish == "alternating" or (self.wish == "measured" and verdict is None)
        wanted = self.wish == "device" or (verdict is not None and verdict.on_device)
        self._use(on_device=wanted and self.wish != "host")

    def watch(self, now_s: float) -> None:
        """Look at the time of the token just drawn, and change sides where that is due."""
        interval_s, self._last_s = now_s - self._last_s, now_s
        self._n_drawn += 1
        if self.wish == "alternating":
            if self._n_drawn % _ALTERNATION == 0:
                self._use(on_device=not self._on_device)
            return
        if self._on_device and not self._drawn_by_device():
            self._decide(_Verdict(False, "the device lacks an operation of these samplers"))
            return
        times = self._times[self._on_device]
        if self._n_drawn > _N_SKIPPED:
            times.append(interval_s)
        if len(times) < _N_COUNTED:
            return
        if self._on_device:
            self._decide(self._judge())
        elif (why := self._no_room()) is not None:
            self._decide(_Verdict(False, why))
        else:
            self._use(on_device=True)
            self._n_drawn = 0

    def end(self) -> None:
        """Free the chain of the answer. A chain in the graph stays for the next one like it."""
        if self._host:
            C.llama_sampler_free(self._host)
        self._host = self.chain = 0
        self.watched = False

    def release(self) -> None:
        """Take the chain out of the graph."""
        if self._attached:
            C.llama_set_sampler(self._context, 0, None)
            C.llama_sampler_free(self._attached)  # the next decode makes its graph anew
        self._attached, self._attached_for = 0, None

    @property
    def sampled_on(self) -> SampledOn:
        """Who drew the tokens of this answer."""
        if self._sides == {False, True}:
            return "both"
        return "device" if True in self._sides else "host"

    @property
    def why(self) -> str | None:
        """Why there; None while that is not known."""
        verdict = self._verdict()
        return verdict.why if verdict is not None else None

    # -- sides ---------------------------------------------------------------------------------

    def _use(self, *, on_device: bool) -> None:
        """Let one side draw from the next decode on, and go on from where the other was."""
        before = self.chain or self._host
        if on_device:
            self._attach(before)
        else:
            if before != self._host:
                carry_state(self._sampling, before, self._host)
            self.release()
        self._on_device = on_device
        self._sides.add(on_device)
        self.chain = self._attached if on_device else self._host

    def _attach(self, state: int) -> None:
        shape = replace(self._sampling, seed=None)
        if self._attached_for != shape:
            self.release()  # a chain is attached once in its life, or llama.cpp aborts
            self._attached = device_chain(self._sampling, n_vocab=self._n_vocab)
            C.llama_set_sampler(self._context, 0, self._attached)
            self._attached_for = shape
        carry_state(self._sampling, state, self._attached)

    def _drawn_by_device(self) -> bool:
        """Whether the graph drew the last token, and not the host from what the graph left."""
        token: int = C.llama_get_sampled_token_ith(self._context, -1)
        return token >= 0

    # -- who is faster -------------------------------------------------------------------------

    def _key(self) -> object:
        """What the time of a draw depends on."""
        sampling = self._sampling
        return sampling.temperature == 0, sampling.top_k, penalises(sampling)

    def _verdict(self) -> _Verdict | None:
        why = self._why_not or unlike(self._sampling)
        return _Verdict(False, why) if why else self._verdicts.get(self._key())

    def _judge(self) -> _Verdict:
        import statistics  # 4 ms that a first token need not wait for

        host_ms, device_ms = (1e3 * statistics.median(self._times[side]) for side in (False, True))
        return _Verdict(
            device_ms < (1 - _LEAST_GAIN) * host_ms,
            f"a token took {device_ms:.3g} ms drawn on the device and {host_ms:.3g} ms on the host",
        )

    def _decide(self, verdict: _Verdict) -> None:
        self._verdicts[self._key()] = verdict
        self.watched = False
        if self._on_device != verdict.on_device:
            self._use(on_device=verdict.on_device)

    def _no_room(self) -> str | None:
        free = self._free_bytes()
        if free is None or free >= _SPARE_BYTES + 4 * _N_LOGIT_ROWS * self._n_vocab:
            return None
        return "too little memory is free on the device to draw there"


def unlike(sampling: Sampling) -> str | None:
    """Return why a device would draw other tokens than the host, or None where it would not."""
    if sampling.temperature == 0:
        return None
    if not 0 < sampling.top_k <= _MAX_TOP_K or sampling.top_p >= 1:
        return "a device draws the same tokens only behind top-k and top-p"
    if sampling.min_p > 0.99:
        return "a device draws other tokens at this min-p"
    return None
