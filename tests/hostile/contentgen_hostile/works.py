"""What a decoder that was broken into would try, each as the work of a confined child. What it got is sent."""

import ctypes
import faulthandler
import mmap
import os
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


def allocate_natively(send: Send, size: int) -> None:
    """Use memory as a library does that does not check what it gets."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    ctypes.memset(libc.malloc(ctypes.c_size_t(size)), 1, size)
    send("had it")


def map_memory(send: Send, size: int) -> None:
    """Use private memory straight from the kernel."""
    tried(send, lambda: len(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)))


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
