"""Command line: `contentgen-worker prepare` and `collect` run in the two Jobs of a resource; `dataset` builds a
training set locally, without a cluster.

Exit codes: 0 the outcome is stored, even if it reports a failure; 1 retryable; 3 the worker API rejects the token; 143
terminated by SIGTERM.
"""

import os
import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from pydantic import ValidationError

from contentgen_contract.names import Stage
from contentgen_contract.resources.spec import Speed
from contentgen_worker import log
from contentgen_worker.errors import Retryable
from contentgen_worker.settings import VISION_MODEL, Settings

_CRASHED = 1
_TERMINATED = 143
app = typer.Typer(help=__doc__, add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


@app.command()
def prepare() -> None:
    """Run the free stage before the paid call."""
    raise typer.Exit(_exit_code(Stage.PREPARE))


@app.command()
def collect() -> None:
    """Run the free stage after the paid call."""
    raise typer.Exit(_exit_code(Stage.COLLECT))


@app.command()
def dataset(
    video: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A video file.")],
    out: Annotated[Path, typer.Argument(file_okay=False, help="Output folder; created if it does not exist.")],
    trigger: Annotated[str, typer.Option(help="Trigger word in every caption.")] = "subject",
    speed: Annotated[
        Speed, typer.Option(help="Exact decodes every frame, Fast only as much as shot detection needs.")
    ] = Speed.EXACT,
    settings: Annotated[str, typer.Option(help="JSON in the format of spec.dataset.")] = "{}",
    *,
    vision_model: Annotated[Path, typer.Option(help="Model folder for captions.engine Vision.")] = VISION_MODEL,
) -> None:
    """Build a training set from a local video, without a cluster."""
    from contentgen_worker.dataset_command import make_dataset  # noqa: PLC0415 - importing the decoders would delay --help

    raise typer.Exit(make_dataset(video, out, trigger, speed, settings, vision_model=vision_model))


def _exit_code(stage: Stage) -> int:
    import stamina.instrumentation  # noqa: PLC0415 - not needed by --help and `dataset`

    from contentgen_worker.retry import log_retries  # noqa: PLC0415
    from contentgen_worker.run import run  # noqa: PLC0415

    log.configure()
    stamina.instrumentation.set_on_retry_hooks([log_retries])
    signal.signal(signal.SIGTERM, _terminate)
    try:
        run(stage, Settings())
    except Retryable as error:
        log.failure("no outcome", error=str(error), exit=error.exit_code)
        return error.exit_code
    except ValidationError as error:
        names = ", ".join("CONTENTGEN_" + "_".join(map(str, item["loc"])).upper() for item in error.errors())
        log.failure("no outcome", error=f"environment: missing or wrong: {names}", exit=_CRASHED)
        return _CRASHED
    except Exception:  # noqa: BLE001 - last resort: log the bug and set the exit code
        log.failure("crashed", crash=True, exit=_CRASHED)
        return _CRASHED
    return 0


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    log.event("terminated")
    os._exit(_TERMINATED)  # a normal exit would wait for uploads in flight
