"""What a decoder that was broken into would try, each as the work of a confined child. What it got is sent."""

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
_WORDS = 3  # descriptor that a child answers on


def tried(send: Send, attempt: Callable[[], object]) -> None:
    """Send what the attempt gave, or the name of its error."""
    try:
        send(("done", str(attempt())))
    except Exception as error:  # noqa: BLE001 - every refusal is what is looked for
        send(("refused", type(error).__name__))


def read(send: Send, path: Path) -> None:
    """Read a file."""
    tried(send, path.read_text)


def write(send: Send, path: Path, size: int) -> None:
    """Write a file."""
    tried(send, lambda: path.write_bytes(bytes(size)))


def listing(send: Send, path: Path) -> None:
    """List a folder."""
    tried(send, lambda: sorted(path.iterdir()))


def connect(send: Send, port: int) -> None:
    """Connect to a listener on loopback."""
    tried(send, lambda: socket.create_connection(("127.0.0.1", port), timeout=5))


def datagram(send: Send) -> None:
    """Make a socket that needs no connection."""
    tried(send, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))


def execute(send: Send) -> None:
    """Start a program."""
    tried(send, lambda: subprocess.run(["/bin/true"], check=True, close_fds=False))


def replace(send: Send) -> None:
    """Become another program."""
    tried(send, lambda: os.execv("/bin/true", ["true"]))  # noqa: S606


def fork(send: Send) -> None:
    """Make another process."""
    tried(send, os.fork)


def thread(send: Send) -> None:
    """Start a thread, as decoders do."""
    seen: list[str] = []
    worker = threading.Thread(target=seen.append, args=("ran",))
    worker.start()
    worker.join()
    send(("done", seen[0]))


def kill(send: Send, pid: int) -> None:
    """Signal another process."""
    tried(send, lambda: os.kill(pid, signal.SIGTERM))


def peek(send: Send, pid: int) -> None:
    """Read another process's memory."""
    tried(send, lambda: os.open(f"/proc/{pid}/mem", os.O_RDONLY))


def later_import(send: Send) -> None:
    """Import a module that nothing has imported yet."""
    tried(send, lambda: __import__("wave").__name__)


def allocate(send: Send, size: int) -> None:
    """Use memory by numpy."""
    send(int(np.ones(size, np.uint8)[::4096].sum()))


def map_memory(send: Send, size: int) -> None:
    """Use private memory straight from the kernel."""
    tried(send, lambda: len(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)))


def share_memory(send: Send, size: int, protection: int = mmap.PROT_READ | mmap.PROT_WRITE) -> None:
    """Use shared anonymous memory, which no limit of a process counts."""
    tried(send, lambda: len(mmap.mmap(-1, size, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS, prot=protection)))


def grow_down(send: Send, size: int) -> None:
    """Use memory that grows like a stack, which RLIMIT_DATA does not count."""
    tried(send, lambda: len(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_GROWSDOWN)))


def map_to_write(send: Send, path: Path) -> None:
    """Map a file so that what is written to memory is written to it."""

    def attempt() -> int:
        with path.open("wb+") as file:
            file.write(b"content")
            file.flush()
            return len(mmap.mmap(file.fileno(), 7, flags=mmap.MAP_SHARED))

    tried(send, attempt)


def map_to_read(send: Send, path: Path) -> None:
    """Map a file that others write to, as is done with a recording that is still coming."""

    def attempt() -> bytes:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)[:]

    tried(send, attempt)


def raise_stack(send: Send, size: int) -> None:
    """Allow the own stack more, which RLIMIT_DATA does not count."""
    tried(send, lambda: resource.setrlimit(resource.RLIMIT_STACK, (size, size)))


def memory_file(send: Send) -> None:
    """Make a file in memory."""
    tried(send, lambda: os.memfd_create("x"))


def system_call(send: Send, name: str, *arguments: int | str) -> None:
    """Call a system call by the C library's name; `errno` where it fails."""

    def attempt() -> int:
        libc = ctypes.CDLL(None, use_errno=True)
        values = [each.encode() if isinstance(each, str) else ctypes.c_long(each) for each in arguments]
        if getattr(libc, name)(*values) == -1:
            raise OSError(ctypes.get_errno(), name)
        return 0

    tried(send, attempt)


def numbered_call(send: Send, number: int, *arguments: int | str) -> None:
    """Call a system call that the C library may have no name for."""
    system_call(send, "syscall", number, *arguments)


def mode(send: Send, path: Path) -> None:
    """Change the rights of a file."""
    tried(send, lambda: path.chmod(0o777))


def date(send: Send, path: Path) -> None:
    """Change the times of a file."""
    tried(send, lambda: os.utime(path, (1, 1)))


def own(send: Send, path: Path) -> None:
    """Give a file away."""
    tried(send, lambda: os.chown(path, 1, 1))


def label(send: Send, path: Path) -> None:
    """Write an extended attribute."""
    tried(send, lambda: os.setxattr(path, "user.x", b"1"))


def link(send: Send, path: Path, other: Path) -> None:
    """Make a symbolic link."""
    tried(send, lambda: other.symlink_to(path))


def limit_other(send: Send, pid: int) -> None:
    """Limit another process."""
    tried(send, lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, 3)))


def limit_self(send: Send) -> None:
    """Read and lower an own limit."""
    tried(send, lambda: resource.setrlimit(resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE)))


def slow_down(send: Send, pid: int) -> None:
    """Give another process the lowest priority."""
    tried(send, lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))


def pin(send: Send, pid: int) -> None:
    """Let another process have one core."""
    tried(send, lambda: os.sched_setaffinity(pid, {0}))


def signal_by_pipe(send: Send, pid: int) -> None:
    """Have the kernel signal another process when a pipe is ready."""

    def attempt() -> None:
        read_end, _ = os.pipe()
        fcntl.fcntl(read_end, fcntl.F_SETOWN, pid)

    tried(send, attempt)


def crash(send: Send) -> None:
    """Read where nothing is."""
    faulthandler.disable()
    send("before")
    ctypes.string_at(0)


def abort(send: Send) -> None:
    """End as glibc does when the heap is broken."""
    os.abort()


def leave(send: Send) -> None:
    """End as if all were well, without a word."""
    os._exit(0)


def spin(send: Send) -> None:
    """Never come to an end."""
    while True:
        pass


def sleep(send: Send) -> None:
    """Wait, and tell it."""
    send(os.getpid())
    time.sleep(600)


def refuse(send: Send) -> None:
    """Raise one of our errors."""
    raise NoVideoTrack("nothing to see")


def fail(send: Send) -> None:
    """Raise an error that nobody expects."""
    raise LookupError("nowhere")


def many(send: Send, count: int, size: int) -> None:
    """Send as many messages of this size."""
    content = os.urandom(size)
    for _ in range(count):
        send(content)


def raw(send: Send, *messages: bytes) -> None:
    """Send these bytes past our own code, as a decoder does that was broken into."""
    words = Connection(_WORDS, readable=False)
    for message in messages:
        words.send_bytes(message)
    os._exit(0)


def length(send: Send, announced: int) -> None:
    """Announce a message of so many bytes, and end."""
    os.write(_WORDS, struct.pack("!i", -1) + struct.pack("!Q", announced))
    os._exit(0)


def idle(send: Send) -> None:
    """Nothing."""


def open_anything(send: Send, path: Path) -> None:
    """Decode a file without any list of what is allowed."""
    options = {"protocol_whitelist": "file,http,tcp,crypto", "allowed_extensions": "ALL", "safe": "0"}
    with av.open(str(path), options=options) as container:
        send(next(container.decode(video=0)).width)
