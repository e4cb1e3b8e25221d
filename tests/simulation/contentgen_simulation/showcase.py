"""The gateway with made-up jobs, pictures and sound, to look at and for browsers to go through: `make pages`.

Everything is real but for the Kubernetes API and MongoDB, which are in memory; the bucket is a folder that this very
server gives out.
"""

import asyncio
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import FileResponse, Response

from contentgen_gateway.transcripts.indexer import Indexer
from contentgen_simulation.gateway.bucket import RecordingBucket
from contentgen_simulation.gateway.sample_data import everything
from contentgen_simulation.gateway.server import GatewayWorld, files_at
from contentgen_simulation.gateway.tenants import TenantApi

RIGHTS = (
    ("ann", "*", "*", "*"),
    ("bob", "get", "*", "press"),
    ("bob", "list", "*", "press"),
    ("dave", "*", "*", "press"),  # whose token is not accepted any more after signing out
)


class Showcase(GatewayWorld):
    """`ann` may do everything, `bob` may see one namespace."""

    api_class = TenantApi

    def __init__(self, folder: Path, address: str, *, shrink: int = 1, **settings: Any) -> None:
        super().__init__(*RIGHTS, gateway_url=address, **settings)
        self.folder = folder
        files = files_at(address, "bucket")
        bucket = RecordingBucket()
        bucket.behind(files)
        object.__setattr__(self.parts, "files", files)
        made = everything(f"{address}/bucket", shrink)
        for document in made.records:
            self.database["jobs"].insert_one(document)
        for collection, documents in made.others.items():
            self.database[collection].insert_many(documents)
        bucket.objects |= made.objects
        self.api.resources.update(made.resources)
        for key, content in made.objects.items():
            (folder / key).parent.mkdir(parents=True, exist_ok=True)
            (folder / key).write_bytes(content)
        walk = Indexer(self.parts.records, files, self.parts.transcripts).walk
        _in_a_thread(lambda: asyncio.run(walk()))
        _give_out(self.app, folder)


def _in_a_thread(work: Callable[[], None]) -> None:
    """A test's own loop may be running in this one."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def _give_out(app: FastAPI, folder: Path) -> None:
    @app.get("/bucket/{key:path}", include_in_schema=False)
    async def given(key: str) -> Response:
        path = folder / key
        return FileResponse(path) if path.is_file() else Response(status_code=404)


def serve(port: int, **settings: Any) -> Iterator[str]:
    """The showcase's address, while it runs in a thread."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"http://127.0.0.1:{port}"
        app = Showcase(Path(folder), address, **settings).app
        server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started and thread.is_alive():
            threading.Event().wait(0.01)
        yield address
        server.should_exit = True
        thread.join()


def main() -> None:
    """Until it is interrupted."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8010
    with tempfile.TemporaryDirectory() as folder:
        address = f"http://127.0.0.1:{port}"
        app = Showcase(Path(folder), address).app
        print(f"{address}, the token is: ann", flush=True)  # noqa: T201 - a command-line tool
        asyncio.run(uvicorn.Server(uvicorn.Config(app, port=port, lifespan="off", log_level="warning")).serve())


if __name__ == "__main__":
    main()
