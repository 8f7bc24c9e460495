from __future__ import annotations

import signal

import pytest

from localllm.engine.death import Autopsy, Phase, died, find_cause

LOAD_LOG = (
    "llama_model_loader: loaded meta data with 29 key-value pairs",
    "print_info: file type   = Q4_K - Medium",
    "load_tensors: offloaded 33/33 layers to GPU",
)


def autopsy(
    *stderr: str,
    returncode: int | None = -signal.SIGABRT,
    phase: Phase = "generate",
    ended_by_us: str | None = None,
    kernel_oom: bool | None = False,
) -> Autopsy:
    return Autopsy(
        returncode=returncode,
        phase=phase,
        stderr_tail=stderr,
        ended_by_us=ended_by_us,
        kernel_oom=kernel_oom,
    )


@pytest.mark.parametrize(
    ("stderr", "cause"),
    [
        ((), None),
        (LOAD_LOG, None),
        (("ggml-cuda.cu:1: CUDA error",), "ggml-cuda.cu:1: CUDA error"),
        (
            (
                "CUDA error: out of memory",
                "  current device: 0, in function alloc at /src/ggml-cuda.cu:531",
                "  cudaMalloc(&ptr, size)",
                "/src/ggml/src/ggml-cuda/ggml-cuda.cu:103: CUDA error",
            ),
            "/src/ggml/src/ggml-cuda/ggml-cuda.cu:103: CUDA error (CUDA error: out of memory)",
        ),
        (
            ("/src/llama-context.cpp:1785: GGML_ASSERT(n_tokens <= n_batch) failed",),
            "/src/llama-context.cpp:1785: GGML_ASSERT(n_tokens <= n_batch) failed",
        ),
        (
            (
                "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 9",
                "llama_init_from_model: failed to initialize the context",
            ),
            "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 9",
        ),
        (
            ("terminate called after throwing an instance of 'std::bad_alloc'", "what():  bad"),
            "terminate called after throwing an instance of 'std::bad_alloc'",
        ),
        (("Traceback (most recent call last):", "  File x", "KeyError: 'n'"), "KeyError: 'n'"),
    ],
)
def test_the_line_that_says_most_is_the_cause(stderr: tuple[str, ...], cause: str | None) -> None:
    assert find_cause(stderr) == cause


def test_an_abort_names_its_signal_its_moment_and_its_cause() -> None:
    event = died(autopsy(*LOAD_LOG, "ggml-cuda.cu:1: CUDA error"))
    assert event.message == (
        "The engine crashed while answering (SIGABRT): ggml-cuda.cu:1: CUDA error."
    )
    assert event.signal == "SIGABRT"
    assert not event.out_of_memory
    assert event.hint


@pytest.mark.parametrize(
    "line",
    [
        "CUDA error: out of memory",
        "ggml_gallocr_reserve_n_impl: failed to allocate CUDA0 buffer of size 263192576",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "ggml_vulkan: Device memory allocation failed: ErrorOutOfDeviceMemory",
    ],
)
def test_exhausted_memory_is_recognised_and_the_hint_says_what_to_shrink(line: str) -> None:
    event = died(autopsy(line))
    assert event.out_of_memory
    assert "--ctx" in event.hint


def test_a_warning_long_before_the_death_is_not_its_cause() -> None:
    event = died(autopsy("failed to allocate pinned memory", *["line"] * 20, "x.cpp:1: assert"))
    assert not event.out_of_memory


@pytest.mark.parametrize(
    ("kernel_oom", "phase", "out_of_memory"),
    [
        (True, "generate", True),
        (False, "load", False),
        (None, "load", True),
        (None, "idle", False),
    ],
)
def test_a_sigkill_is_the_kernels_when_its_counter_says_so(
    kernel_oom: bool | None, phase: Phase, out_of_memory: bool
) -> None:
    event = died(autopsy(returncode=-signal.SIGKILL, phase=phase, kernel_oom=kernel_oom))
    assert event.out_of_memory is out_of_memory
    assert "SIGKILL" in event.message


def test_what_we_ended_ourselves_is_not_blamed_on_memory() -> None:
    event = died(
        autopsy("out of memory", returncode=-signal.SIGKILL, ended_by_us="it made no progress")
    )
    assert event.message == "The engine was stopped while answering: it made no progress."
    assert not event.out_of_memory


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGKILL])
@pytest.mark.parametrize("phase", ["start", "load", "prompt", "generate", "bench", "idle"])
def test_every_death_is_one_sentence_with_a_hint(number: signal.Signals, phase: Phase) -> None:
    event = died(autopsy(returncode=-number, phase=phase))
    assert number.name in event.message
    assert event.message.endswith(".") and "\n" not in event.message
    assert event.hint.endswith(".")


def test_an_exit_by_itself_has_a_code_and_no_signal() -> None:
    event = died(autopsy("ValueError: no", returncode=1, phase="start"))
    assert event.signal is None
    assert event.message == "The engine ended while starting (exit code 1): ValueError: no."
