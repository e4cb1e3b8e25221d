"""`contentgen try`: run manifests on this computer, without a cluster, root, Go or Docker."""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import httpx
from rich.console import Console
from rich.markup import escape

from contentgen_try import apply, assets, processes
from contentgen_try.apply import BadManifest
from contentgen_try.assets import MissingFiles
from contentgen_try.checks import Checks
from contentgen_try.cluster import Refused
from contentgen_try.folder import PAID, FolderRefused, PaidFolder, SandboxFolder, locked, refuse_sandbox
from contentgen_try.options import Options, Provider
from contentgen_try.programs.stack import Folders, NotStarted, Stack
from contentgen_try.run import Run, wait_for_end

_FOLDER = Path("contentgen-try")
_LOGS = "_logs"  # no name of a namespace, whose results are beside it, and hardly of a folder of the user
_MINUTES = 30.0
_FILE_WIDTH = 120  # columns, where the output is no terminal
_FAILED, _INTERRUPTED = 1, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Exit code 0 if all resources are Completed, 130 after Ctrl-C, else 1."""
    options = parse(arguments)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_FILE_WIDTH)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # also where a shell has made SIGINT ignored
    try:
        return _main(options, console)
    except (MissingFiles, NotStarted, BadManifest, FolderRefused, Refused, httpx.TransportError) as error:
        console.print(f"[bold red]✗[/] {escape(str(error))}", soft_wrap=True)
        return _FAILED


def _main(options: Options, console: Console) -> int:
    assets.check()
    documents = apply.read(options.manifests or assets.samples())
    checks = Checks(assets.CRDS)
    if (options.folder / PAID).exists():
        checks.require_names(documents)  # the rest needs the stored objects
    else:
        checks.require(documents)
    apply.refuse_unreachable(documents, options)
    with locked(options.folder), tempfile.TemporaryDirectory(prefix="contentgen-try-") as work:
        kept = _kept(options)
        # Absolute: the programs run in another folder.
        folders = Folders(Path(work), (options.folder / _LOGS).resolve(), kept.path.resolve())
        shutil.rmtree(folders.logs, ignore_errors=True)
        with Stack(options, folders) as stack:
            run = Run(stack, console, options)
            try:
                cluster = run.start(documents)
                if isinstance(kept, PaidFolder):
                    kept.ready()
                    checks.require(documents, lambda each: cluster.find(each.path))
                run.apply(cluster)
                run.report(run.watch(cluster))
                if options.serve:
                    run.welcome(cluster)
                    run.say_page("Ctrl-C ends it. ")
                    wait_for_end()
                run.ended()
                run.say_page()
            except KeyboardInterrupt:
                console.print()
                if not run.completed:
                    run.interrupted()
                if run.completed is None:
                    return _INTERRUPTED
            with processes.undisturbed():
                if isinstance(kept, SandboxFolder) and run.completed and run.all_completed(cluster):
                    kept.finish()
        return 0 if run.completed else _FAILED


def _kept(options: Options) -> PaidFolder | SandboxFolder:
    """State of the run in its folder. Raises FolderRefused."""
    if options.pays:
        paid = PaidFolder(options.folder, options.bucket, options.endpoint, options.real_providers)
        paid.open()
        return paid
    refuse_sandbox(options.folder)
    sandbox = SandboxFolder(options.folder, f"{assets.version()} {options.bucket} {options.endpoint}")
    sandbox.open()
    return sandbox


def parser() -> argparse.ArgumentParser:
    """Parser of the command line."""
    made = argparse.ArgumentParser(
        prog="contentgen try",
        description="Run manifests on this computer: without arguments the three samples, with the sandbox, "
        "which replaces the providers and costs nothing.",
    )
    made.add_argument("manifests", nargs="*", type=Path, metavar="MANIFEST", help="YAML file with resources")
    made.add_argument("--folder", type=Path, default=_FOLDER, help=f"where files and logs go (default: {_FOLDER})")
    for name, variable in (("fal", "FAL_KEY"), ("assemblyai", "ASSEMBLYAI_API_KEY")):
        shown = f"use the real {name}, which is paid; other users of this computer can see it, so prefer the file"
        made.add_argument(f"--{name}-key", metavar="KEY", help=shown)
        from_file = f"file with the key of {name}; - takes it from the variable {variable}"
        made.add_argument(f"--{name}-key-file", type=Path, metavar="FILE", help=from_file)
    made.add_argument("--bucket", default="", help="your S3 bucket (AWS_… variables), which providers can reach")
    made.add_argument("--endpoint", default="", help="endpoint of that bucket, where it is not in AWS")
    made.add_argument("--minutes", type=float, default=_MINUTES, help="longest time to wait (default: 30)")
    serve = made.add_mutually_exclusive_group()
    kept = "keep the pages until Ctrl-C; the default on a terminal"
    serve.add_argument("--serve", action="store_true", default=None, help=kept)
    serve.add_argument("--no-serve", dest="serve", action="store_false", help="end when all resources have ended")
    return made


def parse(arguments: Sequence[str] | None) -> Options:
    """Options of the command line. Exits with 2 for a wrong one."""
    made = parser()
    given = made.parse_args(arguments)
    return Options(
        manifests=tuple(given.manifests),
        folder=given.folder,
        fal=Provider(_key(made, given.fal_key, given.fal_key_file, "FAL_KEY")),
        assemblyai=Provider(_key(made, given.assemblyai_key, given.assemblyai_key_file, "ASSEMBLYAI_API_KEY")),
        bucket=given.bucket,
        endpoint=given.endpoint,
        serve=sys.stdout.isatty() and sys.stdin.isatty() if given.serve is None else given.serve,
        minutes=given.minutes,
        providers_url=os.environ.get("CONTENTGEN_TRY_PROVIDERS_URL", ""),
    )


def _key(parser: argparse.ArgumentParser, key: str | None, file: Path | None, variable: str) -> str:
    """Key of a provider; empty if none is given. A variable of the environment alone does not select the real
    provider: many have one set, and did not ask to pay.
    """
    if key is not None and file is not None:
        parser.error("give the key or its file, not both")
    if file is not None:
        try:
            key = os.environ.get(variable, "") if str(file) == "-" else file.read_text()
        except OSError as error:
            parser.error(f"the key's file: {error}")
    if key is not None and not key.strip():
        parser.error(f"the key is empty ({file if file is not None else 'command line'})")
    return (key or "").strip()


if __name__ == "__main__":
    sys.exit(main())
