"""A throw-away Slurm on this machine: real daemons, virtual nodes, no systemd, nothing outside one folder.

As root every node has a network, mount and UTS namespace of its own, so that an address like ``localhost`` fails as it
would between machines. Without root all nodes share the loopback network.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.warm import ROOT
from tests.support.warm_path import HERE, write_programs

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "unshare", "nsenter")
NODES = 2
SUBNET = "10.77.0"
CONTROLLER = 254
FIRST_PORT = 17000
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}


class Unavailable(Exception):
    """Why no Slurm can be had here."""


class Cluster:
    """Two nodes of 64 cores and 8 GPUs each, all of them fake; a partition ``preemptible`` below ``main``.

    Args:
        folder: for configs, state and logs.
        number: of this cluster among those that run beside it: its ports and its jobs' ids are no other's.

    Raises:
        Unavailable: something is not installed, or the daemons do not come up.
    """

    def __init__(self, folder: Path, number: int = 0) -> None:
        self.folder = folder
        self._first_port = FIRST_PORT + 10 * number
        self._first_job = 1 + 1000 * number
        self.conf = folder / "etc" / "slurm.conf"
        self.plugins = folder / "etc" / "plugstack.conf"
        self._daemons: list[subprocess.Popen[bytes]] = []
        path = os.environ["PATH"] + ":/usr/sbin:/sbin"
        missing = [name for name in NEEDED if shutil.which(name, path=path) is None]
        if missing:
            raise Unavailable(f"{', '.join(missing)} not installed (Debian: munge slurmctld slurmd slurm-client)")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))},
            "PATH": path,
            "SLURM_CONF": str(self.conf),
        }
        tag = str(os.getpid())
        self._namespaces = [f"danube-{tag}-{name}" for name in ("net", *self.nodes)]
        self.has_networks = os.geteuid() == 0 and _quiet(["ip", "netns", "add", self._namespaces[0]])
        self.venv = folder / "venv"
        """Its programs start as copies of a process that each node has, and elsewhere as they are."""
        self._warm_address = f"{folder}/run/warm.{HERE}"
        try:
            self._write_files()
            write_programs(self.venv / "bin", self._warm_address)
            if self.has_networks:
                self._make_networks()
            self._start()
        except BaseException:
            self.stop()
            raise

    @property
    def nodes(self) -> list[str]:
        return [f"node{number}" for number in range(1, NODES + 1)]

    def stop(self) -> None:
        """End every job and daemon of this cluster, and give its networks back."""
        if self._daemons:
            self._try("scancel", "--user", str(os.geteuid()), "--state=PENDING")
            self._try("scancel", "--user", str(os.geteuid()))
            self._wait_until(lambda: not self.ask("squeue", "--noheader"), 15)
        for process in reversed(self._daemons):
            process.terminate()
        for process in self._daemons:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._daemons.clear()
        for name in self._namespaces if self.has_networks else ():
            _quiet(["ip", "netns", "delete", name])

    def run(self, *command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """A command as on a login node."""
        return subprocess.run(
            [*self.in_network, *map(str, command)],
            cwd=cwd,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def ask(self, *command: str) -> str:
        """What a command of Slurm's prints; empty if it fails."""
        return self.run(*command).stdout.strip()

    def submit(self, *arguments: str | Path, cwd: Path) -> int:
        """``sbatch``; returns the job's id."""
        done = self.run("sbatch", "--parsable", *arguments, cwd=cwd)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    def job(self, number: int) -> dict[str, str]:
        """Slurm's fields of a job, such as ``JobState`` and ``Restarts``."""
        return dict(re.findall(r"(\w+)=(\S*)", self.ask("scontrol", "--oneliner", "show", "job", str(number))))

    def wait(self, number: int, timeout: float = 240) -> str:
        """Wait until a job has ended for good; returns its state."""
        self.wait_for(lambda: self.job(number).get("JobState") in ENDED, timeout, f"job {number} to end")
        return self.job(number)["JobState"]

    def wait_for(self, condition: Callable[[], object], timeout: float, what: str) -> None:
        """Poll until something holds."""
        if not self._wait_until(condition, timeout):
            raise AssertionError(f"waited {timeout} s for {what}\n{self.ask('scontrol', 'show', 'job')}")

    @staticmethod
    def _wait_until(condition: Callable[[], object], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def _try(self, *command: str) -> bool:
        try:
            return self.run(*command).returncode == 0
        except (OSError, subprocess.TimeoutExpired):
            return False

    @property
    def in_network(self) -> list[str]:
        """What a command line begins with as on a login node."""
        return self._in_network(self._namespaces[0])

    def in_network_of(self, node: str) -> list[str]:
        """What a command line begins with to have a node's network."""
        return self._in_network(self._namespaces[1 + self.nodes.index(node)])

    def _in_network(self, name: str) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{name}"] if self.has_networks else []

    def _address(self, number: int) -> str:
        return f"{SUBNET}.{number}" if self.has_networks else "127.0.0.1"

    def _make_networks(self) -> None:
        """A bridge in a namespace of its own, where the controller is; a cable from it to every node."""
        switch = self._namespaces[0]
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "address", "add", f"{self._address(CONTROLLER)}/24", "dev", "bridge")
        for device in ("lo", "bridge"):
            _ip("-n", switch, "link", "set", device, "up")
        for number, name in enumerate(self._namespaces[1:], start=1):
            _ip("netns", "add", name)
            _ip("-n", switch, "link", "add", f"port{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("-n", switch, "link", "set", f"port{number}", "master", "bridge", "up")
            _ip("-n", name, "address", "add", f"{self._address(number)}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", name, "link", "set", device, "up")

    def _write_files(self) -> None:
        folder = self.folder
        for name in ("etc", "state", "log", "run", "gpus", *(f"spool/{node}" for node in self.nodes)):
            (folder / name).mkdir(parents=True)
        for number in range(8):
            (folder / "gpus" / f"nvidia{number}").symlink_to("/dev/null")
        hosts = [f"{self._address(number)} {node}" for number, node in enumerate(self.nodes, start=1)]
        (folder / "etc" / "hosts").write_text("\n".join(["127.0.0.1 localhost", *hosts, ""]))
        (folder / "etc" / "gres.conf").write_text(f"Name=gpu Type=h100 File={folder}/gpus/nvidia[0-7]\n")
        key = folder / "etc" / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        user = os.environ.get("USER") or subprocess.check_output(["id", "--user", "--name"], text=True).strip()
        nodes = [
            f"NodeName={node} NodeAddr={self._address(number)} Port={self._first_port + number} "
            "CPUs=64 RealMemory=1000000 Gres=gpu:h100:8"
            for number, node in enumerate(self.nodes, start=1)
        ]
        settings = {
            "ClusterName": "danube",
            "SlurmctldHost": f"{socket.gethostname().split('.')[0]}({self._address(CONTROLLER)})",
            "SlurmctldPort": self._first_port,
            "FirstJobId": self._first_job,
            "SlurmUser": user,
            "SlurmdUser": user,
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={folder}/run/munge.sock,cred_expire=5",  # a requeue waits for it
            "StateSaveLocation": f"{folder}/state",
            "SlurmdSpoolDir": f"{folder}/spool/%n",
            "SlurmctldPidFile": f"{folder}/run/slurmctld.pid",
            "SlurmdPidFile": f"{folder}/run/slurmd.%n.pid",
            "SlurmctldLogFile": f"{folder}/log/slurmctld.log",
            "SlurmdLogFile": f"{folder}/log/slurmd.%n.log",
            "MailProg": "/bin/true",
            "MpiDefault": "none",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "JobAcctGatherType": "jobacct_gather/none",
            "AccountingStorageType": "accounting_storage/none",
            "PropagateResourceLimits": "NONE",
            "SlurmdParameters": "config_overrides",  # believe the sizes below
            "GresTypes": "gpu",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core_Memory",
            "DefMemPerCPU": 1024,
            "ReturnToService": 0,
            "SchedulerType": "sched/backfill",
            "SchedulerParameters": "batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1",
            "KillWait": 10,
            "MessageTimeout": 60,  # a kill without an answer is sent again, to the step after a requeue
            "PreemptType": "preempt/partition_prio",
            "PreemptMode": "REQUEUE",
            "JobRequeue": 1,
        }
        lines = [*(f"{name}={value}" for name, value in settings.items()), *nodes]
        lines += ["PartitionName=main Nodes=ALL Default=YES PriorityTier=10"]
        lines += ["PartitionName=preemptible Nodes=ALL PriorityTier=1 GraceTime=10", ""]
        self.conf.write_text("\n".join(lines))
        plugin = folder / "fake_pyxis.so"
        source = Path(__file__).with_name("fake_pyxis.c")
        if _quiet(["cc", "-shared", "-fPIC", "-o", str(plugin), str(source)]):
            self.plugins.write_text(f"required {plugin}\n")

    def _start(self) -> None:
        folder = self.folder
        run, log = folder / "run", folder / "log"
        munge = [f"--key-file={folder}/etc/munge.key", f"--socket={run}/munge.sock", f"--pid-file={run}/munged.pid"]
        munge += [f"--log-file={log}/munged.log", f"--seed-file={run}/munged.seed", "--foreground", "--force"]
        self._daemon("munged", ["munged", *munge])
        self._wait_until((run / "munge.sock").exists, 5)
        self._daemon("slurmctld", [*self.in_network, "slurmctld", "-D", "-c"])
        for node, namespace in zip(self.nodes, self._namespaces[1:], strict=True):
            as_node = 'mount --bind "$1" /etc/hosts && hostname "$2" && shift 2 && exec "$@"'
            command = [*self._in_network(namespace), "unshare", "--mount", "--uts"]
            as_user: list[str] = []
            if os.geteuid() != 0:
                command += ["--map-root-user"]
                as_user = ["unshare", "--user", f"--map-user={os.geteuid()}", f"--map-group={os.getegid()}"]
            command += ["sh", "-c", as_node, "-", f"{folder}/etc/hosts", node, *as_user]
            self._daemon(node, [*command, "slurmd", "-D", "-N", node])
            address = self._warm_address.replace(HERE, node)
            self._daemon(f"{node}.warm", [*command, sys.executable, "-m", "tests.support.warm_node", address])
        idle = ["sinfo", "--noheader", "--partition=main", "--Node", "--format=%T"]
        if not self._wait_until(lambda: self.ask(*idle).split() == ["idle"] * NODES, 20):
            logs = [line for path in log.iterdir() for line in path.read_text(errors="replace").splitlines()]
            errors = [line for line in logs if re.search("error|fatal", line)]
            raise Unavailable("the daemons do not come up: " + "; ".join(errors[-3:]))

    def _daemon(self, name: str, command: Sequence[str]) -> None:
        with (self.folder / "log" / f"{name}.out").open("wb") as log:
            self._daemons.append(
                subprocess.Popen(
                    command, cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            )


def _quiet(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
