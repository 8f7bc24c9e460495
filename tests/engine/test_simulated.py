"""Devices that do not exist, and the checks that must pass before one is made.

llama.cpp is imported in children only: what is tested here reaches into its structures.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from localllm.core.hardware import Backend
from localllm.core.traits import device_traits
from localllm.engine.devices import simulated_spec
from tests.engine.support import gpu, in_child


@pytest.fixture(scope="module")
def broken() -> dict[str, str]:
    """What the check of the layouts says when one of its assumptions is made wrong."""
    found: dict[str, str] = in_child(
        """
        import json
        from localllm.engine import layouts
        from localllm.engine.llama import C
        C.llama_backend_init()

        def said(**changes):
            before = {name: getattr(layouts, name) for name in changes}
            try:
                for name, value in changes.items():
                    setattr(layouts, name, value)
                layouts.check()
                return "nothing"
            except layouts.UnknownLayout as error:
                return str(error)
            finally:
                for name, value in before.items():
                    setattr(layouts, name, value)

        print(json.dumps({
            "nothing": said(),
            "package": said(installed_versions=lambda: ("0.3.35", "0.25.3")),
            "ggml": said(installed_versions=lambda: ("0.3.36", "0.26.0")),
            "platform": said(sys=type("sys", (), {"platform": "darwin"})),
            "model parameters": said(_MODEL_PARAMS_BYTES=88),
            "context parameters": said(_CONTEXT_PARAMS_BYTES=152),
            "properties": said(_PROPS_BYTES=64),
            "API version": said(_API_VERSION=3),
            "device name": said(DEV_NAME=layouts.DEV_DESCRIPTION),
            "device type": said(DEV_TYPE_OWN=layouts.DEV_NAME),
            "device registry": said(DEV_REG=16),
            "events": said(DEV_EVENT_NEW=9),
            "buffer type's device": said(TYPE_DEVICE=0),
            "buffer's type": said(BUFFER_TYPE=12),
            "buffer's size": said(BUFFER_SIZE=14),
            "backend's device": said(BACKEND_DEVICE=18),
            "tensor's operands": said(OFFSET_SRC=160),
            "tensor's view": said(OFFSET_VIEW_SRC=240),
            "tensor's offset": said(OFFSET_VIEW_OFFSET=248),
        }))
        """
    )
    return found


def test_the_installed_library_is_laid_out_as_tested(broken: dict[str, str]) -> None:
    assert broken.pop("nothing") == "nothing"


@pytest.mark.parametrize(
    ("assumption", "reason"),
    [
        ("package", "llama-cpp-python 0.3.35 with ggml 0.25.3 has not been tested"),
        ("ggml", "llama-cpp-python 0.3.36 with ggml 0.26.0 has not been tested"),
        ("platform", "on Linux only"),
        ("model parameters", "the parameters of llama.cpp are not laid out"),
        ("context parameters", "the parameters of llama.cpp are not laid out"),
        ("properties", "the parameters of llama.cpp are not laid out"),
        ("API version", "ggml's backend registry"),
        ("device name", "ggml's devices"),
        ("device type", "ggml's devices"),
        ("device registry", "ggml's devices"),
        ("events", "ggml's devices"),
        ("buffer type's device", "ggml's buffer types"),
        ("buffer's type", "ggml's buffers"),
        ("buffer's size", "ggml's buffers"),
        ("backend's device", "ggml's backends"),
        ("tensor's operands", "ggml's tensors"),
        ("tensor's view", "ggml's tensors"),
        ("tensor's offset", "ggml's tensors"),
    ],
)
def test_every_assumption_that_fails_switches_the_exact_basis_off_with_a_reason(
    broken: dict[str, str], assumption: str, reason: str
) -> None:
    assert reason in broken[assumption]


def test_a_map_that_is_not_libstdcxx_s_is_not_believed() -> None:
    found = in_child(
        """
        import ctypes, json
        from localllm.engine.rows import Unreadable, Row, read_map, _Map

        class Tree:
            # 2 is the root, 1 and 3 its children; a map holds words, and its header a link back
            def __init__(self):
                self.nodes = [(ctypes.c_uint64 * 8)() for _ in range(3)]
                self.map = _Map()
                header = ctypes.addressof(self.map) + 8
                a, b, c = map(ctypes.addressof, self.nodes)
                for node, parent, left, right, key in (
                    (0, b, 0, 0, 100), (1, header, a, c, 200), (2, b, 0, 0, 300)
                ):
                    self.nodes[node][:] = [1, parent, left, right, key, key + 1, key + 2, key + 3]
                self.map.words[:] = [0, 0, b, a, c, 3]

        def read(change):
            tree = Tree()
            change(tree)
            try:
                return [list(row) for row in read_map(tree.map)]
            except Unreadable as error:
                return str(error)

        def word(node, index, value):
            def change(tree): tree.nodes[node][index] = value
            return change

        def head(index, value):
            def change(tree): tree.map.words[index] = value
            return change

        print(json.dumps({
            "good": read(lambda tree: None),
            "empty": read(head(5, 0)),
            "endless": read(head(5, 10**6)),
            "one too many": read(head(5, 4)),
            "red header": read(head(1, 1)),
            "no root": read(head(2, 0)),
            "odd root": read(head(2, 12345)),
            "wrong first": read(head(3, 8)),
            "wrong last": read(head(4, 8)),
            "red root": read(word(1, 0, 0)),
            "wrong parent": read(word(0, 1, 8)),
            "lost child": read(word(1, 3, 0)),
            "unordered": read(word(0, 4, 250)),
            "twice": read(word(2, 4, 200)),
        }))
        """
    )
    good = found.pop("good")
    assert good == [[k, k + 1, k + 2, k + 3] for k in (100, 200, 300)]
    assert all("not laid out" in text or "rows" in text for text in found.values())


@pytest.fixture(scope="module")
def device() -> dict[str, Any]:
    """What ggml's public functions say of a simulated device, and what its buffers do."""
    spec = list(simulated_spec(gpu("SIM7", gib=1, pci_id="0000:01:00.0")))
    found: dict[str, Any] = in_child(
        f"""
        import ctypes, json
        from localllm.engine import layouts
        from localllm.engine.devices import SimulatedSpec
        from localllm.engine.llama import C, device_props, devices, ggml
        from localllm.engine.simulated import SimulatedDevice
        C.llama_backend_init()
        layouts.check()
        device = SimulatedDevice(SimulatedSpec(*{spec!r}))
        device.register()

        def memory():
            free, total = ctypes.c_size_t(), ctypes.c_size_t()
            ggml.ggml_backend_dev_memory(device.address, free, total)
            return free.value, total.value

        own = ggml.ggml_backend_dev_buffer_type(device.address)
        pinned = ggml.ggml_backend_dev_host_buffer_type(device.address)
        props = device_props(device.address)
        steps = [memory()]
        first = ggml.ggml_backend_buft_alloc_buffer(own, 700 << 20)
        base = ggml.ggml_backend_buffer_get_base(first)
        steps.append(memory())
        second = ggml.ggml_backend_buft_alloc_buffer(own, 400 << 20)
        host = ggml.ggml_backend_buft_alloc_buffer(pinned, 2 << 30)
        steps.append(memory())
        for buffer in (host, first):
            ggml.ggml_backend_buffer_free(buffer)
        steps.append(memory())
        print(json.dumps({{
            "listed": list(devices()),
            "props": [props.name.decode(), props.type, props.is_async, props.events,
                      props.host_buffer, props.mmap_support],
            "names": [ggml.ggml_backend_buft_name(kind).decode() for kind in (own, pinned)],
            "is_host": [ggml.ggml_backend_buft_is_host(kind) for kind in (own, pinned)],
            "alignment": ggml.ggml_backend_buft_get_alignment(own),
            "base": base % 128,
            "steps": steps,
            "refused": second,
            "host": bool(host),
            "denied": device.denied,
        }}))
        """
    )
    return found


def test_a_simulated_device_is_found_by_name_and_describes_itself(device: dict[str, Any]) -> None:
    assert device["listed"][-1] == "SIM7"
    assert device["props"] == ["SIM7", 1, True, True, True, True]
    assert device["names"] == ["SIM7", "SIM7_Host"]
    assert device["is_host"] == [False, True]
    assert (device["alignment"], device["base"]) == (128, 0)


def test_it_counts_its_buffers_and_refuses_what_does_not_fit(device: dict[str, Any]) -> None:
    gib, used = 1 << 30, 700 << 20
    assert device["steps"] == [[gib, gib], [gib - used, gib], [gib - used, gib], [gib, gib]]
    assert device["refused"] is None
    assert device["denied"] == [400 << 20]


def test_pinned_host_memory_is_neither_counted_nor_limited(device: dict[str, Any]) -> None:
    assert device["host"] is True


@pytest.mark.parametrize(
    ("backend", "pulls", "host_buffer", "pipelines"),
    [
        ("cuda", True, True, True),
        ("rocm", True, True, True),
        ("vulkan", True, True, True),
        ("metal", True, False, True),
        ("rpc", False, False, True),
        ("other", False, False, False),
    ],
)
def test_a_device_is_simulated_after_its_backend(
    backend: Backend, pulls: bool, host_buffer: bool, pipelines: bool
) -> None:
    spec = simulated_spec(gpu(backend=backend))
    assert (spec.streams, spec.host_buffer, spec.pipelines) == (pulls, host_buffer, pipelines)
    assert spec.alignment_bytes == device_traits(gpu(backend=backend)).alignment_bytes


def test_unknown_memory_counts_as_what_is_known_of_it() -> None:
    asleep = dataclasses.replace(gpu(), free_bytes=None)
    assert simulated_spec(asleep).free_bytes == asleep.total_bytes
    blind = dataclasses.replace(gpu(), free_bytes=None, total_bytes=None)
    assert (simulated_spec(blind).free_bytes, simulated_spec(blind).total_bytes) == (0, 0)


def test_the_profile_s_own_alignment_stands() -> None:
    assert simulated_spec(gpu(alignment_bytes=256)).alignment_bytes == 256
