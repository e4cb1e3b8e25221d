"""Fork server of confined children: `python -m contentgen_worker.media.sandbox.fork_server SOCKET` (a file descriptor).

It imports the decoders once, so a child starts in milliseconds. It holds no secrets, and ends with all its children
when the other end of its socket is closed. The fork server of multiprocessing does not fit: each of its children
imports the main module again, and they outlive it.
"""

import ctypes
import gc
import importlib
import os
import signal
import socket
import sys
from multiprocessing.connection import Connection, wait

from contentgen_worker.media.sandbox.child import run_child
from contentgen_worker.media.sandbox.protocol import ENDED, REQUEST_BYTES, STARTED

PRELOADED = (
    *("av", "cv2", "numpy"),
    *("contentgen_worker.media.shots.analysis", "contentgen_worker.media.audio.extract"),
    *("contentgen_worker.media.decode.stills", "contentgen_worker.collect.safetensors"),
)
_PR_SET_PDEATHSIG = 1


def main(server: socket.socket) -> None:
    """Fork a child for each request, and report its start and its end."""
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()
    wakeup_read, wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakeup_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    record_pipes: dict[int, int] = {}
    while True:
        ready = wait([server, wakeup_read])
        if wakeup_read in ready:
            _drain(wakeup_read)
            _reap(record_pipes)
        if server in ready:
            request, descriptors, _, _ = socket.recv_fds(server, REQUEST_BYTES, 2)
            if not request:
                return
            messages, records = descriptors
            pid = os.fork() or _run_child_process(request, messages)
            os.close(messages)
            record_pipes[pid] = records
            _write_record(records, STARTED.pack(pid))


def _drain(wakeup_write: int) -> None:
    while True:
        try:
            os.read(wakeup_write, 512)
        except BlockingIOError:
            return


def _reap(record_pipes: dict[int, int]) -> None:
    while record_pipes:
        pid, status, usage = os.wait4(-1, os.WNOHANG)
        if not pid:
            return
        records = record_pipes.pop(pid)
        seconds = usage.ru_utime + usage.ru_stime
        _write_record(records, ENDED.pack(os.waitstatus_to_exitcode(status), usage.ru_maxrss << 10, seconds))
        os.close(records)


def _write_record(records: int, content: bytes) -> None:
    try:
        os.write(records, content)
    except BrokenPipeError:
        return  # the worker no longer waits for this child


def _run_child_process(request: bytes, messages: int) -> int:
    """Run in the forked child; never returns."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(messages, 3)
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        run_child(Connection(3, readable=False), request)
        os._exit(0)
    finally:
        os._exit(1)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
