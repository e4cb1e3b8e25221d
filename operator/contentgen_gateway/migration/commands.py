"""`contentgen backup | restore | import | namespaces`: commands for administrators.

They access the stores directly with the gateway's settings, so they run in its pod:

    kubectl --namespace contentgen exec deploy/contentgen-gateway -- contentgen backup - > backup.tar
    kubectl --namespace contentgen exec -i deploy/contentgen-gateway -- contentgen restore - < backup.tar
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from bson import json_util
from bson.errors import BSONError
from pymongo.database import Database

from contentgen_gateway.migration import asset_listing
from contentgen_gateway.migration import backup as backups
from contentgen_gateway.migration.archive import BadArchive, create_archive, open_archive
from contentgen_gateway.migration.legacy_import import ImportEntry, LegacyImport, Outcome
from contentgen_gateway.migration.legacy_record import ImportTarget
from contentgen_gateway.migration.namespaces import CommandRefused, TenantAdministration, scope_of
from contentgen_gateway.settings import Settings
from contentgen_gateway.stores.files import BucketFiles
from contentgen_runtime import mongo, s3
from contentgen_runtime.clock import utc_now
from contentgen_runtime.mongo import Document
from contentgen_runtime.stores import s3_session

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MAX_PRINTED = 20  # lines of each list on the terminal

_OPTIONS = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    help="Back up and restore contentgen's data, import from the legacy service, and assign namespaces to tenants.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=_OPTIONS,
)
tenants = typer.Typer(
    help="Assign namespaces to tenants after a namespace or its cluster was created again.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings=_OPTIONS,
)
app.add_typer(tenants, name="namespaces")

Report = Annotated[Path | None, typer.Option("--report", help="Write the full report to this JSON file.")]


def main() -> None:
    """The console script `contentgen`."""
    try:
        app(prog_name="contentgen")
    except (BadArchive, CommandRefused) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


@app.command()
def backup(
    target: Annotated[str, typer.Argument(help="A new folder, a .tar or .tar.gz file, or - for standard output.")],
    *,
    checksums: Annotated[
        bool, typer.Option(help="Store the checksum of each object; takes one request per object.")
    ] = True,
) -> None:
    """Write records, ledger, collections, shares and a list of all assets.

    The files themselves are not copied. A restore compares the list with the bucket.
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
    source: Annotated[str, typer.Argument(help="A backup: a folder, a file, or - for standard input.")],
    *,
    check_assets: Annotated[bool, typer.Option(help="Compare the list of assets with the bucket.")] = True,
    report: Report = None,
) -> None:
    """Restore missing and older documents; doing it again changes nothing.

    Stop the operator first (replicas 0): purchases after the backup are missing from the ledger, and a resource that
    is applied again would pay again. Status 2: listed files are missing from the bucket or different.
    """
    settings = Settings()
    with _database(settings) as database, open_archive(source) as archive:
        done = backups.restore(database, archive)
        for name, each in done.items():
            _print(f"{name}: {each.added} added, {each.replaced} replaced, {each.left} unchanged")
        comparison = asset_listing.Comparison()
        if check_assets:
            comparison = asset_listing.compare(_s3(settings), settings.s3_bucket, archive.read(backups.ASSETS))
        created_at = archive.manifest["createdAt"]
    _print(
        f"assets: {comparison.same} identical, {len(comparison.missing)} missing, {len(comparison.different)} different"
    )
    _print_some("missing", comparison.missing)
    _print_some("different", comparison.different)
    _print(f"the backup is of {created_at}: later purchases are not in it; find them in the providers' dashboards")
    summary = {name: {"added": e.added, "replaced": e.replaced, "left": e.left} for name, e in done.items()}
    _report(
        report, summary | {"missing": comparison.missing, "different": comparison.different, "createdAt": created_at}
    )
    if comparison.missing or comparison.different:
        raise typer.Exit(2)


@app.command(name="import")
def import_(
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Namespace of the imported jobs.")],
    file: Annotated[
        Path | None, typer.Argument(help="Documents of mongoexport, one per line or one array; - for standard input.")
    ] = None,
    *,
    from_uri: Annotated[str | None, typer.Option(help="Read the documents from this MongoDB instead.")] = None,
    from_database: Annotated[str, typer.Option(help="Its database.")] = "content-generation",
    from_collection: Annotated[str, typer.Option(help="Its collection.")] = "jobs",
    from_bucket: Annotated[
        str | None, typer.Option(help="The bucket with their files, which are copied into the gateway's bucket.")
    ] = None,
    report: Report = None,
) -> None:
    """Import the jobs of a legacy service.

    Each document is imported whole, or refused with all of its errors. Status 2: some were refused, or name missing
    files.
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
    counts = Counter(entry.outcome for entry in entries)
    _print(", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome))
    _print_some("refused", [_refusal(entry) for entry in entries if entry.outcome is Outcome.REFUSED])
    _print_some("note", [f"{entry.job_id}: {entry.note}" for entry in entries if entry.note])
    _print_some("missing", [key for entry in entries for key in entry.missing])
    _report(report, {"outcomes": counts, "jobs": [_entry_json(entry) for entry in entries]})
    if counts[Outcome.REFUSED] or any(entry.missing for entry in entries):
        raise typer.Exit(2)


Cluster = Annotated[
    str | None,
    typer.Option(help="uid of the cluster's namespace kube-system; not needed if there is only one cluster."),
]
By = Annotated[str, typer.Option(help="Who decides; kept in the history.")]
_BY = "contentgen namespaces"


@tenants.command("list")
def list_namespaces() -> None:
    """List clusters, and namespaces with their present and former uids and scopes."""
    with _database(Settings()) as database:
        known = TenantAdministration(database, "")
        for cluster in known.clusters():
            state = "the ledger's" if cluster["_id"] == known.first() else cluster.get("confirmed") or "not confirmed"
            state = f"taken over by {cluster['takenBy']}" if cluster.get("takenBy") else state
            typer.echo(f"cluster {cluster['_id']}: {state}, since {cluster['firstSeenAt']}")
        for binding in known.bindings():
            for entry in (binding, *reversed(binding.get("history", []))):
                until = f", until {entry['until']} ({entry.get('by') or 'the operator'})" if "until" in entry else ""
                typer.echo(f"namespace {binding['_id']}: uid {entry['uid']}, {_scope(entry)}{until}")


def _scope(binding: Document) -> str:
    also = "".join(f" and {scope}" for scope in binding.get("also") or ())
    taken = f", taken over by cluster {binding['takenBy']}" if binding.get("takenBy") else ""
    return (f"scope {binding['scope']}" if binding["scope"] else "unscoped") + also + taken


@tenants.command("map")
def map_namespace(
    namespace: Annotated[str, typer.Argument(help="Its name.")],
    *,
    uid: Annotated[str, typer.Option(help="Its present uid: metadata.uid.")],
    to: Annotated[
        str,
        typer.Option(
            help="unscoped: the purchases of the first namespace of this name. fresh: none. Or an earlier uid."
        ),
    ],
    cluster: Cluster = None,
    force: Annotated[
        bool, typer.Option(help="Even if purchases are unfinished, or another cluster's namespace has the scope.")
    ] = False,
    by: By = _BY,
) -> None:
    """Assign purchases and records of an earlier namespace to a namespace of the same name."""
    with _database(Settings()) as database:
        known = TenantAdministration(database, by)
        done = known.map(known.cluster(cluster), namespace, uid, to, force=force)
    _print("mapped" if done else "already mapped")


@tenants.command()
def confirm(
    cluster: Cluster = None,
    *,
    earlier: Annotated[
        list[str] | None, typer.Option("--from", help="Take over from this cluster only; default: all others.")
    ] = None,
    fresh: Annotated[bool, typer.Option(help="Work beside the others, with separate purchases and records.")] = False,
    force: Annotated[bool, typer.Option(help="Even if the operator of another cluster is running.")] = False,
    by: By = _BY,
) -> None:
    """Let a rebuilt cluster take over the namespaces of other clusters, which pay nothing any more."""
    with _database(Settings()) as database:
        known = TenantAdministration(database, by)
        done = known.confirm(known.cluster(cluster), earlier=earlier or (), fresh=fresh, force=force)
    _print("confirmed" if done else "already confirmed")


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
        target=ImportTarget(
            namespace=namespace,
            bucket=source,
            key_of=files.key_of,
            address=files.address,
            tenant=scope_of(database, namespace) or None,
        ),
        sizes=files.sizes_now,
        by="contentgen import",
        may_name=lambda _: True,  # the administrator has full access to the stores
        fetch=fetch,
    )


def _documents(file: Path) -> Iterator[Document]:
    """Documents of a file, one per line or one array. Unreadable lines become {}, which the import refuses."""
    text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    with suppress(ValueError, TypeError, BSONError):
        whole = json_util.loads(text)
        yield from (
            each_document if isinstance(each_document, dict) else {}
            for each_document in (whole if isinstance(whole, list) else [whole])
        )
        return
    for line in filter(str.strip, text.splitlines()):
        try:
            document = json_util.loads(line)
        except (ValueError, TypeError, BSONError):
            document = None
        yield document if isinstance(document, dict) else {}


def _refusal(entry: ImportEntry) -> str:
    why = "; ".join(f"{problem.field}: {problem.why}" for problem in entry.problems)
    return f"{entry.job_id or f'document {entry.document}'}: {why}"


def _entry_json(entry: ImportEntry) -> Document:
    problems = [{"field": problem.field, "why": problem.why} for problem in entry.problems]
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
    for line in found[:_MAX_PRINTED]:
        _print(f"{what}: {line}")
    if len(found) > _MAX_PRINTED:
        _print(f"{what}: and {len(found) - _MAX_PRINTED} more; --report writes all")


def _report(path: Path | None, summary: Document) -> None:
    if path is not None:
        path.write_text(json.dumps(summary, indent=2, default=str) + "\n")


def _print(text: str) -> None:
    typer.echo(text, err=True)


if __name__ == "__main__":
    main()
