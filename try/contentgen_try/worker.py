"""The worker's program, where `contentgen-sandbox.contentgen.svc`, the host in samples/, is the local sandbox.

A manifest keeps the same URL on each run, though the sandbox has another port: the source is part of what is bought.
"""

import os
import runpy
import socket
from typing import Any

HOST = "contentgen-sandbox.contentgen.svc"
PORT_VARIABLE = "CONTENTGEN_TRY_SANDBOX_PORT"
_STAND_IN = "127.83.66.1"  # a loopback address that stands for the name; nothing listens there


def redirect(port: int) -> None:
    """Resolve HOST to the local sandbox, in this process."""
    lookup, connect = socket.getaddrinfo, socket.create_connection

    def getaddrinfo(host: Any, *given: Any, **named: Any) -> Any:
        return lookup(_STAND_IN if host == HOST else host, *given, **named)

    def create_connection(address: Any, *given: Any, **named: Any) -> socket.socket:
        return connect(("127.0.0.1", port) if address == (_STAND_IN, 80) else address, *given, **named)

    socket.getaddrinfo = getaddrinfo
    socket.create_connection = create_connection


if __name__ == "__main__":
    redirect(int(os.environ.pop(PORT_VARIABLE)))
    runpy.run_module("contentgen_worker", run_name="__main__", alter_sys=True)
