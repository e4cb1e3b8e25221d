"""Port-forwards to the gateway for a local browser: `python -m contentgen_demo.ui`, which `make ui` calls.

Two ports are forwarded until Ctrl-C or SIGTERM: the gateway's, and the bucket's for presigned URLs.
"""

import argparse
import signal
import socket
import sys
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from contentgen_cluster import release
from contentgen_cluster.release import CommandFailed
from contentgen_contract.names import GATEWAY_AUDIENCE
from contentgen_demo.cluster import NAMESPACE, PERSON, SANDBOX, DemoCluster
from contentgen_demo.errors import DemoError

PORT = 5000
_GATEWAY = "svc/contentgen-gateway"
_HOURS = 8
_ENDING = (signal.SIGTERM, signal.SIGHUP)  # by default both end Python without leaving any context
_LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
_FILES_ENDPOINT = '{.spec.template.spec.containers[0].env[?(@.name=="CONTENTGEN_GATEWAY_FILES_ENDPOINT")].value}'


def main() -> int:
    """Forward ports until Ctrl-C (exit code 0) or a signal; the forwards always end with the process."""
    parser = argparse.ArgumentParser(prog="contentgen_demo.ui", description="Open the gateway in a browser.")
    parser.add_argument("--port", type=int, default=PORT, help=f"local port (default: {PORT})")
    port = parser.parse_args().port
    for number in _ENDING:
        signal.signal(number, _end)
    try:
        with ExitStack() as stack:
            _open(Path.cwd(), stack, port)
            threading.Event().wait()
    except (DemoError, CommandFailed) as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nClosed. The cluster keeps running.")
    return 0


def _end(number: int, _: FrameType | None) -> None:
    """Exit and close the port-forwards; further signals are ignored meanwhile."""
    for each in _ENDING:
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def _open(root: Path, stack: ExitStack, port: int) -> None:
    refuse_taken((port, release.FILES_PORT), port)
    cluster = DemoCluster(root, stack)
    cluster.check()
    _check_release(root)
    cluster.admit()
    token = cluster.kubectl("create", "token", PERSON, "--audience", GATEWAY_AUDIENCE, "--duration", f"{_HOURS}h")
    for target, name, local in ((_GATEWAY, "http", port), (SANDBOX, "s3", release.FILES_PORT)):
        stack.enter_context(release.port_forward(root, release.NAMESPACE, target, name, local))
    print(welcome(port, token.strip()), flush=True)


def _check_release(root: Path) -> None:
    """Raises DemoError if the gateway is missing or configured with another files endpoint."""
    where = ("--namespace", release.NAMESPACE, "get", "deployment/contentgen-gateway", "--ignore-not-found")
    endpoint = release.kubectl(root, *where, f"--output=jsonpath={_FILES_ENDPOINT}")
    if endpoint != release.FILES_ENDPOINT:
        raise DemoError("this cluster has no gateway of this version: run `make demo` first")


def refuse_taken(ports: Iterable[int], own: int = PORT) -> None:
    """Raises DemoError for the first port in use; `own` is the port that `make ui PORT=` sets."""
    for port in ports:
        if is_taken(port):
            way = f"take another with `make ui PORT={own + 80}`" if port == own else "end it: pictures come from there"
            look = f"`ss -ltnp 'sport = :{port}'` or `lsof -i :{port}` shows by what"
            raise DemoError(f"port {port} of this machine is taken; {look}; {way}")


def is_taken(port: int) -> bool:
    """Whether a program listens on the port at 127.0.0.1 or ::1."""
    return any(_listens(family, host, port) for family, host in _LOOPBACK)


def _listens(family: socket.AddressFamily, host: str, port: int) -> bool:
    try:
        with socket.socket(family) as tried:
            tried.settimeout(1)
            return tried.connect_ex((host, port)) == 0
    except OSError:  # no IPv6 here
        return False


def welcome(port: int, token: str) -> str:
    """Text with the gateway's URL and the token."""
    address = f"http://localhost:{port}"
    return f"""The gateway is at {address}

To sign in, paste this token. It is valid for {_HOURS} hours in the namespace {NAMESPACE}:

{token}

For programs (the API is described at {address}/api-docs):

curl --header "Authorization: Bearer {token}" {address}/api/jobs

Ctrl-C stops the port-forward."""


if __name__ == "__main__":
    sys.exit(main())
