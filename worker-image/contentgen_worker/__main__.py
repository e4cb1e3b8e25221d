"""`contentgen-worker prepare` and `contentgen-worker collect`: what the two Jobs of a resource run;
`contentgen-worker dataset`: what the first makes of a video, without a cluster.

Exit codes: 0 an outcome was left (also one that says why the input is no good), 1 try again, 3 the desk does not
take our token, 143 ended from outside.
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
from contentgen_worker.media.sandbox.isolation import preload
from contentgen_worker.settings import VISION_MODEL, Settings

_CRASHED = 1
_TERMINATED = 143
app = typer.Typer(help=__doc__, add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


@app.command()
def prepare() -> None:
    """The free stage before the paid call."""
    preload()  # it decodes: the decoders are imported beside our own modules
    raise typer.Exit(_exit_code(Stage.PREPARE))


@app.command()
def collect() -> None:
    """The free stage after the paid call."""
    raise typer.Exit(_exit_code(Stage.COLLECT))


@app.command()
def dataset(
    video: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A video file.")],
    out: Annotated[Path, typer.Argument(file_okay=False, help="The folder for the training set; made if need be.")],
    trigger: Annotated[str, typer.Option(help="The word that the captions contain.")] = "subject",
    speed: Annotated[Speed, typer.Option(help="How much of the video is decoded.")] = Speed.EXACT,
    settings: Annotated[str, typer.Option(help="JSON as in spec.dataset: it has all that can be set.")] = "{}",
    *,
    vision_model: Annotated[Path, typer.Option(help="Folder of the model for captions.engine Vision.")] = VISION_MODEL,
) -> None:
    """Make a training set of a video in a local folder, without a cluster."""
    preload()
    from contentgen_worker.dataset_command import make_dataset  # noqa: PLC0415 - the decoders take longer to load than --help

    raise typer.Exit(make_dataset(video, out, trigger, speed, settings, vision_model=vision_model))


def _exit_code(stage: Stage) -> int:
    import stamina.instrumentation  # noqa: PLC0415 - as the decoders: --help and `dataset` do without

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
    except Exception:  # noqa: BLE001 - the one place where a bug becomes an exit code and a line
        log.failure("crashed", crash=True, exit=_CRASHED)
        return _CRASHED
    return 0


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    log.event("terminated")
    os._exit(_TERMINATED)  # nothing of ours outlives the pod, and uploads in flight would keep us


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
