"""`contentgen-sandbox serve|stores|all`: the providers, the stores, or both in one process tree."""

import argparse
import os
import sys

import uvicorn

from contentgen_sandbox.app import create_app
from contentgen_sandbox.settings import Settings, StoreSettings
from contentgen_sandbox.stores import Child, mongo, s3, supervise


def main() -> None:
    parser = argparse.ArgumentParser(prog="contentgen-sandbox", description=__doc__)
    parser.add_argument("what", choices=("serve", "stores", "all"))
    what = parser.parse_args().what
    if what == "serve":
        serve(Settings())
        return
    settings = StoreSettings()
    children = [mongo(settings), s3(settings)]
    if what == "all":
        command = (sys.executable, "-m", "contentgen_sandbox", "serve")
        children.append(Child("providers", command, os.environ))
    sys.exit(supervise(children))


def serve(settings: Settings) -> None:
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        http="h11",  # faults.lose_reply reaches into its connection
        timeout_graceful_shutdown=3,
        access_log=False,
    )


if __name__ == "__main__":
    main()
