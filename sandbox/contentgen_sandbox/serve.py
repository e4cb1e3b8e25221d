"""Entry point of the provider server; separate, so that the supervisor of the stores loads no web framework."""

import uvicorn

from contentgen_sandbox.app import create_app
from contentgen_sandbox.settings import SandboxSettings


def main() -> None:
    settings = SandboxSettings()
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
