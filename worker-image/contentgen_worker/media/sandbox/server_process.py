"""Process of the fork server (`fork_server.py`). It imports the standard library only, so it can be started first."""

import atexit
import functools
import os
import socket
import subprocess
import sys
from contextlib import suppress

_ENVIRONMENT = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
)  # variables that the server inherits; all others may be secrets


class ForkServer:
    """Process of the fork server, and our end of its socket."""

    def __init__(self) -> None:
        self._socket, child_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        number = str(child_end.fileno())
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        # Threads of the server would not exist in its children.
        environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        # -P: no module is imported from the working directory.
        command = [sys.executable, "-P", "-m", "contentgen_worker.media.sandbox.fork_server", number]
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command, stdin=subprocess.DEVNULL, env=environment, pass_fds=[child_end.fileno()]
        )
        child_end.close()
        atexit.register(self._close)

    def fork(self, request: bytes, messages: int, records: int) -> None:
        """Request a child that writes its messages to `messages`; its id and exit status go to `records`."""
        with suppress(BrokenPipeError, ConnectionResetError):  # reading `records` then returns nothing
            socket.send_fds(self._socket, [request], [messages, records])

    def _close(self) -> None:
        self._socket.close()
        self._process.wait()


@functools.cache
def fork_server() -> ForkServer:
    """This process's fork server; the first call starts it, and it imports the decoders in the background."""
    return ForkServer()
