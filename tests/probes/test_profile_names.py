"""Which profile a person means."""

from __future__ import annotations

from functools import cache

import pytest

from localllm.errors import UsageError
from localllm.probes import profile_names as names
from localllm.probes.profiles import load_profile, profile_names


@pytest.mark.parametrize(
    ("spelling", "meant"),
    [
        ("rtx4090", "rtx-4090"),
        ("RTX-4090", "rtx-4090"),
        ("4090", "rtx-4090"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("geforce rtx 4070 ti super", "rtx-4070-ti-super"),
        ("rtx4060ti 16gb", "rtx-4060-ti-16gb"),
        ("7900xtx", "rx-7900-xtx"),
        ("a6000", "rtx-a6000"),
        ("6000 ada", "rtx-6000-ada"),
        ("Tesla T4", "t4"),
        ("NVIDIA A100-SXM4-80GB", "a100-sxm4-80gb"),
        ("NVIDIA H100 80GB HBM3", "h100-sxm5-80gb"),
        ("m3 max", "apple-m3-max"),
        ("Apple M3 Pro", "apple-m3-pro"),
        ("m3", "apple-m3"),
        ("apple m3 max 128gb", "apple-m3-max-128gb"),
        ("A100-PCIE-40GB MIG 1g.5gb", "a100-pcie-40gb-mig-1g.5gb"),
        ("dgx spark", "gb10"),
        ("strix", "strix-halo"),
        ("9654", "epyc-9654"),
        ("2x RTX 4090", "2x rtx-4090"),
        # What one name of several products means to nearly everyone, said in their files.
        ("rtx-3060", "rtx-3060-12gb"),
        ("h200", "h200-sxm-141gb"),
    ],
)
def test_other_spellings_mean_the_profile(spelling: str, meant: str) -> None:
    assert load_profile(spelling) == load_profile(meant)


@pytest.mark.parametrize(
    ("spelling", "offered"),
    [
        ("a100", ("a100-pcie-40gb", "a100-pcie-80gb", "a100-sxm4-40gb", "a100-sxm4-80gb")),
        ("a100-80gb", ("a100-pcie-80gb", "a100-sxm4-80gb")),
        ("h100", ("h100-pcie-80gb", "h100-sxm5-80gb", "h100-nvl-94gb")),
        ("NVIDIA GeForce RTX 4060 Ti", ("rtx-4060-ti-8gb", "rtx-4060-ti-16gb")),
        ("v100", ("v100-pcie-16gb", "v100-sxm2-32gb")),
        ("1g.10gb", ("a100-pcie-40gb-mig-1g.10gb",)),
    ],
)
def test_a_name_of_several_is_never_guessed(spelling: str, offered: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="may be several") as caught:
        load_profile(spelling)
    for name in offered:
        assert name in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("gtx 1080", "rtx-5080"),
        ("mi300", "mi300x"),
        ("2x rtx-40900", "rtx-4090"),
        ("zzz", "desktop-ddr5"),
        ("../desktop-ddr5", "desktop-ddr5"),
        ("/etc/passwd", "rtx-4090"),
        ("", "rtx-4090"),
    ],
)
def test_an_unknown_name_offers_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match="No hardware profile") as caught:
        load_profile(name)

    assert hint in (caught.value.hint or "")
    assert caught.value.exit_code == 2


def test_every_name_means_itself_and_none_is_listed_twice() -> None:
    listed = profile_names()
    assert len(set(listed)) == len(listed)
    assert list(listed) == sorted(listed)
    for name in listed:
        assert load_profile(name).name == name


def test_no_two_files_claim_the_same_other_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "_parsed", cache(names._parsed))  # every alias asks every file
    listed = frozenset(profile_names())
    claimed: dict[str, str] = {}
    for name, aliases, _ in names._other_names():
        for alias in aliases:
            assert alias not in claimed, f"{name} and {claimed.get(alias)} are both {alias}"
            assert alias not in listed
            claimed[alias] = name
            assert load_profile(alias).name == name


def test_one_profile_is_read_without_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Completion lists 260 names; a plan must not pay for them."""
    read: list[str] = []
    real = names._text

    def counted(name: str) -> str:
        read.append(name)
        return real(name)

    monkeypatch.setattr(names, "_text", counted)
    load_profile("a100-pcie-80gb-mig-1g.10gb")
    assert read == ["a100-pcie-80gb", "epyc-9654"]
