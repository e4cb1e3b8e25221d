"""Final report of the demo: read files, records and ledger of the jobs, print them, and run the checks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from contentgen_contract.names import Kind
from contentgen_demo import report, stores
from contentgen_demo.cluster import NAMESPACE, DemoCluster
from contentgen_demo.report import DemoJob
from contentgen_demo.run import LEDGER_PATH, Done
from contentgen_try import progress

_SETTINGS = "export KUBECONFIG=$PWD/.cluster/kubeconfig PATH=$PWD/.cluster/bin:$PATH"
_OPEN_STORES = (
    "For demonstrations alone: the sandbox's MongoDB has no password. Where the cluster's network enforces no "
    "NetworkPolicy, every pod of the cluster reads and writes it; the cluster that "
    "the demo builds without Docker enforces none."
)


def show(cluster: DemoCluster, console: Console, done: Done) -> int:
    """Print the report and return the exit code. Raises DemoError, CommandFailed."""
    with stores.demo_errors():
        return _show(cluster, console, done)


def _show(cluster: DemoCluster, console: Console, done: Done) -> int:
    client = stores.s3_client(
        cluster.port("s3"), *cluster.secret("contentgen-storage", "access-key-id", "secret-access-key")
    )
    jobs = _jobs(cluster, client, done)
    new = report.new_entries(done.ledger_before, cluster.raw(LEDGER_PATH))
    entries = _without_others(cluster, done, jobs, new)
    _section(console, "Done" if all(job.view.completed for job in jobs) else "Not done", report.jobs_table(jobs))
    _section(
        console,
        "Sandbox ledger: simulated charges",
        report.ledger_table(entries) if entries else "nothing",
    )
    if len(new) > len(entries):
        console.print(f"  [dim]and {len(new) - len(entries)} entries of other resources in this cluster[/]")
    _section(console, f"S3: {stores.BUCKET}", _files(jobs))
    _section(console, f"MongoDB: {stores.DATABASE}.jobs", report.documents_table(jobs))
    copied = [path for job in jobs for path in stores.download_viewable(client, job.files, done.folder)]
    results = report.checks(jobs, entries)
    _checks(console, results)
    _diagnose(cluster, console, done, jobs)
    show_next(console, jobs, copied, done.folder)
    return 0 if all(check.passed for check in results) else 1


def _jobs(cluster: DemoCluster, client: Any, done: Done) -> tuple[DemoJob, ...]:
    documents = stores.documents(cluster.port("mongodb"), [resource["metadata"]["uid"] for resource in done.resources])
    return tuple(_job(client, resource, documents.get(resource["metadata"]["uid"])) for resource in done.resources)


def _job(client: Any, resource: dict[str, Any], document: dict[str, Any] | None) -> DemoJob:
    status = resource.get("status", {})
    job = DemoJob(
        view=progress.view(resource),
        job_id=status.get("jobId") or resource["metadata"]["uid"],
        user_id=resource["spec"].get("userId") or NAMESPACE,
        request_id=status.get("run", {}).get("requestId") or "",
        files=(),
        document=document,
    )
    files = stores.stored_files(client, _prefixes(job))
    return DemoJob(job.view, job.job_id, job.user_id, job.request_id, files, document)


def _without_others(
    cluster: DemoCluster, done: Done, jobs: Sequence[DemoJob], entries: Sequence[dict[str, Any]]
) -> tuple[dict[str, Any], ...]:
    """Ledger entries without those of other resources: tests or colleagues may use the same cluster."""
    ours = {job.job_id for job in jobs}
    others = [resource for resource in cluster.all_resources() if resource["metadata"]["uid"] not in ours]
    known = {each.get("status", {}).get("run", {}).get("requestId") for each in others}
    began = min(resource["metadata"]["creationTimestamp"] for resource in done.resources)
    # Instants of the same form compare as texts; what has not ended has no time yet.
    busy = any(each.get("status", {}).get("completionTime", began) >= began for each in others)
    return report.without_others(entries, jobs, known, busy=busy)


def _prefixes(job: DemoJob) -> tuple[str, ...]:
    return stores.prefixes(Kind(job.view.kind), job.user_id, job.job_id)


def _files(jobs: Sequence[DemoJob]) -> Any:
    if not any(job.files for job in jobs):
        return "nothing"
    return report.files_table([(job, _prefixes(job)) for job in jobs])


def _section(console: Console, title: str, *parts: Any) -> None:
    console.print(f"\n[bold]{escape(title)}[/]", soft_wrap=True)
    for part in parts:
        console.print(Padding(part, (0, 0, 0, 2), expand=False))


def _checks(console: Console, results: Sequence[report.DemoCheck]) -> None:
    console.print()
    for check in results:
        mark = "[green]✓[/]" if check.passed else "[bold red]✗[/]"
        found = "" if check.passed or not check.found else f" [red]({escape(check.found)})[/]"
        console.print(f"{mark} {escape(check.description)}{found}", soft_wrap=True)


def show_next(console: Console, jobs: Sequence[DemoJob], copied: Sequence[Path], folder: Path) -> None:
    """Print files to open, commands, and who else reads the sandbox."""
    if copied:
        count = f"{len(copied)} files copied to {folder}/, for example"
        console.print(f"\n[bold]Files to open[/]  [dim]{count}[/]", soft_wrap=True)
    for path in report.worth_opening(copied):
        console.print(f"  {path}", soft_wrap=True)
    first = next((job.view for job in jobs if not job.view.completed), jobs[0].view)
    console.print("\n[bold]Next commands[/]")
    for command in (
        _SETTINGS,
        "kubectl get contentgen -A",
        f"kubectl -n {NAMESPACE} describe {first.kind.lower()} {first.name}",
        f"kubectl get --raw {LEDGER_PATH}",
    ):
        console.print(f"  {command}", soft_wrap=True)
    console.print(
        "\nIn a browser: [bold]make ui[/] opens the gateway and prints a token for signing in.", soft_wrap=True
    )
    console.print(f"\n{_OPEN_STORES}", soft_wrap=True)
    console.print("\nThe cluster keeps running; [bold]make cluster-down[/] removes it completely.", soft_wrap=True)


def _diagnose(cluster: DemoCluster, console: Console, done: Done, jobs: Sequence[DemoJob]) -> None:
    """Print reason, conditions, events and log tails of each resource that is not Completed."""
    for resource, job in zip(done.resources, jobs, strict=True):
        if job.view.completed:
            continue
        each = job.view
        console.print(f"\n[bold red]{each.kind} {each.name}[/] is {each.phase or 'without status'}", soft_wrap=True)
        console.print(f"  {escape(each.reason or '—')}: {escape(each.message)}", soft_wrap=True)
        for line in (*report.condition_lines(resource), *cluster.diagnose(resource)):
            console.print(f"  {escape(line)}", style="dim", soft_wrap=True)
