"""`contentgen-worker dataset VIDEO OUT`: build a training set from a local video, for users and benchmarks."""

import json
import shutil
import sys
import tempfile
from pathlib import Path

from pydantic import ValidationError

from contentgen_contract.resources.spec import LoraTrainingSpec, Speed
from contentgen_contract.worker.orders import DatasetFacts, Limits, Progress
from contentgen_worker.errors import BadMedia, NoVisionModel
from contentgen_worker.files import Output
from contentgen_worker.media.dataset.vision import describer_for
from contentgen_worker.media.decode.bounds import MediaLimits, pod_memory
from contentgen_worker.prepare.lora import training_set
from contentgen_worker.progress import Steps

_NUMBER = "[0-9]" * 4
_EXIT_BAD_MEDIA, _EXIT_BAD_SETTINGS = 1, 2


def make_dataset(video: Path, out: Path, trigger: str, speed: Speed, settings: str, *, vision_model: Path) -> int:
    """Build the training set in `out` and print a summary to stderr. Returns the exit code."""
    try:
        spec = _spec(trigger, speed, settings)
    except ValueError as error:
        _print_line(f"--trigger or --settings: {_validation_text(error)}")
        return _EXIT_BAD_SETTINGS
    out.mkdir(parents=True, exist_ok=True)
    try:
        describer = describer_for(spec.dataset.captions.engine, vision_model)
        # In the output folder, so that files are moved and not copied.
        with tempfile.TemporaryDirectory(prefix=".contentgen-", dir=out) as scratch:
            dataset = training_set(
                spec, video.resolve(), _bounds(), Steps(_print_progress), Path(scratch), describer=describer
            )
            bundle = dataset.bundle()  # reads the pictures, before they are moved
            _remove_earlier(out)
            for output in (*bundle, *dataset.outputs):
                _move_output(output, out / output.name)
    except NoVisionModel as error:
        _print_line(f"--settings: {error}")
        return _EXIT_BAD_SETTINGS
    except BadMedia as error:
        _print_line(f"{video}: {error.reason}: {error}")
        return _EXIT_BAD_MEDIA
    for line in (_summary(dataset.facts, out), *dataset.facts.notes):
        _print_line(line)
    return 0


def _spec(trigger: str, speed: Speed, settings: str) -> LoraTrainingSpec:
    return LoraTrainingSpec.model_validate(
        {
            "userId": "local",
            "loraName": trigger,
            "triggerWord": trigger,
            "source": {"url": "https://local.invalid/video"},
            "dataset": {"speed": speed, **json.loads(settings)},
        }
    )


def _bounds() -> MediaLimits:
    limits = Limits()
    return MediaLimits(limits.pixels, limits.duration_seconds, memory_bytes=pod_memory())


def _remove_earlier(out: Path) -> None:
    """Remove the pictures and captions of an earlier run, which may have had more of them."""
    if (out / "dataset.json").exists():
        numbered = (*out.glob(f"images/{_NUMBER}.jpg"), *out.glob(f"captions/{_NUMBER}.txt"))
        for path in (*numbered, *out.glob("rejected.jpg")):
            path.unlink()


def _move_output(output: Output, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(output.content, bytes):
        target.write_bytes(output.content)
    else:
        shutil.move(output.content, target)


def _print_progress(progress: Progress) -> None:
    if sys.stderr.isatty():
        print(f"\r{progress.step} {progress.fraction:4.0%}\033[K", end="", file=sys.stderr, flush=True)  # noqa: T201


def _print_line(text: str) -> None:
    print(f"\r{text}" if sys.stderr.isatty() else text, file=sys.stderr)  # noqa: T201


def _validation_text(error: ValueError) -> str:
    return (
        "; ".join(each_error["msg"] for each_error in error.errors())
        if isinstance(error, ValidationError)
        else str(error)
    )


def _summary(facts: DatasetFacts, out: Path) -> str:
    left_out = ", ".join(f"{reason} {count}" for reason, count in sorted(facts.rejected.items())) or "none"
    return f"{out}: {facts.images} pictures from {facts.scenes} shots; rejected: {left_out}"
