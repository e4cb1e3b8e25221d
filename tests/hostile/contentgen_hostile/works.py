"""Functions of a confined child that try what a compromised decoder would. Each sends its result."""

import ctypes
import faulthandler
import fcntl
import mmap
import os
import resource
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import av
import numpy as np

from contentgen_worker.errors import NoVideoTrack

Send = Callable[[object], None]

_MAP_GROWSDOWN = 0x100
_MESSAGES_FD = 3  # file descriptor of a child's messages


def send_result(send: Send, attempt: Callable[[], object]) -> None:
    """Send the result of the attempt, or the name of its error."""
    try:
        send(("done", str(attempt())))
    except Exception as error:  # noqa: BLE001 - every refusal is a result
        send(("refused", type(error).__name__))


def read(send: Send, path: Path) -> None:
    """Read a file."""
    send_result(send, path.read_text)


def write(send: Send, path: Path, size: int) -> None:
    """Write a file."""
    send_result(send, lambda: path.write_bytes(bytes(size)))


def listing(send: Send, path: Path) -> None:
    """List a folder."""
    send_result(send, lambda: sorted(path.iterdir()))


def connect(send: Send, port: int) -> None:
    """Connect to a listener on loopback."""
    send_result(send, lambda: socket.create_connection(("127.0.0.1", port), timeout=5))


def datagram(send: Send) -> None:
    """Make a datagram socket."""
    send_result(send, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))


def execute(send: Send) -> None:
    """Start a program."""
    send_result(send, lambda: subprocess.run(["/bin/true"], check=True, close_fds=False))


def replace(send: Send) -> None:
    """Replace this process by another program."""
    send_result(send, lambda: os.execv("/bin/true", ["true"]))  # noqa: S606


def fork(send: Send) -> None:
    """Fork."""
    send_result(send, os.fork)


def thread(send: Send) -> None:
    """Start a thread, as decoders do."""
    seen: list[str] = []
    worker = threading.Thread(target=seen.append, args=("ran",))
    worker.start()
    worker.join()
    send(("done", seen[0]))


def kill(send: Send, pid: int) -> None:
    """Signal another process."""
    send_result(send, lambda: os.kill(pid, signal.SIGTERM))


def peek(send: Send, pid: int) -> None:
    """Read the memory of another process."""
    send_result(send, lambda: os.open(f"/proc/{pid}/mem", os.O_RDONLY))


def later_import(send: Send) -> None:
    """Import a module for the first time."""
    send_result(send, lambda: __import__("wave").__name__)


def allocate(send: Send, size: int) -> None:
    """Allocate memory by numpy."""
    send(int(np.ones(size, np.uint8)[::4096].sum()))


def map_memory(send: Send, size: int) -> None:
    """Map private anonymous memory."""
    send_result(send, lambda: len(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)))


def share_memory(send: Send, size: int, protection: int = mmap.PROT_READ | mmap.PROT_WRITE) -> None:
    """Map shared anonymous memory, which no rlimit counts."""
    send_result(send, lambda: len(mmap.mmap(-1, size, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS, prot=protection)))


def grow_down(send: Send, size: int) -> None:
    """Map memory with MAP_GROWSDOWN, which RLIMIT_DATA does not count."""
    send_result(send, lambda: len(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_GROWSDOWN)))


def map_to_write(send: Send, path: Path) -> None:
    """Map a file for shared writing."""

    def attempt() -> int:
        with path.open("wb+") as file:
            file.write(b"content")
            file.flush()
            return len(mmap.mmap(file.fileno(), 7, flags=mmap.MAP_SHARED))

    send_result(send, attempt)


def map_to_read(send: Send, path: Path) -> None:
    """Map a file for shared reading, as done for a recording during its download."""

    def attempt() -> bytes:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)[:]

    send_result(send, attempt)


def raise_stack(send: Send, size: int) -> None:
    """Raise the stack limit, which RLIMIT_DATA does not count."""
    send_result(send, lambda: resource.setrlimit(resource.RLIMIT_STACK, (size, size)))


def memory_file(send: Send) -> None:
    """Make a file in memory (memfd)."""
    send_result(send, lambda: os.memfd_create("x"))


def system_call(send: Send, name: str, *arguments: int | str) -> None:
    """Call a function of the C library. Raises OSError with errno."""

    def attempt() -> int:
        libc = ctypes.CDLL(None, use_errno=True)
        values = [argument.encode() if isinstance(argument, str) else ctypes.c_long(argument) for argument in arguments]
        if getattr(libc, name)(*values) == -1:
            raise OSError(ctypes.get_errno(), name)
        return 0

    send_result(send, attempt)


def numbered_call(send: Send, number: int, *arguments: int | str) -> None:
    """Call a system call by number."""
    system_call(send, "syscall", number, *arguments)


def mode(send: Send, path: Path) -> None:
    """Change the permissions of a file."""
    send_result(send, lambda: path.chmod(0o777))


def date(send: Send, path: Path) -> None:
    """Change the timestamps of a file."""
    send_result(send, lambda: os.utime(path, (1, 1)))


def own(send: Send, path: Path) -> None:
    """Change the owner of a file."""
    send_result(send, lambda: os.chown(path, 1, 1))


def label(send: Send, path: Path) -> None:
    """Write an extended attribute."""
    send_result(send, lambda: os.setxattr(path, "user.x", b"1"))


def link(send: Send, path: Path, other: Path) -> None:
    """Make a symbolic link."""
    send_result(send, lambda: other.symlink_to(path))


def limit_other(send: Send, pid: int) -> None:
    """Set a limit of another process."""
    send_result(send, lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, 3)))


def limit_self(send: Send) -> None:
    """Read and lower an own limit."""
    send_result(send, lambda: resource.setrlimit(resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE)))


def slow_down(send: Send, pid: int) -> None:
    """Set the lowest priority for another process."""
    send_result(send, lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))


def pin(send: Send, pid: int) -> None:
    """Set the CPU affinity of another process."""
    send_result(send, lambda: os.sched_setaffinity(pid, {0}))


def signal_by_pipe(send: Send, pid: int) -> None:
    """Make the kernel signal another process when a pipe is ready."""

    def attempt() -> None:
        read_end, _ = os.pipe()
        fcntl.fcntl(read_end, fcntl.F_SETOWN, pid)

    send_result(send, attempt)


def crash(send: Send) -> None:
    """Read an invalid address."""
    faulthandler.disable()
    send("before")
    ctypes.string_at(0)


def abort(send: Send) -> None:
    """Abort, as glibc does on heap corruption."""
    os.abort()


def leave(send: Send) -> None:
    """Exit successfully without a message."""
    os._exit(0)


def spin(send: Send) -> None:
    """Loop forever."""
    while True:
        pass


def sleep(send: Send) -> None:
    """Send the process id, then sleep."""
    send(os.getpid())
    time.sleep(600)


def refuse(send: Send) -> None:
    """Raise one of our errors."""
    raise NoVideoTrack("nothing to see")


def fail(send: Send) -> None:
    """Raise an unexpected error."""
    raise LookupError("nowhere")


def many(send: Send, count: int, size: int) -> None:
    """Send this many messages of this size."""
    content = os.urandom(size)
    for _ in range(count):
        send(content)


def raw(send: Send, *messages: bytes) -> None:
    """Send bytes past our own encoder, as a compromised decoder would."""
    connection = Connection(_MESSAGES_FD, readable=False)
    for message in messages:
        connection.send_bytes(message)
    os._exit(0)


def length(send: Send, announced: int) -> None:
    """Announce a message of this length, and exit."""
    os.write(_MESSAGES_FD, struct.pack("!i", -1) + struct.pack("!Q", announced))
    os._exit(0)


def idle(send: Send) -> None:
    """Do nothing."""


def open_anything(send: Send, path: Path) -> None:
    """Decode a file without an allow-list."""
    options = {"protocol_whitelist": "file,http,tcp,crypto", "allowed_extensions": "ALL", "safe": "0"}
    with av.open(str(path), options=options) as container:
        send(next(container.decode(video=0)).width)
