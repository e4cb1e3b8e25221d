"""Command line `contentgen-sandbox serve|stores|all`: providers, stores, or both in one process tree."""

import argparse
import os
import sys
from pathlib import Path

from contentgen_sandbox.control.switches import Switches
from contentgen_sandbox.settings import SandboxStoreSettings
from contentgen_sandbox.stores import StoreProcess, mongo, s3, supervise

PROVIDERS = (sys.executable, "-m", "contentgen_sandbox.serve")


def main() -> None:
    parser = argparse.ArgumentParser(prog="contentgen-sandbox", description=__doc__)
    parser.add_argument("what", choices=("serve", "stores", "all"))
    what = parser.parse_args().what
    if temporary := os.environ.get("TMPDIR"):  # a volume mounted at /data hides what the image has there
        Path(temporary).mkdir(parents=True, exist_ok=True)
    if what == "serve":
        os.execv(PROVIDERS[0], PROVIDERS)  # noqa: S606 - this very interpreter
    settings = SandboxStoreSettings()
    children = [mongo(settings), s3(settings)]
    if what == "all":
        children.append(StoreProcess("providers", PROVIDERS, os.environ))
    sys.exit(supervise(children, Switches(settings.data)))


if __name__ == "__main__":
    main()
