"""Runs the provider server; a module of its own, so that the supervisor of the stores doesn't load a web framework."""

import uvicorn

from contentgen_sandbox.app import create_app
from contentgen_sandbox.settings import Settings


def main() -> None:
    settings = Settings()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        http="h11",  # faults.connection reaches into it
        timeout_graceful_shutdown=3,
        access_log=False,
    )


if __name__ == "__main__":
    main()
