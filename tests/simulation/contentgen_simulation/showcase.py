"""Gateway with generated jobs, pictures and audio, for manual review and browser tests: `make pages`.

Only the Kubernetes API and MongoDB are in memory; the bucket is a folder that this server serves.
"""

import asyncio
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import FileResponse, Response

from contentgen_contract.names import Kind
from contentgen_gateway.dependencies import Services
from contentgen_gateway.transcripts.indexer import Indexer
from contentgen_runtime.kube import Body
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


class ShowcaseApi(TenantApi):
    """API server with Kubernetes events."""

    events: Sequence[Body] = ()

    async def call(self, method: str, path: str, body: Body | None = None) -> Body:
        """Events by the uid in the path, besides what `TenantApi` answers."""
        if "/events?" in path:
            return {"items": [event for event in self.events if event["involvedObject"]["uid"] in path]}
        return await super().call(method, path, body)


class Showcase(GatewayWorld):
    """Showcase gateway: `ann` has all rights, `bob` may read one namespace. `states`: also a job in each state."""

    api_class = ShowcaseApi
    api: ShowcaseApi

    def __init__(self, folder: Path, address: str, *, shrink: int = 1, states: bool = False, **settings: Any) -> None:
        super().__init__(*RIGHTS, gateway_url=address, **settings)
        self.folder = folder
        files = files_at(address, "bucket")
        bucket = RecordingBucket()
        bucket.behind(files)
        self.dependencies = replace(self.dependencies, files=files)
        self.app.state.dependencies = self.dependencies
        self.app.state.services = Services(self.dependencies)
        made = everything(f"{address}/bucket", shrink, states=states)
        for document in made.records:
            self.database["jobs"].insert_one(document)
        for collection, documents in made.others.items():
            self.database[collection].insert_many(documents)
        bucket.objects |= made.objects
        self.api.resources.update(made.resources)
        self.api.events = made.events
        for (_, plural, _), body in made.resources.items():
            if "creationTimestamp" in body["metadata"]:
                self.dependencies.live.add(next(kind for kind in Kind if kind.plural == plural), body)
        for key, content in made.objects.items():
            (folder / key).parent.mkdir(parents=True, exist_ok=True)
            (folder / key).write_bytes(content)
        walk = Indexer(self.dependencies.records, files, self.dependencies.transcripts).update_all
        _in_a_thread(lambda: asyncio.run(walk()))
        _give_out(self.app, folder)


def _in_a_thread(work: Callable[[], None]) -> None:
    """Run in a new thread, because the test's event loop may run in this one."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def _give_out(app: FastAPI, folder: Path) -> None:
    @app.get("/bucket/{key:path}", include_in_schema=False)
    async def given(key: str) -> Response:
        path = folder / key
        return FileResponse(path) if path.is_file() else Response(status_code=404)


def serve(port: int, **settings: Any) -> Iterator[str]:
    """URL of the showcase, which runs in a thread within the context."""
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
    """Serve until interrupted."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8010
    with tempfile.TemporaryDirectory() as folder:
        address = f"http://127.0.0.1:{port}"
        app = Showcase(Path(folder), address).app
        print(f"{address}, the token is: ann", flush=True)  # noqa: T201 - a command-line tool
        asyncio.run(uvicorn.Server(uvicorn.Config(app, port=port, lifespan="off", log_level="warning")).serve())


if __name__ == "__main__":
    main()
