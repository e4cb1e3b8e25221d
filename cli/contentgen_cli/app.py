"""Commands of the plugin. Each imports its dependencies when it runs, to keep `--help` and completion fast."""

import inspect
import secrets
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import wraps
from inspect import Parameter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contentgen_cli import printing
from contentgen_cli.errors import ApiUnreachable, CliError, NotPermitted
from contentgen_contract.names import Kind, Stage, Verdict

if TYPE_CHECKING:
    from contentgen_cli.cluster import ClusterClient
    from contentgen_cli.commands.approving import Decision
    from contentgen_cli.commands.moving import MovePlan
    from contentgen_cli.commands.why import ResourceContext
    from contentgen_cli.item import Item
    from contentgen_cli.tables import VersionFiles
    from contentgen_contract.resources.queue_position import QueuePosition

app = typer.Typer(
    help="Inspect and control content generation: LoRA trainings, pictures and transcripts.",
    no_args_is_help=True,
    add_completion=False,  # kubectl runs kubectl_complete-contentgen
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: importing rich takes longer than all the rest
    context_settings={"help_option_names": ["-h", "--help"]},
)
get_app = typer.Typer(help="List parts of a resource.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(get_app, name="get")

Names = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME", help="NAME, KIND/NAME or KIND NAME; a kind is lora, imagegen or transcript, or its full name."
    ),
]
SeveralNames = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME",
        help="NAME, KIND/NAME or KIND NAME of one or more resources; a kind is lora, imagegen or transcript, or its "
        "full name.",
    ),
]
OptionalNames = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]", help="As for the other commands; all resources if omitted.")
]
Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace; that of the context if omitted.")]
Context = Annotated[str | None, typer.Option("--context", help="Context of the kubeconfig.")]
Kubeconfig = Annotated[str | None, typer.Option("--kubeconfig", help="Kubeconfig file.")]
AsUser = Annotated[str | None, typer.Option("--as", help="User to impersonate.")]
GatewayAddress = Annotated[
    str,
    typer.Option(
        "--gateway",
        envvar="CONTENTGEN_GATEWAY",
        help="NAMESPACE/SERVICE of the gateway, which is reached through the API server, or a URL.",
    ),
]
GatewayToken = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="CONTENTGEN_TOKEN",
        help="Token for the gateway; a new one of the namespace's service account default if omitted.",
    ),
]
GATEWAY = "contentgen/contentgen-gateway"
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
Everywhere = Annotated[bool, typer.Option("--all-namespaces", "-A", help="All namespaces.")]

Connect = Callable[[], "ClusterClient"]
_CONNECTION = {"namespace": Namespace, "context": Context, "kubeconfig": Kubeconfig, "user": AsUser}


def _connecting(command: Callable[..., None]) -> Callable[..., None]:
    """Command with the options of a connection after its own; its first argument, a `Connect`, connects with them."""

    @wraps(command)
    def run(**given: Any) -> None:
        values = [given.pop(name) for name in _CONNECTION]
        command(lambda: _cluster(*values), **given)

    own = list(inspect.signature(command).parameters.values())[1:]
    flags = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=each) for name, each in _CONNECTION.items()
    ]
    run.__signature__ = inspect.Signature([*own, *flags])  # type: ignore[attr-defined]  # typer reads these
    run.__annotations__ = {each.name: each.annotation for each in (*own, *flags)}
    return run


class FilesOutput(StrEnum):
    """Output format of `get files`."""

    TABLE = "table"
    JSON = "json"
    URLS = "urls"


class TableOutput(StrEnum):
    """Output format of tables."""

    TABLE = "table"
    JSON = "json"


TableFormat = Annotated[TableOutput, typer.Option("--output", "-o", help="json has a stable format for scripts.")]


@app.command()
@_connecting
def why(connect: Connect, names: Names) -> None:
    """Explain the state of a resource, and what to do next.

    Shows the cause of a wait or a failure, or the files of a completed run.
    """
    from contentgen_cli.commands import show
    from contentgen_cli.commands.why import explain
    from contentgen_cli.item import utc_now

    with connect() as cluster:
        item = _find(cluster, names)
        report = explain(item, _context(cluster, item), utc_now())
        commands = [cluster.command(words, item.namespace) for words in report.commands]
        show.print_report(printing.console(), report, commands)


@app.command()
@_connecting
def logs(
    connect: Connect,
    names: Names,
    *,
    stage: Annotated[Stage | None, typer.Option("--stage", help="This stage only.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow the logs until the run is over.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Print the unformatted lines of a pod: JSON.")] = False,
) -> None:
    """Print the logs of a resource's workers.

    For a deleted pod, the last lines from the status are printed.
    """
    from contentgen_cli.commands import logs as reading
    from contentgen_contract.worker.log import collapse_retries

    with connect() as cluster:
        item = _find(cluster, names)
        parts = reading.follow_attempts(cluster, item, stage) if follow else iter(
            reading.attempt_logs(item, cluster.pods(item.uid), stage)
        )  # fmt: skip
        printed = False
        for part in parts:
            printing.say(f"── {part.title}", err=True)
            lines = reading.log_lines(cluster, part, follow=follow, raw=raw)
            for line in (each_line.text for each_line in lines) if follow else collapse_retries(tuple(lines)):
                printing.say(*line.split("\n"))
            printed = True
        if not printed:
            phase = item.status.phase or "not started"
            raise CliError(f"{item.reference} has no log{f' of {stage}' if stage else ''}: it is {phase}. "
                           f"See the cause: kubectl contentgen why {item.reference}")  # fmt: skip


@get_app.command("files")
@_connecting
def get_files(
    connect: Connect,
    names: SeveralNames,
    *,
    output: Annotated[FilesOutput, typer.Option("--output", "-o", help="json has a stable format for scripts.")] = (
        FilesOutput.TABLE
    ),
    version: Annotated[int | None, typer.Option("--version", help="This version only.")] = None,
) -> None:
    """List stored files.

    By version, with URLs, sizes and checksums. If one of several resources is missing or has no files, the others are
    listed and the exit status is 1.
    """
    from contentgen_cli import tables, target

    targets = target.parse_all(names)
    listed: list[tables.VersionFiles] = []
    with connect() as cluster:
        for wanted in targets:
            try:
                listed.append(tables.files_of(cluster.find(wanted), version))
            except ApiUnreachable:
                raise
            except CliError as error:
                if len(targets) == 1:
                    raise
                printing.say(f"error: {error}", err=True)
    _print_files(listed, output, several=len(targets) > 1)
    if len(listed) < len(targets):
        raise typer.Exit(1)


def _print_files(listed: Sequence["VersionFiles"], output: FilesOutput, *, several: bool) -> None:
    from contentgen_cli import tables
    from contentgen_cli.commands import show

    match output:
        case FilesOutput.JSON:
            printing.say(*tables.files_json(listed, several=several).split("\n"))
        case FilesOutput.URLS:
            for url in [url for each in listed for url in each.urls]:
                printing.say(url)
        case FilesOutput.TABLE if listed:
            # As in kubectl, the table has names for several resources.
            rows = [((each.item.reference,) if several else ()) + row for each in listed for row in each.rows]
            heads = (("NAME",) if several else ()) + ("VERSION", "SIZE", "SHA256", "URL")
            show.print_plain(printing.console(), show.table(heads, rows, right=("SIZE",)))


@app.command()
@_connecting
def download(
    connect: Connect,
    names: Names,
    *,
    to: Annotated[str | None, typer.Option("--to", help="Folder; NAME-vVERSION if omitted. It is created.")] = None,
    version: Annotated[int | None, typer.Option("--version", help="This version; the newest if omitted.")] = None,
    files: Annotated[
        list[str] | None,
        typer.Option("--file", help="This file only, such as dataset.zip; may be given several times."),
    ] = None,
    gateway: GatewayAddress = GATEWAY,
    token: GatewayToken = None,
) -> None:
    """Download the stored files of a resource.

    Those of the newest version, or one. The gateway signs their URLs, so no credentials of the bucket are needed. The
    checksums are verified, and nothing is overwritten.
    """
    from pathlib import Path

    from contentgen_cli import tables
    from contentgen_cli.commands import downloading
    from contentgen_cli.gateway import open_gateway

    with connect() as cluster:
        item = _find(cluster, names)
        chosen = tables.versions(item, version)[-1]
        folder = Path(to or f"{item.name}-v{chosen.version}")
        wanted = downloading.wanted_files(chosen, files or ())
        client = open_gateway(gateway, token, lambda: cluster, item.namespace)
        folder.mkdir(parents=True, exist_ok=True)
        for each in wanted:
            printing.say(str(downloading.download(client, item, each, folder)))


@app.command()
@_connecting
def watch(
    connect: Connect,
    names: OptionalNames = None,
    *,
    everywhere: Everywhere = False,
    timeout: Annotated[float | None, typer.Option("--timeout", help="Maximum duration in seconds.")] = None,
) -> None:
    """Show progress until all runs are over.

    The exit status is 0 if all are Completed, else 1.
    """
    from contentgen_cli.commands import watching

    with connect() as cluster:
        if names:
            item = _find(cluster, names)

            def read() -> Sequence["Item"]:
                return [cluster.get(item.kind, item.name)]
        else:

            def read() -> Sequence["Item"]:
                return _all(cluster, everywhere)

            if not read():
                place = "in any namespace" if everywhere else f"in namespace {cluster.namespace!r}"
                raise CliError(f"there is no content {place}")
        code = watching.watch(printing.console(), read, namespaces=everywhere, timeout=timeout)
    raise typer.Exit(code)


@app.command()
@_connecting
def retry(
    connect: Connect,
    names: Names,
    *,
    yes: Yes = False,
    paid: Annotated[
        bool, typer.Option("--paid", help="After a dry run: remove spec.dryRun and start the paid run.")
    ] = False,
) -> None:
    """Run a resource once more with the same inputs.

    Shows the expected cost, and asks for confirmation if the last run was paid. A dry run pays nothing again.
    """
    from contentgen_cli.commands import retrying
    from contentgen_cli.item import utc_now

    with connect() as cluster:
        item = _find(cluster, names)
        plan = retrying.paid_run(item) if paid else retrying.retry(item, utc_now())
        printing.say(*plan.text.split("\n"))
        if plan.ask and not yes:
            _confirm("Pay and run it?" if paid else "Pay and run it again?")
        cluster.patch(item, plan.change)
        printing.say(f"{item.reference} runs again. Follow it: "
              f"{cluster.command(f'contentgen watch {item.reference}', item.namespace)}")  # fmt: skip


@app.command()
@_connecting
def collect(connect: Connect, names: Names) -> None:
    """Fetch the paid result of a failed run once more.

    Nothing is paid: the provider's response was stored when the run failed.
    """
    from contentgen_cli.commands import collecting

    with connect() as cluster:
        item = _find(cluster, names)
        change = collecting.collect(item)
        if change is not None:
            cluster.patch(item, change)
        printing.say(f"The result of {item.reference} is fetched once more, which pays nothing. Follow it: "
              f"{cluster.command(f'contentgen watch {item.reference}', item.namespace)}")  # fmt: skip


@app.command()
@_connecting
def cancel(connect: Connect, names: Names) -> None:
    """Cancel the current run, and keep the resource.

    Free before the request is sent; afterwards the provider is asked to cancel it, and may bill it.
    """
    from contentgen_cli.commands import cancelling

    with connect() as cluster:
        item = _find(cluster, names)
        plan = cancelling.cancel(item)
        cluster.patch(item, plan.change)
        printing.say(*plan.text.split("\n"))
        printing.say(f"{item.reference} is being cancelled. See the result: "
              f"{cluster.command(f'contentgen why {item.reference}', item.namespace)}")  # fmt: skip


@app.command()
@_connecting
def approve(connect: Connect, names: Names, *, yes: Yes = False) -> None:
    """Approve the payment of the run that waits for it.

    Shows the expected cost and asks for confirmation.
    """
    with connect() as cluster:
        item = _find(cluster, names)
        plan = _decision(cluster, item, Verdict.APPROVED)
        printing.say(*plan.lines)
        if not yes:
            _confirm("Pay for this run?")
        cluster.patch(item, plan.change)
        printing.say(f"{item.reference} is approved. Follow it: "
              f"{cluster.command(f'contentgen watch {item.reference}', item.namespace)}")  # fmt: skip


@app.command()
@_connecting
def reject(connect: Connect, names: Names) -> None:
    """Reject the run that waits for an approval. It ends, and nothing is paid."""
    with connect() as cluster:
        item = _find(cluster, names)
        cluster.patch(item, _decision(cluster, item, Verdict.REJECTED).change)
        printing.say(f"{item.reference} is rejected; nothing is paid. See the result: "
              f"{cluster.command(f'contentgen why {item.reference}', item.namespace)}")  # fmt: skip


def _decision(cluster: "ClusterClient", item: "Item", verdict: Verdict) -> "Decision":
    from contentgen_cli.commands import approving

    return approving.decide(item, verdict, cluster.user_name, secrets.token_hex(4))


@app.command()
@_connecting
def adopt(
    connect: Connect,
    names: Names,
    request_id: Annotated[
        str, typer.Argument(metavar="REQUEST_ID", help="ID of the request, from the provider's dashboard.")
    ],
) -> None:
    """Adopt a request whose reply was lost, by its ID at the provider.

    The operator verifies model, complete input and time. Nothing is paid.
    """
    from contentgen_cli.commands import adopting

    with connect() as cluster:
        item = _find(cluster, names)
        plan = adopting.adopt(item, request_id)
        cluster.patch(item, plan.change)
        printing.say(*plan.text.split("\n"))
        printing.say(f"See the result: {cluster.command(f'contentgen why {item.reference}', item.namespace)}")


@app.command()
@_connecting
def cost(
    connect: Connect,
    *,
    since: Annotated[
        str | None, typer.Option("--since", help="Runs that started within this period: a number and m, h, d or w.")
    ] = None,
    everywhere: Everywhere = False,
    output: TableFormat = TableOutput.TABLE,
) -> None:
    """Sum the costs of the last runs.

    The estimated and the actual cost of the last run of each existing resource. A run that ended unpaid, such as a dry
    run, counts 0; a run in progress has no actual cost yet.
    """
    from contentgen_cli import tables
    from contentgen_cli.commands import show
    from contentgen_cli.item import utc_now

    start = utc_now() - tables.parse_period(since) if since else None
    with connect() as cluster:
        items = _all(cluster, everywhere)
    begun = ((item, item.status.start_time or item.created_at) for item in items)
    costs = tables.costs(item for item, at in begun if start is None or at >= start)
    if output is TableOutput.JSON:
        printing.say(*tables.costs_json(costs).split("\n"))
        return
    rows = [
        (row.namespace, row.kind.value if row.kind else "SUM", str(row.runs),
         tables.format_amount(row.estimated, row.currency, row.unestimated),
         tables.format_amount(row.actual, row.currency, row.unknown))
        for row in costs
    ]  # fmt: skip
    heads = ("NAMESPACE", "KIND", "RUNS", "ESTIMATED", "ACTUAL")
    show.print_plain(printing.console(), show.table(heads, rows, right=heads[2:]))


@app.command()
@_connecting
def orphans(
    connect: Connect,
    *,
    everywhere: Everywhere = False,
    output: TableFormat = TableOutput.TABLE,
    gateway: GatewayAddress = GATEWAY,
    token: GatewayToken = None,
) -> None:
    """List purchases whose resource was deleted.

    The same resource applied again adopts the result and pays nothing. The list is read from the gateway with a token
    for its audience, because Kubernetes has no data about deleted resources.
    """
    from contentgen_cli.commands import orphans as listing
    from contentgen_cli.commands import show
    from contentgen_cli.gateway import open_gateway

    with connect() as cluster:
        place = None if everywhere else cluster.namespace
        found = listing.list_orphans(open_gateway(gateway, token, lambda: cluster, place), place)
    if output is TableOutput.JSON:
        printing.say_json({"orphans": found})
    elif found:
        show.print_plain(printing.console(), show.table(listing.HEADS, listing.rows(found), right=("COST",)))
    else:
        where = f"in namespace {place!r}" if place else "in any namespace that the token may list"
        printing.say(f"there are no orphans {where}", err=True)


@app.command()
@_connecting
def audit(
    connect: Connect,
    *,
    last: Annotated[bool, typer.Option("--last", help="Print the last report; request no audit.")] = False,
    output: TableFormat = TableOutput.TABLE,
    timeout: Annotated[float, typer.Option("--timeout", help="Maximum duration in seconds.")] = 300,
    gateway: GatewayAddress = GATEWAY,
    token: GatewayToken = None,
) -> None:
    """Compare the providers' requests and bills with the ledger.

    For administrators: needs the verb audit on the OperatorClass. The operator reads the providers, and nothing is
    paid or changed. The exit status is 2 if there are findings.
    """
    from contextlib import ExitStack

    from contentgen_cli.commands import auditing, show
    from contentgen_cli.gateway import open_gateway

    with ExitStack() as stack:
        # A URL and a token need no kubeconfig.
        client = open_gateway(gateway, token, lambda: stack.enter_context(connect()))
        report = auditing.last_report(client) if last else auditing.new_report(client, timeout)
    if output is TableOutput.JSON:
        printing.say_json(report)
    else:
        if rows := auditing.rows(report):
            show.print_plain(printing.console(), show.table(auditing.HEADS, rows, right=("BILLED", "EXPECTED")))
        printing.say(*auditing.summary(report), err=True)
    if auditing.has_findings(report):
        raise typer.Exit(2)


@app.command()
@_connecting
def notifications(
    connect: Connect,
    names: Names,
    *,
    again: Annotated[
        str | None, typer.Option("--resend", metavar="ID", help="Deliver this one again, with the same id and text.")
    ] = None,
    output: TableFormat = TableOutput.TABLE,
    gateway: GatewayAddress = GATEWAY,
    token: GatewayToken = None,
) -> None:
    """List the notifications of a resource (spec.notify) and their deliveries, or deliver one again.

    They are read from the gateway with a token for its audience. Reading needs the right to read the resource; another
    delivery needs the right to change it.
    """
    from contentgen_cli.commands import notifying, show
    from contentgen_cli.gateway import open_gateway

    with connect() as cluster:
        item = _find(cluster, names)
        client = open_gateway(gateway, token, lambda: cluster, item.namespace)
        if again is not None:
            notifying.resend(client, item.uid, again)
            printing.say(f"notification {again} of {item.reference} is delivered again", err=True)
        found = notifying.of_job(client, item.uid)
    if output is TableOutput.JSON:
        printing.say_json({"notifications": found})
    elif found:
        table = show.table(notifying.HEADS, notifying.rows(found), right=("RUN", "ATTEMPTS"))
        show.print_plain(printing.console(), table)
    else:
        printing.say(f"{item.reference} has no notifications of the last 30 days", err=True)


@app.command()
@_connecting
def suspend(connect: Connect, names: Names) -> None:
    """Suspend a resource until it is resumed.

    Nothing is started and nothing is paid; a request at the provider continues.
    """
    _set_suspend(names, True, connect())


@app.command()
@_connecting
def resume(connect: Connect, names: Names) -> None:
    """Resume a suspended resource."""
    _set_suspend(names, False, connect())


@app.command()
@_connecting
def move(
    connect: Connect,
    names: OptionalNames = None,
    *,
    to: Annotated[str, typer.Option("--to", help="Operator class; most installations serve the class default.")],
    every: Annotated[bool, typer.Option("--all", help="All resources of the namespace.")] = False,
    kind: Annotated[str | None, typer.Option("--kind", help="With --all: this kind only.")] = None,
) -> None:
    """Move resources to another operator class.

    Nothing is paid again. All are validated by the API server first: if one is in a run, none is moved.
    """
    from contentgen_cli import target
    from contentgen_cli.commands import moving

    if bool(names) is every:
        raise CliError("expected the names of resources, or --all for those of the namespace")
    if kind and not every:
        raise CliError("--kind requires --all; for a named resource put the kind before its name, as in lora/avatar")
    kinds = (target.kind_of(kind),) if kind else tuple(Kind)
    with connect() as cluster:
        if names:
            items = [cluster.find(each) for each in target.parse_all(names)]
        else:
            items = [item for each_kind in kinds for item in cluster.all_of(each_kind)]
        chosen = moving.plan(items, to)
        moving.refuse_if_any([(item, why) for item in chosen.moved if (why := cluster.refusal(item, chosen.change))])
        for line in moving.consequences(chosen, to, served=cluster.is_served(to)) if chosen.moved else ():
            printing.say(line)
        for item in chosen.there:
            printing.say(f"{item.reference} is already of the class {to!r}")
        _move(cluster, chosen, to)


def _move(cluster: "ClusterClient", chosen: "MovePlan", to: str) -> None:
    """Exits with status 1 if one was changed concurrently; the others are moved nevertheless."""
    left = 0
    for item in chosen.moved:
        try:
            cluster.patch(item, chosen.change)
            printing.say(f"{item.reference} moved from the class {item.operator_class!r} to {to!r}")
        except ApiUnreachable:
            raise
        except CliError as error:
            left += 1
            printing.say(f"error: {item.reference} was not moved: {error}", err=True)
    if left:
        raise typer.Exit(1)


@app.command()
def version() -> None:
    """Print the plugin's version."""
    from importlib.metadata import version as installed

    from contentgen_contract.names import API_VERSION

    printing.say(f"kubectl-contentgen {installed('contentgen')} ({API_VERSION})")


def _cluster(namespace: str | None, context: str | None, kubeconfig: str | None, user: str | None) -> "ClusterClient":
    from contentgen_cli.cluster import ClusterFlags, connect

    return connect(ClusterFlags(kubeconfig, context, namespace, user))


def _find(cluster: "ClusterClient", names: Sequence[str]) -> "Item":
    from contentgen_cli import target

    return cluster.find(target.parse(names))


def _all(cluster: "ClusterClient", everywhere: bool) -> list["Item"]:
    found = [item for kind in Kind for item in cluster.all_of(kind, everywhere=everywhere)]
    return sorted(found, key=lambda item: (item.namespace, item.created_at, item.reference))


def _context(cluster: "ClusterClient", item: "Item") -> "ResourceContext":
    from contentgen_cli.commands.why import ResourceContext, loras_of, needs_loras

    jobs = _empty_if_forbidden(lambda: cluster.jobs(item.uid))
    return ResourceContext(
        events=_empty_if_forbidden(lambda: cluster.events(item.uid)),
        jobs=jobs,
        job_events=_empty_if_forbidden(lambda: cluster.events(jobs[-1]["metadata"]["uid"])) if jobs else (),
        pods=_empty_if_forbidden(lambda: cluster.pods(item.uid)),
        position=_position(cluster, item),
        served=cluster.is_served(item.operator_class),
        loras={name: cluster.lora(name) for name in loras_of(item)} if needs_loras(item) else {},
    )


def _position(cluster: "ClusterClient", item: "Item") -> "QueuePosition | None":
    """Position in the operator's queue; None if the resource does not wait, or the user may not list the others."""
    from contentgen_contract.resources.queue_position import position_of

    if item.queue_entry is None:
        return None
    try:
        found = [each for kind in Kind for each in cluster.all_of(kind) if each.operator_class == item.operator_class]
    except CliError:
        return None
    return position_of(item.uid, [each.queue_entry for each in found if each.queue_entry is not None])


def _empty_if_forbidden(read: Callable[[], Sequence[dict[str, Any]]]) -> Sequence[dict[str, Any]]:
    """Empty if the user may read the resource but not its pods or events."""
    try:
        return read()
    except NotPermitted:
        return ()


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise CliError("this pays, and standard input is not a terminal for the confirmation: give --yes")
    if not typer.confirm(question):
        raise CliError("nothing was changed")


def _set_suspend(names: Sequence[str], wanted: bool, cluster: "ClusterClient") -> None:
    with cluster:
        item = _find(cluster, names)
        if bool(item.spec.get("suspend")) is wanted:
            printing.say(f"{item.reference} is {'already' if wanted else 'not'} suspended")
            return
        cluster.patch(item, {"spec": {"suspend": wanted}})
        printing.say(f"{item.reference} is {'suspended' if wanted else 'resumed'}")
