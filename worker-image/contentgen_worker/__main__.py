"""Entry point of `contentgen-worker`.

The decoders take longest to import. Their fork server is started before our own modules are imported, so that both
happen at the same time.
"""

import sys

from contentgen_worker.media.sandbox.server_process import fork_server

_DECODING = frozenset({"prepare", "dataset"})  # commands that decode


def main() -> None:
    """Console script entry point."""
    if _DECODING.intersection(sys.argv[1:2]) and "--help" not in sys.argv:
        fork_server()
    from contentgen_worker.command_line import app  # noqa: PLC0415 - takes half a second

    app()


if __name__ == "__main__":
    main()
