"""A private one-node Slurm with accounting on this machine: up inside a `with`, gone without a trace after it.

It needs neither root, systemd nor cgroups, and reads nothing of /etc. Debian: slurm-wlm munge slurmdbd mariadb-server.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

DAEMONS = ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd")
TOOLS = ("munge", "mariadb-install-db", "mariadb-admin")
CLIENTS = ("sbatch", "srun", "scancel", "scontrol", "sinfo", "squeue", "sacct")
# Debian puts the daemons where the PATH of a plain user does not look.
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
START_SECONDS = 60.0  # for each daemon; a busy machine is slow, a broken daemon dies at once
STOP_SECONDS = 15.0

# A requeued job waits until its old credential has expired: cred_expire, which is 120 s by default.
# CPUs are counted as configured, so two jobs run at once on any machine: config_overrides.
SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}({address})
{communication}
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={home}/munge.socket,cred_expire=10
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={dbd_port}
AccountingStoragePass={home}/munge.socket
JobAcctGatherType=jobacct_gather/linux
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
SlurmdLogFile={home}/log/slurmstepd.log
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=3
NodeName={host} NodeAddr={address} CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=low Nodes={host} Default=YES MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime=5
PartitionName=high Nodes={host} MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
"""
SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={home}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={dbd_port}
SlurmUser={user}
PidFile={home}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser={user}
CommunicationParameters=NoInAddrAny
"""


def missing_programs() -> list[str]:
    """Names of the programs that `slurm` and its clients need and this machine lacks."""
    return [name for name in (*DAEMONS, *TOOLS, *CLIENTS) if shutil.which(name, path=PATH) is None]


@contextmanager
def slurm(folder: Path, *, cpus: int = 2) -> Iterator[dict[str, str]]:
    """Run Slurm with all its files below `folder`; yields the environment variables that its clients need."""
    for name in ("log", "state", "spool", "mysql"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # The path of a Unix socket may have 107 characters: every daemon goes through a short link to the folder.
        short = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp")))
        home = short / "home"
        home.symlink_to(folder.resolve())
        variables = {"SLURM_CONF": f"{home}/slurm.conf"}
        # What a surrounding Slurm says of itself would confuse daemons and clients.
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SLURMD_"))}
        env = {**inherited, **variables, "PATH": PATH, "MYSQL_UNIX_PORT": f"{home}/mysql.sock"}
        stack.callback(_kill_strays, variables)

        def start(*command: str, until: Callable[[], bool]) -> None:
            log = home / "log" / f"{command[0]}.log"
            with log.open("ab") as output:
                # A session of its own: Ctrl-C must reach pytest alone, which then stops the daemons in order.
                daemon = subprocess.Popen(
                    command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
            stack.callback(_stop, daemon)
            end = time.monotonic() + START_SECONDS
            while not until():
                if daemon.poll() is not None or time.monotonic() > end:
                    tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
                    raise RuntimeError(f"{command[0]} did not come up (exit code {daemon.poll()}):\n{tail}")
                time.sleep(0.05)

        def prints(expected: str, *command: str) -> Callable[[], bool]:
            return lambda: expected in _output(command, env)

        user = pwd.getpwuid(os.getuid()).pw_name
        key, munge_socket, mysql_socket = home / "munge.key", home / "munge.socket", home / "mysql.sock"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        munge_files = (f"--key-file={key}", f"--pid-file={home}/munged.pid", f"--seed-file={home}/munge.seed")
        ready = prints("MUNGE:", "munge", "--no-input", f"--socket={munge_socket}")
        start("munged", "--foreground", "--force", f"--socket={munge_socket}", *munge_files, until=ready)

        tables = ("--no-defaults", f"--user={user}", f"--datadir={home}/mysql")
        if not (home / "mysql" / "mysql").is_dir():
            # The administrator is who owns the connection, so there is no password.
            owner = ("--auth-root-authentication-method=socket", f"--auth-root-socket-user={user}")
            subprocess.run(["mariadb-install-db", *tables, *owner], env=env, check=True, capture_output=True)
        server = ("--skip-networking", "--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900")
        ready = prints("alive", "mariadb-admin", "--no-defaults", f"--socket={mysql_socket}", "ping")
        start("mariadbd", *tables, f"--socket={mysql_socket}", *server, until=ready)

        port = _write_configuration(home, user, cpus)
        start("slurmdbd", "-D", until=prints("Cluster", "sacctmgr", "show", "cluster"))
        # Only once the controller has told the database its port do all jobs appear in sacct.
        registered = prints(port, "sacctmgr", "--noheader", "show", "cluster", "format=ControlPort")
        start("slurmctld", "-D", until=registered)
        start("slurmd", "-D", until=prints("idle", "sinfo", "--noheader", "--format=%t"))
        stack.callback(_cancel_jobs, env)
        yield variables


def _output(command: Sequence[str], env: dict[str, str]) -> str:
    """What a program prints; nothing if it hangs."""
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout


def _write_configuration(home: Path, user: str, cpus: int) -> str:
    """Write the configuration files; returns the port of the controller."""
    try:
        address = socket.gethostbyname(socket.gethostname())
    except OSError:
        address = ""
    # Slurm binds to what the name of the host resolves to, or else to every interface. Where the name is not
    # a loopback address, the daemons still talk through one, and only the munge key keeps others out.
    loopback = address.startswith("127.")
    ctld_port, slurmd_port, dbd_port = _free_ports(3)
    values = {
        "home": home,
        "user": user,
        "host": socket.gethostname().split(".")[0],
        "address": address if loopback else "127.0.0.1",
        "communication": "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny" if loopback else "",
        "ctld_port": ctld_port,
        "slurmd_port": slurmd_port,
        "dbd_port": dbd_port,
        "cpus": cpus,
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
    }
    (home / "slurm.conf").write_text(SLURM_CONF.format(**values))
    (home / "slurmdbd.conf").touch(mode=0o600)  # slurmdbd refuses a file that others can read
    (home / "slurmdbd.conf").write_text(SLURMDBD_CONF.format(**values))
    # Without this line slurmd looks for the control groups of systemd, and gives up.
    (home / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    return str(ctld_port)


def _free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nothing listens on; all are held until the last is found, so that they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def _cancel_jobs(env: dict[str, str]) -> None:
    """Cancel every job, then kill what runs of it, so that nobody has to wait for KillWait."""
    user = str(os.getuid())
    _output(["scancel", f"--user={user}"], env)
    _output(["scancel", f"--user={user}", "--full", "--signal=KILL"], env)
    end = time.monotonic() + STOP_SECONDS
    while _output(["squeue", "--noheader"], env) and time.monotonic() < end:
        time.sleep(0.1)


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    """Ask a daemon to end, and kill it if it does not."""
    daemon.terminate()
    try:
        daemon.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _kill_strays(variables: dict[str, str]) -> None:
    """Kill what is left: Slurm loses sight of a process whose parent has ended, but its environment names us."""
    marks = {f"{key}={value}".encode() for key, value in variables.items()}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if int(entry.name) != os.getpid() and marks <= set((entry / "environ").read_bytes().split(b"\0")):
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:  # ended meanwhile, or another user's
            continue
