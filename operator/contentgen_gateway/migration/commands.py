"""`contentgen backup | restore | import | namespaces | prepare-rollback`: for whoever runs the stores.

It works on them directly, with the gateway's settings, so it is run where those are:

    kubectl --namespace contentgen exec deploy/contentgen-gateway -- contentgen backup - > backup.tar
    kubectl --namespace contentgen exec -i deploy/contentgen-gateway -- contentgen restore - < backup.tar
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from bson import json_util
from bson.errors import BSONError
from pymongo.database import Database

from contentgen_gateway.migration import asset_listing, rollback_stores
from contentgen_gateway.migration import backup as backups
from contentgen_gateway.migration.archive import BadArchive, create_archive, open_archive
from contentgen_gateway.migration.legacy_import import ImportEntry, LegacyImport, Outcome
from contentgen_gateway.migration.legacy_record import ImportTarget
from contentgen_gateway.migration.namespaces import CommandRefused, TenantAdministration, scope_of
from contentgen_gateway.migration.rollback import Finding, FindingAction
from contentgen_gateway.settings import Settings
from contentgen_gateway.stores.files import BucketFiles
from contentgen_runtime import mongo, s3
from contentgen_runtime.clock import utc_now
from contentgen_runtime.kube import KubeApi
from contentgen_runtime.stores import s3_session

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Document = dict[str, Any]
_MAX_PRINTED = 20  # of what is missing or refused, on the terminal

_OPTIONS = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    help="Back up, restore and take over what contentgen knows, and say whose it is.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=_OPTIONS,
)
tenants = typer.Typer(
    help="Which namespace is which tenant, after it or its cluster was created again.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings=_OPTIONS,
)
app.add_typer(tenants, name="namespaces")

Report = Annotated[Path | None, typer.Option("--report", help="Write everything that is told to this JSON file.")]


def main() -> None:
    """The console script `contentgen`."""
    try:
        app(prog_name="contentgen")
    except (BadArchive, CommandRefused, rollback_stores.OperatorRuns) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


@app.command()
def backup(
    target: Annotated[str, typer.Argument(help="A new folder, a .tar or .tar.gz file, or - for standard output.")],
    *,
    checksums: Annotated[
        bool, typer.Option(help="Ask the bucket for the checksum of each object: a request for each.")
    ] = True,
) -> None:
    """Write records, ledger, collections, shares and a list of all assets.

    The files themselves stay in the bucket, which keeps their versions; the list says later which are missing.
    """
    settings = Settings()
    with _database(settings) as database, create_archive(target) as writer:
        assets = asset_listing.assets(_s3(settings), settings.s3_bucket, checksums=checksums)
        counts = backups.backup(database, writer, assets)
        writer.close(utc_now(), settings.s3_bucket)
    for name, count in counts.items():
        _print(f"{name}: {count}")


@app.command()
def restore(
    source: Annotated[str, typer.Argument(help="A backup: its folder, its file, or - for standard input.")],
    *,
    check_assets: Annotated[bool, typer.Option(help="Say which files of the list are missing.")] = True,
    report: Report = None,
) -> None:
    """Put back what is missing or older, and nothing else; doing it again changes nothing.

    Stop the operator first (replicas 0): what it bought after the backup is in no ledger then, and applied again it
    would be bought again. Status 2: something that the backup lists is missing from the bucket, or is another file.
    """
    settings = Settings()
    with _database(settings) as database, open_archive(source) as archive:
        done = backups.restore(database, archive)
        for name, each in done.items():
            _print(f"{name}: {each.added} added, {each.replaced} brought forward, {each.left} left as they are")
        comparison = asset_listing.Comparison()
        if check_assets:
            comparison = asset_listing.compare(_s3(settings), settings.s3_bucket, archive.read(backups.ASSETS))
        created_at = archive.manifest["createdAt"]
    _print(f"assets: {comparison.same} there, {len(comparison.missing)} missing, {len(comparison.different)} different")
    _print_some("missing", comparison.missing)
    _print_some("different", comparison.different)
    _print(
        f"the backup is of {created_at}: look at the providers' dashboards for what was bought later, it is not in it"
    )
    summary = {name: {"added": e.added, "replaced": e.replaced, "left": e.left} for name, e in done.items()}
    _report(
        report, summary | {"missing": comparison.missing, "different": comparison.different, "createdAt": created_at}
    )
    if comparison.missing or comparison.different:
        raise typer.Exit(2)


@app.command(name="import")
def import_(
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="The namespace that they go into.")],
    file: Annotated[
        Path | None, typer.Argument(help="Documents as mongoexport writes them, one a line or one array; - for input.")
    ] = None,
    *,
    from_uri: Annotated[str | None, typer.Option(help="Read them from this MongoDB instead.")] = None,
    from_database: Annotated[str, typer.Option(help="Its database.")] = "content-generation",
    from_collection: Annotated[str, typer.Option(help="Its collection.")] = "jobs",
    from_bucket: Annotated[
        str | None, typer.Option(help="The bucket in which their files lie; they are copied into the gateway's.")
    ] = None,
    report: Report = None,
) -> None:
    """Take over the jobs of a service of the old kind.

    Each document is taken over whole, or refused with all that is wrong with it. Status 2: some were refused, or name
    files that are missing.
    """
    if (file is None) == (from_uri is None):
        raise typer.BadParameter("give a file, or --from-uri")
    settings = Settings()
    with _database(settings) as database, ExitStack() as stack:
        work = _import(settings, database, namespace, from_bucket)
        if file is None:
            old = stack.enter_context(closing(mongo.connect(str(from_uri), from_database).client))
            entries = work.run(old[from_database][from_collection].find().sort("_id", 1))
        else:
            entries = work.run(_documents(file))
    counts = Counter(each.outcome for each in entries)
    _print(", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome))
    _print_some("refused", [_refusal(each) for each in entries if each.outcome is Outcome.REFUSED])
    _print_some("note", [f"{each.job_id}: {each.note}" for each in entries if each.note])
    _print_some("missing", [key for each in entries for key in each.missing])
    _report(report, {"outcomes": counts, "jobs": [_entry_json(each) for each in entries]})
    if counts[Outcome.REFUSED] or any(each.missing for each in entries):
        raise typer.Exit(2)


@app.command()
def prepare_rollback(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the table, and change nothing.")] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="After the next upgrade: resume what was suspended for the rollback.")
    ] = False,
) -> None:
    """Suspend what release a5a1c84 would buy again or lose, and write what it needs into the ledger.

    Stop the operator first (replicas 0). Only an operator that has written a status within the last minute is noticed.
    Doing it again changes nothing. Status 2: something needs a person.
    """
    settings = Settings()
    with _database(settings) as database:
        findings = asyncio.run(_find_and_fix(settings, database, dry=dry_run, undo=undo))
    rows = [("ACTION", "OBJECT", "WHY"), *((each.action.value, each.about, each.why) for each in findings)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for action, about, why in rows:
        typer.echo(f"{action:{widths[0]}}  {about:{widths[1]}}  {why}")
    _print(f"{len(findings)} found{'; nothing was changed' if dry_run else ''}")
    if any(each.action is FindingAction.WAIT for each in findings):
        raise typer.Exit(2)


async def _find_and_fix(settings: Settings, database: Database[Document], *, dry: bool, undo: bool) -> list[Finding]:
    marker_of = rollback_stores.marker_reader(_s3(settings), settings.s3_bucket)
    where = settings.watch_namespaces
    async with KubeApi() as kube:
        if undo:
            return await rollback_stores.undo(kube, where, database, marker_of, dry=dry)
        mine = settings.operator_class
        return await rollback_stores.prepare(kube, where, database, marker_of, utc_now(), dry=dry, operator_class=mine)


Cluster = Annotated[
    str | None, typer.Option(help="The uid of the cluster's namespace kube-system; not needed where there is one only.")
]
By = Annotated[str, typer.Option(help="Who decides; it stays in the history.")]
_BY = "contentgen namespaces"


@tenants.command("list")
def list_namespaces() -> None:
    """Write clusters, and namespaces with their uids and scopes, those that they had before included."""
    with _database(Settings()) as database:
        known = TenantAdministration(database, "")
        for each in known.clusters():
            state = "the ledger's" if each["_id"] == known.first() else each.get("confirmed") or "not confirmed"
            state = f"taken over by {each['takenBy']}" if each.get("takenBy") else state
            typer.echo(f"cluster {each['_id']}: {state}, since {each['firstSeenAt']}")
        for binding in known.bindings():
            for each in (binding, *reversed(binding.get("history", []))):
                until = f", until {each['until']} ({each.get('by') or 'the operator'})" if "until" in each else ""
                typer.echo(f"namespace {binding['_id']}: uid {each['uid']}, {_scope(each)}{until}")


def _scope(binding: Document) -> str:
    also = "".join(f" and {each}" for each in binding.get("also") or ())
    taken = f", taken over by cluster {binding['takenBy']}" if binding.get("takenBy") else ""
    return (f"scope {binding['scope']}" if binding["scope"] else "unscoped") + also + taken


@tenants.command("map")
def map_namespace(
    namespace: Annotated[str, typer.Argument(help="Its name.")],
    *,
    uid: Annotated[str, typer.Option(help="The uid that it has now: metadata.uid.")],
    to: Annotated[
        str,
        typer.Option(help="unscoped: what the first of the name bought. fresh: nothing earlier. Or an earlier uid."),
    ],
    cluster: Cluster = None,
    force: Annotated[
        bool, typer.Option(help="Also where purchases are under way, or another cluster's namespace has the scope.")
    ] = False,
    by: By = _BY,
) -> None:
    """Let a namespace go on with what an earlier one of its name has bought and made."""
    with _database(Settings()) as database:
        known = TenantAdministration(database, by)
        done = known.map(known.cluster(cluster), namespace, uid, to, force=force)
    _print("mapped" if done else "it is mapped so already")


@tenants.command()
def confirm(
    cluster: Cluster = None,
    *,
    earlier: Annotated[
        list[str] | None, typer.Option("--from", help="Take over from this cluster; from all others if not given.")
    ] = None,
    fresh: Annotated[bool, typer.Option(help="Beside the others, with purchases and records of its own.")] = False,
    force: Annotated[bool, typer.Option(help="Also where the operator of another cluster is at work.")] = False,
    by: By = _BY,
) -> None:
    """Let a rebuilt cluster go on with all namespaces of the others, by their names; those pay nothing any more."""
    with _database(Settings()) as database:
        known = TenantAdministration(database, by)
        done = known.confirm(known.cluster(cluster), earlier=earlier or (), fresh=fresh, force=force)
    _print("confirmed" if done else "it is confirmed already")


def _import(settings: Settings, database: Database[Document], namespace: str, from_bucket: str | None) -> LegacyImport:
    client = _s3(settings)
    files = BucketFiles(
        bucket=settings.s3_bucket,
        region=settings.s3_region,
        endpoint=settings.s3_endpoint,
        public_endpoint=settings.s3_public_endpoint,
        session=s3_session(settings)[0],
    )
    source = from_bucket or settings.s3_bucket

    def fetch(prefixes: Iterable[str]) -> None:
        if source != settings.s3_bucket:
            asset_listing.copy_missing(client, source, settings.s3_bucket, prefixes)

    return LegacyImport(
        jobs=database["jobs"],
        ledger=database["ledger"],
        place=ImportTarget(
            namespace=namespace,
            bucket=source,
            key_of=files.key_of,
            address=files.address,
            tenant=scope_of(database, namespace) or None,
        ),
        sizes=files.sizes_now,
        by="contentgen import",
        may_name=lambda _: True,  # it runs with the keys of the stores, which know no callers
        fetch=fetch,
    )


def _documents(file: Path) -> Iterator[Document]:
    """One a line, or one array. A line that cannot be read is a document that is refused."""
    text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    with suppress(ValueError, TypeError, BSONError):
        whole = json_util.loads(text)
        yield from (each if isinstance(each, dict) else {} for each in (whole if isinstance(whole, list) else [whole]))
        return
    for line in filter(str.strip, text.splitlines()):
        try:
            document = json_util.loads(line)
        except (ValueError, TypeError, BSONError):
            document = None
        yield document if isinstance(document, dict) else {}


def _refusal(entry: ImportEntry) -> str:
    why = "; ".join(f"{each.field}: {each.why}" for each in entry.problems)
    return f"{entry.job_id or f'document {entry.document}'}: {why}"


def _entry_json(entry: ImportEntry) -> Document:
    problems = [{"field": each.field, "why": each.why} for each in entry.problems]
    summary = {"document": entry.document, "jobId": entry.job_id, "outcome": entry.outcome.value, "note": entry.note}
    return summary | {"problems": problems, "missing": list(entry.missing)}


@contextmanager
def _database(settings: Settings) -> Iterator[Database[Document]]:
    uri = mongo.read_uri(settings.mongodb_uri, settings.mongodb_uri_file)
    database = mongo.connect(uri, settings.mongodb_database)
    with closing(database.client):
        yield database


def _s3(settings: Settings) -> "S3Client":
    return s3.connect(s3_session(settings)[0], settings.s3_region, settings.s3_endpoint)


def _print_some(what: str, found: list[str]) -> None:
    for each in found[:_MAX_PRINTED]:
        _print(f"{what}: {each}")
    if len(found) > _MAX_PRINTED:
        _print(f"{what}: and {len(found) - _MAX_PRINTED} more; --report has all")


def _report(path: Path | None, summary: Document) -> None:
    if path is not None:
        path.write_text(json.dumps(summary, indent=2, default=str) + "\n")


def _print(text: str) -> None:
    typer.echo(text, err=True)


if __name__ == "__main__":
    main()
