"""`contentgen-worker` with a given number of decoding processes, whatever the number of cores. A program of its own."""

import sys
from unittest.mock import patch

from contentgen_worker.media.sandbox.server_process import fork_server


def main() -> None:
    """Run a command of the worker. Arguments: number of processes, then those of `contentgen-worker`."""
    fork_server()
    from contentgen_worker.command_line import app  # noqa: PLC0415 - as in `contentgen_worker.__main__`

    with patch("contentgen_worker.prepare.lora.cores", return_value=int(sys.argv.pop(1))):
        app()


if __name__ == "__main__":
    main()
