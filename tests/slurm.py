"""A private one-node Slurm with accounting, for tests: up inside a `with`, gone without a trace after it.

It needs neither root, systemd nor cgroups. Debian: slurm-wlm munge slurmdbd mariadb-server.
"""

import os
import pwd
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired, run

PROGRAMS = (
    *("munged", "munge", "mariadb-install-db", "mariadbd", "mariadb-admin", "slurmdbd", "slurmctld", "slurmd"),
    *("sacctmgr", "sacct", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun"),
)
# Debian puts the daemons where the PATH of a plain user does not look.
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
START_SECONDS = 60.0  # for each daemon; a busy machine is slow, a broken daemon dies at once
STOP_SECONDS = 15.0

# cred_expire: a requeued job waits until its old credential has expired, which is 120 s by default.
# config_overrides: believe the number of CPUs below, so that two jobs run at once on any machine.
# GraceTime=0: the controller looks for the end of a longer grace only every 30 s, so tests would wait for that;
# a preempted job has KillWait between SIGTERM and SIGKILL.
SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}({address})
{communication}
SlurmctldPort={port}
SlurmdPort={slurmd_port}
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={home}/munge.socket,cred_expire=10
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={slurmdbd_port}
AccountingStoragePass={home}/munge.socket
JobAcctGatherType=jobacct_gather/linux
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
SlurmdLogFile={home}/log/slurmstepd.log
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
ProctrackType=proctrack/linuxproc
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=5
NodeName={host} NodeAddr={address} CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=low Nodes={host} Default=YES MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime=0
PartitionName=high Nodes={host} MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
"""
SLURMDBD_CONF = """\
AuthInfo=socket={home}/munge.socket
CommunicationParameters=NoInAddrAny
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={slurmdbd_port}
SlurmUser={user}
PidFile={home}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser={user}
"""


def missing_programs() -> list[str]:
    """Names of the programs that a Slurm of its own needs and this machine lacks."""
    return [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]


@contextmanager
def slurm(folder: Path, *, cpus: int = 2) -> Iterator[dict[str, str]]:
    """Run Slurm with all its files below `folder`; yields the environment variables that its clients need."""
    for name in ("log", "state", "spool", "mysql"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # The path of a Unix socket has at most 107 characters: the daemons see the folder through a short link.
        short = tempfile.mkdtemp(prefix="slurm-", dir="/tmp")
        # A process of its own cleans up at a word from us, or at the end of its input, which is also our sudden death.
        cleaner = Popen([sys.executable, "-I", __file__, short], stdin=PIPE, start_new_session=True)
        stack.callback(cleaner.communicate, b"\n")
        home = Path(short) / "home"
        home.symlink_to(folder.resolve())
        variables = {"SLURM_CONF": f"{home}/slurm.conf"}
        # What a surrounding Slurm says of its own job would confuse ours.
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
        env = {**inherited, **variables, "PATH": PATH, "MYSQL_UNIX_PORT": f"{home}/mysql.sock"}

        def start(*command: str, until: Callable[[], bool]) -> None:
            log = home / "log" / f"{command[0]}.log"
            with log.open("ab") as output:
                # A session of its own: Ctrl-C must reach pytest alone, which then stops the daemons in order.
                daemon = Popen(command, env=env, stdin=DEVNULL, stdout=output, stderr=output, start_new_session=True)
            stack.callback(_stop, daemon)
            end = time.monotonic() + START_SECONDS
            while not until():
                if daemon.poll() is not None or time.monotonic() > end:
                    tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
                    raise RuntimeError(f"{command[0]} did not come up (exit code {daemon.poll()}):\n{tail}")
                time.sleep(0.05)

        def prints(expected: str, *command: str) -> Callable[[], bool]:
            return lambda: expected in _output(env, *command)

        user = pwd.getpwuid(os.getuid()).pw_name
        (home / "munge.key").touch(mode=0o600)
        (home / "munge.key").write_bytes(os.urandom(1024))
        key = (f"--key-file={home}/munge.key", f"--seed-file={home}/munge.seed", f"--pid-file={home}/munge.pid")
        authenticates = prints("MUNGE:", "munge", "--no-input", f"--socket={home}/munge.socket")
        start("munged", "--foreground", "--force", f"--socket={home}/munge.socket", *key, until=authenticates)

        tables = ("--no-defaults", f"--user={user}", f"--datadir={home}/mysql")
        if not (home / "mysql" / "mysql").is_dir():
            # The administrator is whoever owns the connection: no password. A failure shows when the server starts.
            owner = ("--auth-root-authentication-method=socket", f"--auth-root-socket-user={user}")
            with (home / "log" / "mariadbd.log").open("ab") as output:
                run(["mariadb-install-db", *tables, *owner], env=env, stdout=output, stderr=output)
        answers = prints("alive", "mariadb-admin", "--no-defaults", f"--socket={home}/mysql.sock", "ping")
        start("mariadbd", *tables, f"--socket={home}/mysql.sock", "--skip-networking", until=answers)

        port = _write_configuration(home, user, cpus)
        start("slurmdbd", "-D", until=prints("Cluster", "sacctmgr", "show", "cluster"))
        # Only once the controller has told the database its port do all jobs appear in sacct.
        registered = prints(port, "sacctmgr", "--noheader", "show", "cluster", "format=ControlPort")
        start("slurmctld", "-D", until=registered)
        start("slurmd", "-D", until=prints("idle", "sinfo", "--noheader", "--format=%t"))
        stack.callback(_cancel_jobs, env)
        yield variables


def _output(env: dict[str, str], *command: str) -> str:
    """What a program prints; nothing if it hangs."""
    try:
        return run(command, env=env, capture_output=True, text=True, timeout=STOP_SECONDS).stdout
    except TimeoutExpired:
        return ""


def _write_configuration(home: Path, user: str, cpus: int) -> str:
    """Write the configuration files of Slurm; returns the port of the controller."""
    with ExitStack() as stack:  # all are held until the last is found, so that they differ
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        ports = [each.getsockname()[1] for each in held]
    values = dict(zip(("port", "slurmd_port", "slurmdbd_port"), ports, strict=True), home=home, user=user, cpus=cpus)
    values["memory"] = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    values["host"] = socket.gethostname().split(".")[0]
    # Slurm listens where the name of the host points, or else on every interface, where only the munge key guards it.
    address = ""
    with suppress(OSError):
        address = socket.gethostbyname(socket.gethostname())
    loopback = address.startswith("127.")
    values["address"] = address if loopback else "127.0.0.1"
    values["communication"] = "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny" if loopback else ""
    (home / "slurm.conf").write_text(SLURM_CONF.format(**values))
    (home / "slurmdbd.conf").touch(mode=0o600)  # slurmdbd refuses a file that others can read
    (home / "slurmdbd.conf").write_text(SLURMDBD_CONF.format(**values))
    # Without this line slurmd looks for the control groups of systemd, and gives up.
    (home / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    return str(ports[0])


def _cancel_jobs(env: dict[str, str]) -> None:
    """Cancel every job, and kill what runs of it at once: nobody wants to wait for KillWait."""
    for option in ((), ("--full", "--signal=KILL")):
        _output(env, "scancel", f"--user={os.getuid()}", *option)
    end = time.monotonic() + STOP_SECONDS
    while _output(env, "squeue", "--noheader") and time.monotonic() < end:
        time.sleep(0.1)


def _stop(daemon: Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(STOP_SECONDS)
    except TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _clean_up(short: Path) -> None:
    """Kill what is left, also what Slurm lost sight of because its parent has ended: the environment names us."""
    mark = f"SLURM_CONF={short}/home/slurm.conf".encode()
    found = True
    while found:  # a process may have forked while we looked
        found = False
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended, or is somebody else's
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    os.kill(int(entry.name), signal.SIGKILL)
                    found = True
        time.sleep(0.05)
    shutil.rmtree(short)


if __name__ == "__main__":
    sys.stdin.readline()
    _clean_up(Path(sys.argv[1]))
