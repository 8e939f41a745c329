"""The GPUs of this machine, counted without torch, and NVIDIA's MPS, which lets several processes share one at a time.

Without MPS processes take turns on a GPU, so that two of them train no faster than one after the other.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
CONTROL = "nvidia-cuda-mps-control"
DRIVER = Path("/proc/driver/nvidia/gpus")  # one folder for each GPU
PATIENCE = 20.0  # seconds that a program of NVIDIA's gets to answer


def gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES calls each GPU that this process may use: what it names already, else all there are.

    UUIDs where `nvidia-smi` tells them, a MIG instance counting as a GPU; else numbers.
    """
    if (named := os.environ.get(VISIBLE)) is not None:
        return _up_to_the_first_wrong(named)
    if listed := _listed():
        return listed
    if DRIVER.is_dir():
        return [str(number) for number, _ in enumerate(DRIVER.iterdir())]
    import torch  # no NVIDIA driver, so AMD's GPUs, say

    return [str(number) for number in range(torch.cuda.device_count())]


def _up_to_the_first_wrong(named: str) -> list[str]:
    """The entries of CUDA_VISIBLE_DEVICES that CUDA heeds: those before the first that names nothing, -1 say."""
    found: list[str] = []
    for entry in (part.strip() for part in named.split(",")):
        if not re.fullmatch(r"\d+|(GPU|MIG)-.+", entry):
            break
        found.append(entry)
    return found


def _listed() -> list[str]:
    """UUIDs in `nvidia-smi -L`, of the MIG instances where a GPU is divided; none where it does not answer."""
    answer = _ask(["nvidia-smi", "-L"])
    found: list[list[str]] = []
    for kind, uuid in re.findall(r"^\s*(GPU|MIG) .*\(UUID: ([^)]+)\)", answer or "", re.MULTILINE):
        if kind == "GPU":
            found.append([uuid])
        elif found:
            found[-1].append(uuid)
    return [uuid for whole, *parts in found for uuid in (parts or [whole])]


def _ask(command: Sequence[str], said: str = "", variables: dict[str, str] | None = None) -> str | None:
    """What a program prints, given `said` on its standard input; None where it is absent, fails or does not answer."""
    if shutil.which(command[0]) is None:
        return None
    with tempfile.TemporaryFile("w+") as out:  # a daemon that it leaves behind would keep a pipe open
        try:
            done = subprocess.run(
                command, input=said, env=variables, stdout=out, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE,
                start_new_session=True,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return None
        out.seek(0)
        answer = out.read()
    return answer if done.returncode == 0 and "Cannot find MPS control" not in answer else None


def no_sharing(names: Sequence[str]) -> str:
    """Why several processes cannot share one of these GPUs at a time; '' where they can."""
    turns = "processes take turns on a GPU and packing gains nothing"
    if any(name.startswith("MIG-") for name in names):
        return "these are parts of GPUs already (MIG)"
    if shutil.which(CONTROL) is None:
        return f"more would need NVIDIA's MPS, and {CONTROL} is not on PATH: without it {turns}"
    return ""


@contextmanager
def sharing(names: Sequence[str]) -> Iterator[dict[str, str] | None]:
    """Let processes share these GPUs as long as the body runs: by the MPS that runs, else by one of our own.

    Gives what their environment must say, or None where MPS could not be started.
    """
    if _ask([CONTROL], "get_server_list\n") is not None:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="ablation-mps-", ignore_cleanup_errors=True) as folder:
        ours = {"CUDA_MPS_PIPE_DIRECTORY": f"{folder}/pipe", "CUDA_MPS_LOG_DIRECTORY": f"{folder}/log"}
        for path in ours.values():
            Path(path).mkdir()
        around = {name: value for name, value in os.environ.items() if name != VISIBLE} | ours
        if not any(name.isdecimal() for name in names):  # a number would mean another GPU among a few
            around[VISIBLE] = ",".join(names)
        try:
            started = _ask([CONTROL, "-d"], variables=around) is not None
            yield ours if started else None
        finally:
            with suppress(KeyboardInterrupt):
                _ask([CONTROL], "quit\n", variables=around)
