"""The machine as a run sees it: precision by the processor's flags, no needless torch, a record without secrets."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ablation import environment
from ablation.environment import (
    PACKAGES,
    cores,
    describe_environment,
    emulation_note,
    resolve_device,
    resolve_precision,
    use_huge_pages,
    yield_cores,
)
from ablation.errors import UserError
from ablation.schema import Device, Precision

CPUINFO = "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu sse2 avx512f {}\n"
GPU_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
no_gpu_files = pytest.mark.skipif(
    sys.platform != "linux" or any(map(os.path.exists, GPU_FILES)), reason="a machine that may have a GPU has to ask"
)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What other tests have resolved is forgotten, and what these tests resolve is too."""
    for function in (resolve_precision, environment._available):
        function.cache_clear()
    yield
    for function in (resolve_precision, environment._available):
        function.cache_clear()


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ("avx512_bf16", "bf16"),
        ("amx_bf16 amx_tile", "bf16"),
        ("avx512_bf16 amx_bf16", "bf16"),
        ("avx512_vnni avx512_fp16", "fp32"),
        ("amx_tile amx_int8", "fp32"),
        ("", "fp32"),
    ],
)
def test_auto_is_bf16_only_where_the_processor_computes_it_natively(
    flags: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "_cpu_flags", lambda: CPUINFO.format(flags))
    assert resolve_precision(Precision.auto, "cpu") == precision
    assert ("emulates it" in emulation_note("bf16", "cpu")) == (precision == "fp32")
    assert not emulation_note("fp32", "cpu") + emulation_note("bf16", "cuda")


def test_auto_is_fp32_where_the_processor_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert resolve_precision(Precision.auto, "cpu") == "fp32"


def test_auto_is_fp32_on_mps_whatever_the_processor_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_cpu_flags", lambda: CPUINFO.format("avx512_bf16"))
    assert resolve_precision(Precision.auto, "mps") == "fp32"


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_auto_is_bf16_on_cuda_from_ampere_on(
    capability: tuple[int, int], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert resolve_precision(Precision.auto, "cuda") == precision


@pytest.mark.parametrize("wanted", [one for one in Precision if one is not Precision.auto])
@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_a_precision_that_was_asked_for_is_taken_as_it_is(wanted: Precision, device: str) -> None:
    assert resolve_precision(wanted, device) == wanted.name


@pytest.mark.parametrize(
    ("present", "device"),
    [({"cpu"}, "cpu"), ({"cpu", "mps"}, "mps"), ({"cpu", "cuda"}, "cuda"), ({"cpu", "cuda", "mps"}, "cuda")],
)
def test_auto_is_the_first_device_there_is(present: set[str], device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_available", lambda name: name in present)
    assert resolve_device(Device.auto) == device


def test_field_S6_a_device_that_is_not_there_is_refused_and_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_available", lambda name: name == "cpu")
    assert resolve_device(Device.cpu) == "cpu"
    with pytest.raises(UserError, match=r"trainer.device=cuda: this machine has none. Use trainer.device=auto or cpu"):
        resolve_device(Device.cuda)


@no_gpu_files
def test_nothing_is_asked_of_torch_where_there_can_be_no_gpu() -> None:
    program = (
        "import sys\n"
        "from ablation.environment import resolve_device, resolve_precision\n"
        "from ablation.schema import Device, Precision\n"
        "device = resolve_device(Device.auto)\n"
        "resolve_precision(Precision.auto, device)\n"
        "assert device == 'cpu', device\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_cores_are_those_this_process_may_use() -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("no processor affinity on this system")
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert cores() == len(before)


ALLOWED = {
    "python", "platform", "machine", "packages", "cores", "device", "device_name", "threads", "precision",
    "git_commit", "git_dirty",
}  # fmt: skip


def test_the_record_holds_the_allowed_facts_and_no_others() -> None:
    record = describe_environment("cpu", "Some CPU", "fp32", 3)
    assert set(record) == ALLOWED
    given = {"device": "cpu", "device_name": "Some CPU", "precision": "fp32", "threads": 3}
    assert {name: record[name] for name in given} == given
    assert record["python"] == ".".join(map(str, sys.version_info[:3]))
    assert tuple(record["packages"]) == PACKAGES
    assert all(record["packages"].values())


def test_the_record_holds_no_value_of_an_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "secret-5f0c1e77")
    text = json.dumps(describe_environment("cpu", "", "fp32", 1))
    assert "secret-5f0c1e77" not in text
    for name in ("HOME", "USER", "PWD", "HOSTNAME", "VIRTUAL_ENV"):
        value = os.environ.get(name, "")
        assert len(value) < 3 or json.dumps(value) not in text


def test_an_installed_package_outside_a_repository_has_no_commit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "ablation" / "environment.py"))
    record = describe_environment("cpu", "", "fp32", 1)
    assert (record["git_commit"], record["git_dirty"]) == (None, None)


def test_the_commit_and_the_changes_of_the_repository_are_recorded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def git(*command: str) -> str:
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        return subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *command], capture_output=True, text=True, check=True
        ).stdout.strip()

    def dirty() -> bool:
        return bool(describe_environment("cpu", "", "fp32", 1)["git_dirty"])

    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    trains = ["ablation/model.py", "ablation/datasets/x.npz", "conf/norm/batch.yaml", "pyproject.toml"]
    others = ["reports/demo/runs.csv", "README.md", "tests/test_x.py", "docs/ablation/conf.md"]
    git("init", "--quiet")
    for name in (*trains, *others):
        write(name, "one")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "ablation" / "environment.py"))
    record = describe_environment("cpu", "", "fp32", 1)
    assert (record["git_commit"], record["git_dirty"]) == (git("rev-parse", "HEAD"), False)
    for name in ("test.txt", "conf/norm/mine.yaml", *others):  # what nobody committed, and what trains nothing
        write(name, "two")
    assert not dirty()
    for name in trains:
        write(name, "two")
        assert dirty(), name
        git("checkout", "--quiet", name)
        assert not dirty()
    git("rm", "--quiet", trains[0])
    assert dirty()


def test_the_record_can_be_made_where_git_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    record = describe_environment("cpu", "", "fp32", 1)
    assert (record["git_commit"], record["git_dirty"]) == (None, None)


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_waiting_threads_give_their_cores_away_unless_the_user_says_otherwise(
    given: dict[str, str], spins: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "set, so that the end of the test takes it back")
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    yield_cores()
    assert os.environ.get("GOMP_SPINCOUNT") == spins


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "glibc.malloc.hugetlb=1"),
        ("glibc.malloc.check=3", "glibc.malloc.check=3:glibc.malloc.hugetlb=1"),
        ("glibc.malloc.hugetlb=0", "glibc.malloc.hugetlb=0"),
    ],
)
def test_huge_pages_are_asked_for_beside_what_the_user_has_set(
    before: str | None, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if before is not None:
        monkeypatch.setenv("GLIBC_TUNABLES", before)
    use_huge_pages()
    assert os.environ["GLIBC_TUNABLES"] == after
    monkeypatch.setenv("GLIBC_TUNABLES", "")
