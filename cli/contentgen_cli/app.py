"""The commands. Each imports what it needs when it runs, so that `--help` and completion are quick."""

import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contentgen_cli.errors import ApiUnreachable, CliError, NotPermitted
from contentgen_contract.names import Kind, Stage

if TYPE_CHECKING:
    from contentgen_cli.cluster import ClusterClient
    from contentgen_cli.commands.moving import MovePlan
    from contentgen_cli.commands.why import ResourceContext
    from contentgen_cli.item import Item
    from contentgen_cli.tables import VersionFiles

app = typer.Typer(
    help="Ask what becomes of your content: LoRA trainings, pictures and transcripts.",
    no_args_is_help=True,
    add_completion=False,  # kubectl asks kubectl_complete-contentgen
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich takes longer to import than the rest together
    context_settings={"help_option_names": ["-h", "--help"]},
)
get_app = typer.Typer(help="List what a resource has.", no_args_is_help=True, rich_markup_mode=None)
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
        help="NAME or KIND/NAME, or KIND NAME, of one or several resources; a kind is lora, imagegen or transcript, "
        "or its full name.",
    ),
]
OptionalNames = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]", help="As for the other commands; all when left out.")
]
Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="The namespace; the context's when left out.")]
Context = Annotated[str | None, typer.Option("--context", help="The kubeconfig's context to use.")]
Kubeconfig = Annotated[str | None, typer.Option("--kubeconfig", help="The kubeconfig file to use.")]
AsUser = Annotated[str | None, typer.Option("--as", help="Ask as this user, who you may impersonate.")]
Everywhere = Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.")]


class FilesOutput(StrEnum):
    """How files are listed."""

    TABLE = "table"
    JSON = "json"
    URLS = "urls"


class TableOutput(StrEnum):
    """How a table is printed."""

    TABLE = "table"
    JSON = "json"


@app.command()
def why(
    names: Names,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    user: AsUser = None,
) -> None:
    """Say what it waits for or why it failed.

    Or, when it is done, where its files are; and what to do next.
    """
    from contentgen_cli.commands import show
    from contentgen_cli.commands.why import explain
    from contentgen_cli.item import utc_now

    with _cluster(namespace, context, kubeconfig, user) as cluster:
        item = _find(cluster, names)
        told = explain(item, _context(cluster, item), utc_now())
        commands = [cluster.command(words, item.namespace) for words in told.commands]
        show.print_report(show.console(), told, commands)


@app.command()
def logs(
    names: Names,
    *,
    stage: Annotated[Stage | None, typer.Option("--stage", help="Of this stage only.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run is over.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="A pod's lines as it wrote them: JSON.")] = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    user: AsUser = None,
) -> None:
    """Print what its workers said.

    Of a pod that is gone the last lines are kept.
    """
    from contentgen_cli.commands import logs as reading
    from contentgen_contract.worker.log import collapse_retries, printable

    with _cluster(namespace, context, kubeconfig, user) as cluster:
        item = _find(cluster, names)
        parts = reading.follow_attempts(cluster, item, stage) if follow else iter(
            reading.attempt_logs(item, cluster.pods(item.uid), stage)
        )  # fmt: skip
        printed = False
        for part in parts:
            print(f"── {part.title}", file=sys.stderr, flush=True)
            lines = reading.log_lines(cluster, part, follow=follow, raw=raw)
            for line in lines if follow else collapse_retries(tuple(lines)):
                print(printable(line), flush=True)
            printed = True
        if not printed:
            phase = item.status.phase or "not started"
            raise CliError(f"{item.reference} has no log{f' of {stage}' if stage else ''}: it is {phase}; "
                           f"why: kubectl contentgen why {item.reference}")  # fmt: skip


@get_app.command("files")
def get_files(
    names: SeveralNames,
    *,
    output: Annotated[FilesOutput, typer.Option("--output", "-o", help="json is stable for scripts.")] = (
        FilesOutput.TABLE
    ),
    version: Annotated[int | None, typer.Option("--version", help="Of this version only.")] = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    user: AsUser = None,
) -> None:
    """List stored files.

    By version: where they are, their sizes and checksums. Of several resources those found are listed, also where one
    is missing or has no files; the exit status is then 1.
    """
    from contentgen_cli import tables, target

    targets = target.parse_all(names)
    listed: list[tables.VersionFiles] = []
    with _cluster(namespace, context, kubeconfig, user) as cluster:
        for wanted in targets:
            try:
                listed.append(tables.files_of(cluster.find(wanted), version))
            except ApiUnreachable:
                raise
            except CliError as error:
                if len(targets) == 1:
                    raise
                print(f"error: {error}", file=sys.stderr)
    _print_files(listed, output, several=len(targets) > 1)
    if len(listed) < len(targets):
        raise typer.Exit(1)


def _print_files(listed: Sequence["VersionFiles"], output: FilesOutput, *, several: bool) -> None:
    from contentgen_cli import tables
    from contentgen_cli.commands import show

    match output:
        case FilesOutput.JSON:
            print(tables.files_json(listed, several=several))
        case FilesOutput.URLS:
            for url in [url for each in listed for url in each.urls]:
                print(url)
        case FilesOutput.TABLE if listed:
            # As in kubectl, names stand in the table where there are several.
            rows = [((each.item.reference,) if several else ()) + row for each in listed for row in each.rows]
            heads = (("NAME",) if several else ()) + ("VERSION", "SIZE", "SHA256", "URL")
            show.print_plain(show.console(), show.table(heads, rows, right=("SIZE",)))


@app.command()
def watch(
    names: OptionalNames = None,
    *,
    everywhere: Everywhere = False,
    timeout: Annotated[float | None, typer.Option("--timeout", help="Give up after this many seconds.")] = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    user: AsUser = None,
) -> None:
    """Show progress until nothing is under way.

    Exit status 0 when all are Completed, else 1.
    """
    from contentgen_cli.commands import show, watching

    with _cluster(namespace, context, kubeconfig, user) as cluster:
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
        code = watching.watch(show.console(), read, namespaces=everywhere, timeout=timeout)
    raise typer.Exit(code)


@app.command()
def retry(
    names: Names,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    user: AsUser = None,
) -> None:
    """Run it once more with the same inputs.

    Shows what that costs, and asks where the run before was paid for.
    """
    from contentgen_cli.commands import retrying
    from contentgen_cli.item import utc_now

    with _cluster(namespace, context, kubeconfig, user) as cluster:
        item = _find(cluster, names)
        plan = retrying.retry(item, utc_now())
        print(plan.text)
        if plan.ask and not yes:
            _confirm("Pay and run it again?")
        cluster.patch(item, plan.change)
        print(f"{item.reference} runs again; see it: "
              f"{cluster.command(f'contentgen watch {item.reference}', item.namespace)}")  # fmt: skip


@app.command()
def collect(
    names: Names,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    user: AsUser = None,
) -> None:
    """Fetch the paid result of a failed run once more.

    Nothing is paid: the provider's answer was kept when the run failed.
    """
    from contentgen_cli.commands import collecting

    with _cluster(namespace, context, kubeconfig, user) as cluster:
        item = _find(cluster, names)
        change = collecting.collect(item)
        if change is not None:
            cluster.patch(item, change)
        print(f"The result of {item.reference} is fetched once more, which pays nothing; see it: "
              f"{cluster.command(f'contentgen watch {item.reference}', item.namespace)}")  # fmt: skip


@app.command()
def cancel(
    names: Names,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    user: AsUser = None,
) -> None:
    """End the run under way, and keep the resource.

    Before the provider has the request that is free; after it the provider is asked to stop, and may bill it.
    """
    from contentgen_cli.commands import cancelling

    with _cluster(namespace, context, kubeconfig, user) as cluster:
        item = _find(cluster, names)
        plan = cancelling.cancel(item)
        cluster.patch(item, plan.change)
        print(plan.text)
        print(f"{item.reference} is being cancelled; see it: "
              f"{cluster.command(f'contentgen why {item.reference}', item.namespace)}")  # fmt: skip


@app.command()
def adopt(
    names: Names,
    request_id: Annotated[
        str, typer.Argument(metavar="REQUEST_ID", help="The provider's id of the request, from its dashboard.")
    ],
    *,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    user: AsUser = None,
) -> None:
    """Name the provider's request of a run whose reply was lost.

    The operator verifies it: model, complete input and time. Nothing is paid.
    """
    from contentgen_cli.commands import adopting

    with _cluster(namespace, context, kubeconfig, user) as cluster:
        item = _find(cluster, names)
        plan = adopting.adopt(item, request_id)
        cluster.patch(item, plan.change)
        print(plan.text)
        print(f"See what comes of it: {cluster.command(f'contentgen why {item.reference}', item.namespace)}")


@app.command()
def cost(
    *,
    since: Annotated[
        str | None, typer.Option("--since", help="Of runs that started since: a number and m, h, d or w.")
    ] = None,
    everywhere: Everywhere = False,
    output: Annotated[TableOutput, typer.Option("--output", "-o", help="json is stable for scripts.")] = (
        TableOutput.TABLE
    ),
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    user: AsUser = None,
) -> None:
    """Sum up what the last runs cost.

    What the last run of each resource that is there was expected to cost, and did cost.
    """
    from contentgen_cli import tables
    from contentgen_cli.commands import show
    from contentgen_cli.item import utc_now

    start = utc_now() - tables.parse_period(since) if since else None
    with _cluster(namespace, context, kubeconfig, user) as cluster:
        items = _all(cluster, everywhere)
    begun = ((item, item.status.start_time or item.created_at) for item in items)
    costs = tables.costs(item for item, at in begun if start is None or at >= start)
    if output is TableOutput.JSON:
        print(tables.costs_json(costs))
        return
    rows = [
        (row.namespace, row.kind.value if row.kind else "SUM", str(row.runs),
         tables.format_amount(row.estimated, row.currency, row.unestimated),
         tables.format_amount(row.actual, row.currency, row.unknown))
        for row in costs
    ]  # fmt: skip
    heads = ("NAMESPACE", "KIND", "RUNS", "ESTIMATED", "ACTUAL")
    show.print_plain(show.console(), show.table(heads, rows, right=heads[2:]))


@app.command()
def orphans(
    *,
    everywhere: Everywhere = False,
    output: Annotated[TableOutput, typer.Option("--output", "-o", help="json is stable for scripts.")] = (
        TableOutput.TABLE
    ),
    gateway: Annotated[
        str, typer.Option("--gateway", envvar="CONTENTGEN_GATEWAY", help="The gateway's URL.")
    ] = "http://localhost:5000",
    token: Annotated[
        str | None, typer.Option("--token", envvar="CONTENTGEN_TOKEN", help="A token for the gateway.")
    ] = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    user: AsUser = None,
) -> None:
    """List what was paid and has no resource any more.

    Purchases of resources that were deleted: applied again with the same spec they take the result and pay nothing.
    The gateway is asked, with a token of its audience: of these there is nothing in Kubernetes.
    """
    import json

    from contentgen_cli.commands import orphans as listing
    from contentgen_cli.commands import show

    with _cluster(namespace, context, kubeconfig, user) as cluster:
        place = None if everywhere else cluster.namespace
    found = listing.list_orphans(gateway, token, place)
    if output is TableOutput.JSON:
        print(json.dumps({"orphans": found}, indent=2))
    elif found:
        show.print_plain(show.console(), show.table(listing.HEADS, listing.rows(found), right=("COST",)))
    else:
        where = f"in namespace {place!r}" if place else "in any namespace that the token may list"
        print(f"there is no orphan {where}", file=sys.stderr)


@app.command()
def suspend(
    names: Names,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    user: AsUser = None,
) -> None:
    """Hold it back until it is resumed.

    Nothing new is started and nothing is bought; what the provider works on goes on there.
    """
    _set_suspend(names, True, _cluster(namespace, context, kubeconfig, user))


@app.command()
def resume(
    names: Names,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    user: AsUser = None,
) -> None:
    """Let a suspended one go on."""
    _set_suspend(names, False, _cluster(namespace, context, kubeconfig, user))


@app.command()
def move(
    names: OptionalNames = None,
    *,
    to: Annotated[str, typer.Option("--to", help="The operator class; default is the one of most installations.")],
    every: Annotated[bool, typer.Option("--all", help="All resources of the namespace.")] = False,
    kind: Annotated[str | None, typer.Option("--kind", help="With --all: of this kind only.")] = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    user: AsUser = None,
) -> None:
    """Move resources to another operator class.

    Nothing is bought again. The API server is asked about all of them first: if one is in a run, none is moved.
    """
    from contentgen_cli import target
    from contentgen_cli.commands import moving

    if bool(names) is every:
        raise CliError("name the resources to move, or give --all for those of the namespace")
    if kind and not every:
        raise CliError("--kind goes with --all; a named resource has its kind before its name, as in lora/avatar")
    kinds = (target.kind_of(kind),) if kind else tuple(Kind)
    with _cluster(namespace, context, kubeconfig, user) as cluster:
        if names:
            items = [cluster.find(each) for each in target.parse_all(names)]
        else:
            items = [item for each in kinds for item in cluster.all_of(each)]
        chosen = moving.plan(items, to)
        moving.refuse_if_any([(item, why) for item in chosen.moved if (why := cluster.refusal(item, chosen.change))])
        for line in moving.consequences(chosen, to, served=cluster.is_served(to)) if chosen.moved else ():
            print(line)
        for item in chosen.there:
            print(f"{item.reference} is of the class {to!r} already")
        _move(cluster, chosen, to)


def _move(cluster: "ClusterClient", chosen: "MovePlan", to: str) -> None:
    """Exit status 1 where one was changed by somebody else in between: the others are moved all the same."""
    left = 0
    for item in chosen.moved:
        try:
            cluster.patch(item, chosen.change)
            print(f"{item.reference} moved from the class {item.operator_class!r} to {to!r}")
        except ApiUnreachable:
            raise
        except CliError as error:
            left += 1
            print(f"error: {item.reference} was not moved: {error}", file=sys.stderr)
    if left:
        raise typer.Exit(1)


@app.command()
def version() -> None:
    """Print the plugin's version."""
    from importlib.metadata import version as installed

    from contentgen_contract.names import API_VERSION

    print(f"kubectl-contentgen {installed('contentgen')} ({API_VERSION})")


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
        served=cluster.is_served(item.operator_class),
        loras={name: cluster.lora(name) for name in loras_of(item)} if needs_loras(item) else {},
    )


def _empty_if_forbidden(read: Callable[[], Sequence[dict[str, Any]]]) -> Sequence[dict[str, Any]]:
    """Whoever may see the resource but not its pods or events is told what the resource says."""
    try:
        return read()
    except NotPermitted:
        return ()


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise CliError("this pays, and nobody can be asked here: give --yes")
    if not typer.confirm(question):
        raise CliError("nothing was changed")


def _set_suspend(names: Sequence[str], wanted: bool, cluster: "ClusterClient") -> None:
    with cluster:
        item = _find(cluster, names)
        if bool(item.spec.get("suspend")) is wanted:
            print(f"{item.reference} is {'suspended' if wanted else 'not suspended'} already")
            return
        cluster.patch(item, {"spec": {"suspend": wanted}})
        print(f"{item.reference} is {'suspended' if wanted else 'resumed'}")
