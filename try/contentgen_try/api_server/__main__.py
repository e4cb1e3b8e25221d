"""The server as a process. It ends at SIGTERM, and when its standard input, if that is a pipe, is closed."""

import argparse
import asyncio
import logging
import os
import signal
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from contentgen_try.api_server.certificates import ADDRESS, kubeconfig, make_certificate, tls_context, write_private
from contentgen_try.api_server.schemas.resource_types import BadCrd
from contentgen_try.api_server.server import ApiServer
from contentgen_try.api_server.storage.state_file import BadState

_STOP_SECONDS = 2
_log = logging.getLogger("contentgen_try.api_server")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m contentgen_try.api_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 (the default) is any free one")
    parser.add_argument("--crds", type=Path, required=True, help="folder with the CustomResourceDefinitions")
    parser.add_argument("--kubeconfig", type=Path, required=True, help="file to write once the server is ready")
    parser.add_argument("--state", type=Path, help="folder for what has to outlive the process; default: nothing does")
    parser.add_argument("--logs", type=Path, help="folder with the pods' logs: NAMESPACE/POD.log")
    return parser.parse_args()


def main() -> int:
    """Exit status."""
    arguments = _arguments()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        server = ApiServer(arguments.crds, arguments.state, logs=arguments.logs)
    except (BadCrd, BadState) as error:
        _log.error("%s", error)
        return 1
    try:
        asyncio.run(_serve(server, arguments.port, arguments.kubeconfig))
    except OSError as error:
        _log.error("%s", error)
        return 1
    finally:
        server.close()
    return 0


class _Server(uvicorn.Server):
    """uvicorn, with its watches ended first: it waits for open requests when it stops."""

    def __init__(self, config: uvicorn.Config, server: ApiServer) -> None:
        super().__init__(config)
        self._server = server

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at SIGTERM and SIGINT; uvicorn would end the process by the same signal afterwards."""
        loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signal_number, self._stop)
        yield

    def _stop(self) -> None:
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop."""
        self._server.end_watches()
        await super().shutdown(sockets)


async def _serve(server: ApiServer, port: int, config_path: Path) -> None:
    certificate, key = make_certificate()
    context = tls_context(certificate, key)
    config = uvicorn.Config(
        server.app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
        timeout_keep_alive=75,
        ssl_context_factory=lambda *_: context,
        server_header=False,
        lifespan="off",
    )
    # asyncio turns Nagle's algorithm off only if the protocol is named; with it each response takes 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((ADDRESS, port))
        running = _Server(config, server)
        serving = asyncio.create_task(running.serve([listening]))
        while not running.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        if running.started:
            bound = listening.getsockname()[1]
            write_private(config_path, kubeconfig(bound, certificate, server.admin_token))
            _log.info("ready at https://%s:%d, kubeconfig %s", ADDRESS, bound, config_path)
            _stop_with_standard_input(running)
        await serving


def _stop_with_standard_input(running: uvicorn.Server) -> None:
    """Stop when the pipe of the standard input is closed: the parent process has ended."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return
    loop, descriptor = asyncio.get_running_loop(), sys.stdin.fileno()

    def read() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            running.should_exit = True

    loop.add_reader(descriptor, read)


if __name__ == "__main__":
    sys.exit(main())
