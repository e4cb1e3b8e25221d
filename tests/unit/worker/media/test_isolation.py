"""Confined children: forbidden operations, tried for real (works.py), and how their end is reported."""

import mmap
import multiprocessing
import multiprocessing.connection
import os
import pickle
import platform
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contentgen_cluster.images import references, rootfs
from contentgen_hostile import works
from contentgen_worker.errors import BeyondLimits, DecoderCrashed, NoVideoTrack, Retryable, WorkerError
from contentgen_worker.media.codec import encode
from contentgen_worker.media.decode.probe import Recording
from contentgen_worker.media.sandbox import isolation
from contentgen_worker.media.sandbox.confinement import ChildLimits, Confinement
from contentgen_worker.media.sandbox.isolation import ConfinedChild, spawn
from contentgen_worker.media.sandbox.server_process import ForkServer

ROOT = Path(__file__).resolve().parents[4]
pytestmark = pytest.mark.usefixtures("bounded")

MIB = 1 << 20
LIMITS = ChildLimits(memory_bytes=256 * MIB, cpu_seconds=20)


def said(work: Callable[..., None], *args: object, limits: ChildLimits = LIMITS) -> list[object]:
    with spawn(work, *args, limits=limits) as child:
        return list(child.messages())


def dies(work: Callable[..., None], *args: object, limits: ChildLimits = LIMITS) -> WorkerError:
    with pytest.raises(WorkerError) as caught:
        said(work, *args, limits=limits)
    return caught.value


def gone(pid: int) -> bool:
    for _ in range(3000):  # a minute
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_a_child_reads_the_files_that_it_was_given_and_no_other(tmp_path: Path) -> None:
    given, other = tmp_path / "given", tmp_path / "other"
    given.write_text("given")
    other.write_text("canary")
    limits = ChildLimits(256 * MIB, 20, files=(given,))
    assert said(works.read, given, limits=limits) == [("done", "given")]
    assert said(works.read, other, limits=limits) == [("refused", "PermissionError")]
    assert said(works.read, Path("/etc/passwd"), limits=limits) == [("refused", "PermissionError")]
    assert said(works.read, Path("/proc/self/environ"), limits=limits) == [("refused", "PermissionError")]
    assert said(works.listing, tmp_path, limits=limits) == [("refused", "PermissionError")]
    assert said(works.write, given, 1, limits=limits) == [("refused", "PermissionError")]
    assert given.read_text() == "given"


def test_child_writes_only_into_its_folder_up_to_its_limit(tmp_path: Path) -> None:
    folder, other = tmp_path / "folder", tmp_path / "other"
    folder.mkdir()
    limits = ChildLimits(256 * MIB, 20, folder=folder, file_bytes=1000)
    assert said(works.write, folder / "a", 1000, limits=limits) == [("done", "1000")]
    assert said(works.write, folder / "b", 1001, limits=limits) == [("refused", "OSError")]
    assert said(works.write, other, 1, limits=limits) == [("refused", "PermissionError")]
    assert not other.exists()


def test_a_child_has_no_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()  # it does listen
        listener.accept()[0].close()
        assert said(works.connect, port) == [("refused", "PermissionError")]
        assert said(works.datagram) == [("refused", "PermissionError")]
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize("work", [works.execute, works.replace, works.fork])
def test_a_child_starts_no_program(work: Callable[..., None]) -> None:
    assert said(work) == [("refused", "PermissionError")]


def test_a_child_reaches_no_other_process() -> None:
    with subprocess.Popen(["sleep", "600"]) as other:
        assert said(works.kill, other.pid) == [("refused", "PermissionError")]
        assert said(works.peek, os.getpid()) == [("refused", "PermissionError")]
        assert other.poll() is None
        other.kill()


REFUSED = [("refused", "PermissionError")]


def test_a_child_has_no_memory_beside_its_limit(tmp_path: Path) -> None:
    limits = ChildLimits(256 * MIB, 20, folder=tmp_path, file_bytes=1000)
    assert said(works.share_memory, 600 * MIB) == REFUSED
    assert said(works.share_memory, 1) == REFUSED
    assert said(works.share_memory, 1, mmap.PROT_READ) == REFUSED  # mprotect could make it writable
    assert said(works.grow_down, 600 * MIB) == REFUSED
    assert said(works.raise_stack, 1 << 30) == [("refused", "ValueError")]
    assert said(works.memory_file) == REFUSED
    assert said(works.map_to_write, tmp_path / "file", limits=limits) == REFUSED


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the attempt makes system calls by the numbers of x86_64")
@pytest.mark.parametrize("number", [29, 319, 447], ids=["shmget", "memfd_create", "memfd_secret"])
def test_a_child_makes_no_object_of_shared_memory(number: int) -> None:
    assert said(works.numbered_call, number, 0, 0, 0) == REFUSED


def test_a_child_maps_a_file_that_is_still_coming(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    limits = ChildLimits(256 * MIB, 20, files=(path,))
    assert said(works.map_to_read, path, limits=limits) == [("done", "b'content'")]


@pytest.mark.parametrize("work", [works.mode, works.date, works.own, works.label])
def test_a_child_changes_nothing_about_a_file_outside(tmp_path: Path, work: Callable[..., None]) -> None:
    path = tmp_path / "file"
    path.touch(0o600)
    before = path.stat()
    assert said(work, path) == REFUSED
    assert said(work, path, limits=ChildLimits(256 * MIB, 20, files=(path,))) == REFUSED
    after = path.stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_uid) == (before.st_mode, before.st_mtime_ns, before.st_uid)
    assert os.listxattr(path) == []


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the attempt makes system calls by the numbers of x86_64")
@pytest.mark.parametrize("number", [90, 92, 94, 132, 188, 189, 197, 198, 235])
def test_a_child_has_no_older_way_to_change_a_file(tmp_path: Path, number: int) -> None:
    path = tmp_path / "file"
    path.touch(0o600)
    assert said(works.numbered_call, number, str(path), 0o777, 0) == REFUSED


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the attempt makes system calls by the numbers of x86_64")
@pytest.mark.parametrize("number", [280, 261, 268, 260, 452, 463, 466, 469])
def test_a_child_has_no_newer_way_to_change_a_file(tmp_path: Path, number: int) -> None:
    path = tmp_path / "file"
    path.touch(0o600)
    assert said(works.numbered_call, number, -100, str(path), 0o777, 0) == REFUSED


def test_a_child_makes_no_link(tmp_path: Path) -> None:
    limits = ChildLimits(256 * MIB, 20, folder=tmp_path, file_bytes=1000)
    assert said(works.link, Path("/etc/passwd"), tmp_path / "link", limits=limits) == REFUSED


@pytest.fixture
def victim() -> Iterator[int]:
    """Another process of the same user."""
    with subprocess.Popen(["sleep", "600"]) as other:
        yield other.pid
        other.kill()


def test_a_child_limits_itself_alone(victim: int) -> None:
    before = resource.prlimit(victim, resource.RLIMIT_NOFILE)
    assert said(works.limit_other, victim) == REFUSED
    assert resource.prlimit(victim, resource.RLIMIT_NOFILE) == before
    assert said(works.limit_self) == [("done", "None")]


@pytest.mark.parametrize("work", [works.slow_down, works.pin, works.signal_by_pipe])
def test_a_child_disturbs_no_other_process(victim: int, work: Callable[..., None]) -> None:
    before = os.sched_getaffinity(victim), os.getpriority(os.PRIO_PROCESS, victim)
    assert said(work, victim) == REFUSED
    assert (os.sched_getaffinity(victim), os.getpriority(os.PRIO_PROCESS, victim)) == before


def test_a_child_can_do_what_decoders_do() -> None:
    assert said(works.thread) == [("done", "ran")]
    assert said(works.later_import) == [("done", "wave")]
    assert said(works.allocate, 100 * MIB) == [100 * MIB // 4096]
    assert said(works.map_memory, 100 * MIB) == [("done", str(100 * MIB))]


@pytest.fixture(scope="module")
def spun() -> tuple[WorkerError, float]:
    """Error of an endless loop with a limit of one CPU second, and the CPU seconds counted for it."""
    before = isolation.usage()
    error = dies(works.spin, limits=ChildLimits(256 * MIB, cpu_seconds=1))
    return error, isolation.usage().cpu_seconds - before.cpu_seconds


def test_usage_of_children_is_known(spun: tuple[WorkerError, float]) -> None:
    said(works.allocate, 150 * MIB)
    assert isolation.usage().peak_bytes > 150 * MIB
    _, seconds = spun
    assert 0.5 < seconds < 3  # the limit is 1 s; the kernel ends it by ticks, and counts by another clock


def test_memory_beyond_the_limit() -> None:
    assert str(dies(works.allocate, 300 * MIB)) == "decoding it needs more than 256 MiB of memory; scale it down"
    assert said(works.map_memory, 300 * MIB) == [("refused", "OSError")]


@pytest.mark.parametrize(
    ("work", "kind", "text"),
    [
        (works.crash, DecoderCrashed, r"crashed on it \(SIGSEGV\).*ffmpeg -i FILE"),
        (works.abort, DecoderCrashed, r"crashed on it \(SIGABRT\)"),
        (works.leave, DecoderCrashed, r"crashed on it \(exit code 0\)"),
        (works.fail, DecoderCrashed, r"LookupError: nowhere\); re-encode it"),
        (works.refuse, NoVideoTrack, "^nothing to see$"),
    ],
)
def test_an_end_is_told(work: Callable[..., None], kind: type[WorkerError], text: str) -> None:
    error = dies(work)
    assert type(error) is kind
    assert re.search(text, str(error)), str(error)


def test_output_before_a_crash_is_kept() -> None:
    with spawn(works.crash, limits=LIMITS) as child:
        messages = child.messages()
        assert next(messages) == "before"
        with pytest.raises(DecoderCrashed):
            next(messages)


def test_an_endless_loop_ends_at_the_cpu_limit(spun: tuple[WorkerError, float]) -> None:
    error, _ = spun
    assert (type(error), str(error)) == (
        BeyondLimits,
        "decoding it took more than 1 s of CPU; cut it, or scale it down",
    )


def test_a_child_that_the_kernel_ends_for_memory() -> None:
    with spawn(works.sleep, limits=LIMITS) as child:
        messages = child.messages()
        os.kill(int(str(next(messages))), signal.SIGKILL)
        with pytest.raises(BeyondLimits, match="SIGKILL, most likely for lack of memory"):
            next(messages)


def test_a_child_ends_with_its_block() -> None:
    with spawn(works.sleep, limits=LIMITS) as child:
        pid = int(str(next(child.messages())))
        assert pid == child.pid
    assert gone(pid)
    assert list(child.messages()) == []


def with_works() -> dict[str, str]:
    """Environment of a process that imports `works`."""
    return os.environ | {"PYTHONPATH": str(Path(works.__file__).parents[1])}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_child_ends_with_its_parent(how: signal.Signals) -> None:
    program = (
        "from contentgen_hostile import works\n"
        "from contentgen_worker.media.sandbox.isolation import ChildLimits, spawn\n"
        "with spawn(works.sleep, limits=ChildLimits(256 << 20, 20)) as child:\n"
        "    messages = child.messages()\n"
        "    print(next(messages), flush=True)\n"
        "    next(messages)\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=with_works(), text=True) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        parent.send_signal(how)
        assert gone(pid)
        assert parent.wait() == -how


def test_a_server_that_is_gone_is_a_reason_to_try_again() -> None:
    server = ForkServer()
    server._process.kill()
    server._process.wait()
    (connection, theirs), (end, server_end) = multiprocessing.Pipe(duplex=False), multiprocessing.Pipe(duplex=False)
    with connection, end:
        server.fork(b"anything", theirs.fileno(), server_end.fileno())
        theirs.close()
        server_end.close()
        with pytest.raises(Retryable, match="fork server of the decoders is gone"):
            ConfinedChild(connection, end, LIMITS)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self._path),)


# Recording, a class of ours, then BUILD with a state for its slots: pickle sets them as attributes of the class.
BUILD = (
    b"\x80\x04ccontentgen_worker.media.probe\nRecording\nN}X\x0d\x00\x00\x00require_videoX\x03\x00\x00\x00bads\x86b."
)


def test_answers_of_a_child_are_never_unpickled(tmp_path: Path) -> None:
    method = Recording.require_video
    try:
        for content in (pickle.dumps(("Message", Trap(tmp_path / "made"))), BUILD):
            error = dies(works.raw, content)
            assert type(error) is DecoderCrashed
            assert "malformed answer" in str(error)
        assert not (tmp_path / "made").exists()
        assert Recording.require_video is method
    finally:
        Recording.require_video = method  # type: ignore[method-assign]  # for the tests that follow a failure


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (("Refused", ("WorkerApiRefused", "no token", "")), "error 'WorkerApiRefused'"),
        (("Refused", ("Verdict", "no", "")), "error 'Verdict'"),
        (("Message",), "no message type and value"),
        ("Message", "no message type and value"),
        (("Confined", 1), "no message type and value"),
        (("Failed", 1), "no message type and value"),
    ],
)
def test_answer_foreign_to_our_code_is_a_fault_of_the_file(value: object, why: str) -> None:
    error = dies(works.raw, encode(value))
    assert type(error) is DecoderCrashed
    assert why in str(error)


def test_an_answer_that_is_cut_off_is_a_reason_of_the_file() -> None:
    assert "cut off at byte 20" in str(dies(works.raw, encode(("Message", bytes(100)))[:20]))


def test_the_length_of_an_answer_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "of more than" in str(dies(works.length, 1 << 62))
    monkeypatch.setattr(isolation, "_ANSWER_BYTES", 2 * MIB)
    with spawn(works.many, 3, MIB, limits=LIMITS) as child:
        messages = child.messages()
        next(messages)
        with pytest.raises(DecoderCrashed, match="more than 2097152 bytes"):
            next(messages)
    assert gone(child.pid)


def test_several_children_are_waited_for_together() -> None:
    with spawn(works.sleep, limits=LIMITS) as one, spawn(works.many, 3, 10, limits=LIMITS) as other:
        assert len(list(other.messages())) == 3
        children: list[ConfinedChild] = [one]
        assert multiprocessing.connection.wait(children, timeout=120) == children


def test_large_messages_come_whole() -> None:
    assert [len(bytes(message)) for message in said(works.many, 3, 3 * MIB)] == [3 * MIB] * 3  # type: ignore[call-overload]


def test_missing_confinement_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "contentgen.worker")
    isolation._logged.clear()
    for _ in range(2):
        isolation._log_once(Confinement(landlock=0, seccomp=True))
    (record,) = caplog.records
    assert (record.message, record.__dict__["fields"]["missing"]) == ("decoder not wholly confined", ["landlock"])


def test_kernel_confines_wholly() -> None:
    isolation._logged.clear()
    said(works.idle)
    assert [each.complete for each in isolation._logged] == [True]


def test_modules_in_the_working_folder_are_not_imported(tmp_path: Path) -> None:
    """Neither by the worker nor by the fork server, started as in the image with planted modules."""
    rootfs.application_tree(references.WORKER, {}, tmp_path / "image")
    program = (tmp_path / "image/usr/local/bin/contentgen-worker").read_text()
    (flags,) = re.findall(r"^#!\S+/python3.11 (.*)$", program.splitlines()[0])
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("typer", "av", "numpy", "signal", "contentgen_contract"):
        (folder / f"{name}.py").write_text(f"open('shadowed-{name}', 'w')\nraise SystemExit('shadowed')\n")
    preloaded = (
        "from contentgen_worker.media.sandbox.isolation import ChildLimits, spawn; "
        "from contentgen_hostile import works; "
    )
    ended = "print(list(spawn(works.listing, '/', limits=ChildLimits(1 << 28, 9)).messages()))"
    for what in ([str(tmp_path / "image/usr/local/bin/contentgen-worker"), "--help"], ["-c", preloaded + ended]):
        command = [sys.executable, flags, *what]
        run = subprocess.run(command, cwd=folder, env=with_works(), capture_output=True, text=True, check=False)
        assert (run.returncode, [path.name for path in folder.glob("shadowed-*")]) == (0, []), run.stderr
