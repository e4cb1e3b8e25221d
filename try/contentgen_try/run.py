"""One run of the command: start the programs, apply the manifests, follow them, copy their files."""

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape

from contentgen_contract.names import API_VERSION, GATEWAY_AUDIENCE, Kind, Phase
from contentgen_try import apply, outputs, page, progress
from contentgen_try.apply import Document
from contentgen_try.cluster import Cluster, Refused
from contentgen_try.folder import SANDBOX
from contentgen_try.options import Options
from contentgen_try.page import Result
from contentgen_try.programs.stack import SYSTEM, Stack
from contentgen_try.progress import follow

Body = dict[str, Any]
_TOKEN_SECONDS = 8 * 3600
_PERSON = "contentgen-user"
"""Service account of the API server with which a person signs in to the pages."""


_PAYING = (Phase.SUBMITTING, Phase.PROCESSING, Phase.SUBMISSION_UNKNOWN)


class Run:
    """Manifests on a started stack."""

    def __init__(self, stack: Stack, console: Console, options: Options) -> None:
        self._stack = stack
        self._console = console
        self._options = options
        self.documents: tuple[Document, ...] = ()
        self.completed: bool | None = None  # None until all have ended
        self._cluster: Cluster | None = None
        self._page = options.folder / page.NAME
        self._earlier: set[str] = set()  # paths of resources that were Completed before, and are unchanged

    def start(self, documents: tuple[Document, ...]) -> Cluster:
        """Start the programs. Raises NotStarted."""
        began = time.monotonic()
        with self._console.status("Starting the API server, the stores, the sandbox and the operator …"):
            cluster = self._cluster = self._stack.start()
        self._say(f"[green]✓[/] operator, stores and sandbox started [dim]{time.monotonic() - began:.1f}s[/]")
        self.documents = documents
        return cluster

    def apply(self, cluster: Cluster) -> None:
        """Apply all documents. Raises BadManifest for the first that is refused."""
        for name in apply.ensure_namespaces(
            cluster, [each_document for each_document in self.documents if each_document.ours]
        ):
            self._say(f"namespace/{name} created", style="dim")
        for document in self.documents:
            done = apply.apply(cluster, document)
            self._say(f"{document} {done}", style="dim")
            if document.ours and done == "unchanged" and progress.view(cluster.find(document.path) or {}).completed:
                self._earlier.add(document.path)
        self._console.print()

    def watch(self, cluster: Cluster) -> tuple[Body, ...]:
        """Our resources once each has ended or waits for a person, or after the longest time. Raises NotStarted."""
        wanted = [document.path for document in self.documents if document.ours]

        def read() -> tuple[Body, ...]:
            self._stack.check()
            found = [cluster.find(path) for path in wanted]
            return tuple(resource for resource in found if resource is not None)

        most = timedelta(minutes=self._options.minutes)
        return follow(self._console, read, most, unavailable=(httpx.TransportError, Refused))

    def report(self, resources: Sequence[Body]) -> None:
        """Copy the files, print where they are, or why there are none, and write the page of the results."""
        files = outputs.client(self._stack.s3_endpoint, own=bool(self._options.bucket))
        views = [progress.view(each_resource) for each_resource in resources]
        if self._console.is_terminal:
            self._console.print(progress.table(views, datetime.now(UTC), timedelta(), self._console.width))
        results = []
        for resource, view in zip(resources, views, strict=True):
            meta = resource["metadata"]
            folder = self._options.folder / meta["namespace"] / f"{view.kind.lower()}-{view.name}"
            result = Result(resource, folder, earlier=_path(resource) in self._earlier)
            results.append(result)
            if view.completed:
                count = outputs.copy(files, self._stack.bucket, resource, folder)
                took = f"Completed in {progress.duration(view.took)}, {view.cost}"
                said = "finished earlier, nothing paid" if result.earlier else took
                made = f"{said}: {count} files in {folder}" if count else escape(view.state.sentence)  # of a dry run
                self._say(f"[green]✓[/] {view.kind} {view.name}: {made}")
            else:
                self._say(f"[bold red]✗[/] {view.kind} {view.name}: {view.phase or 'no status'}  {view.reason}")
                self._say(f"  {escape(view.message)}")
                logs = self._stack.folders.pod_logs / meta["namespace"]
                if _had_worker(resource) and logs.exists():
                    self._say(f"  the worker's log: {logs}", style="dim")
        missing = len([document for document in self.documents if document.ours]) - len(resources)
        self.completed = missing == 0 and all(each_view.completed for each_view in views)
        self._page = page.write(self._options.folder, results, simulated=not self._options.pays)
        if not self._options.pays:
            self._say("The sandbox replaced the providers: the costs are simulated, nothing was paid.", style="dim")
            if len(self._earlier) == len(resources):
                self._say(f"To run them again, remove {self._options.folder / SANDBOX}.", style="dim")

    def all_completed(self, cluster: Cluster) -> bool:
        """Whether every resource is Completed, also those that the pages have created."""
        paths = [f"/apis/{API_VERSION}/{kind.plural}" for kind in Kind]
        return all(progress.view(each).completed for path in paths for each in cluster.items(path))

    def say_page(self, before: str = "") -> None:
        """Print where the page of the results is: the last line."""
        self._say(f"{before}The results are on the page {self._page}")

    def interrupted(self) -> None:
        """Print which paid requests are under way."""
        if not self._options.pays:
            self._say("Stopped. Nothing was paid.")
            return
        if self._cluster is None:  # the operator may have continued what an earlier run began
            self._say("[yellow]![/] Requests of earlier runs that have not ended go on at the provider and are paid.")
        self._say_open()
        self._say(f"Stopped. {self._again}")

    def ended(self) -> None:
        """Print which paid requests are under way at the end of a command that does not serve."""
        if self._options.pays and self._say_open():
            self._say(self._again)

    @property
    def _again(self) -> str:
        return f"The same command with the folder {self._options.folder} continues, and pays nothing twice."

    def _say_open(self) -> bool:
        """Print the open requests; True if there are any."""
        found = [line for document in self.documents if document.ours and (line := self._open_request(document))]
        for line in found:
            self._say(f"[yellow]![/] {line}")
        return bool(found)

    def _open_request(self, document: Document) -> str:
        """A line about the paid request of a resource; empty if there is none."""
        try:
            found = self._cluster.find(document.path) if self._cluster is not None else None
        except (httpx.TransportError, Refused) as error:
            return f"{document}: its state is unknown: {escape(str(error))}"
        status = (found or {}).get("status") or {}
        if status.get("phase") not in _PAYING:
            return ""
        request = (status.get("run") or {}).get("requestId")
        under_way = f"request {request} is under way at the provider" if request else "its request is being sent"
        return f"{document} ({status['phase']}): {under_way}, goes on there and is paid"

    def welcome(self, cluster: Cluster) -> None:
        """Print where the pages and the API server are."""
        self._stack.wait_for_gateway()
        token = cluster.token(SYSTEM, _PERSON, GATEWAY_AUDIENCE, _TOKEN_SECONDS)
        self._say(f"\nThe pages and the HTTP API: [bold]{self._stack.gateway_url}[/]  Sign in with this token:")
        self._console.print(token, soft_wrap=True, markup=False)
        self._say(f"The API server, for kubectl: export KUBECONFIG={self._stack.kubeconfig.resolve()}")

    def _say(self, text: str, style: str | None = None) -> None:
        self._console.print(text, style=style, soft_wrap=True)


def _had_worker(resource: Body) -> bool:
    """Whether a worker of the last run was started; none is for an invalid spec or a missing LoRA."""
    run = (resource.get("status") or {}).get("run") or {}
    return bool(run.get("logs") or run.get("job"))


def _path(resource: Body) -> str:
    return Document(Path(), resource).path


def wait_for_end() -> None:
    """Wait for Ctrl-C or SIGTERM."""
    threading.Event().wait()
