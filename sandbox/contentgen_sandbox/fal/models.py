"""fal's models: the work of a request, and an output as the facts describe it."""

import io
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from PIL import Image, UnidentifiedImageError

from contentgen_sandbox.fal import clips, lora, pictures
from contentgen_sandbox.fal.endpoints import ENDPOINTS, FalEndpoint
from contentgen_sandbox.fetch import SandboxFetchError, fetch
from contentgen_sandbox.jobs import JobProgress, Jobs, ModelError, SandboxJob
from contentgen_sandbox.settings import MIB, SandboxSettings

LORA_BYTES = 1024 * MIB
PICTURE_BYTES = 64 * MIB
REPORTS = 10  # log lines of a training
SIDES = range(64, 4097)
"""Sides in pixels that the sandbox draws; the models' own limits are wider."""
_PICTURE_ROLES = ("startImage", "pictures", "firstFrame", "lastFrame")
_UNKNOWN_PATH = "path_does_not_exist"


@dataclass(frozen=True)
class Shop:
    """Dependencies of a model besides the request."""

    settings: SandboxSettings
    jobs: Jobs


@dataclass(frozen=True)
class _Order:
    """A request whose inputs the model takes."""

    job: SandboxJob
    endpoint: FalEndpoint
    progress: JobProgress
    shop: Shop

    @property
    def inputs(self) -> Mapping[str, Any]:
        return self.job.input

    def value(self, role: str, otherwise: Any = None) -> Any:
        return self.endpoint.value(self.inputs, role, otherwise)

    @property
    def seed(self) -> int:
        """Seed of the request, else one by its id."""
        given = self.value("seed")
        return zlib.crc32(self.job.id.encode()) if given is None else int(given)

    @property
    def prompt(self) -> str:
        return str(self.value("prompt", ""))


def run(job: SandboxJob, progress: JobProgress, shop: Shop) -> dict[str, Any]:
    """Output of a request. Raises ModelError, Interrupted."""
    endpoint = ENDPOINTS.get(job.model)
    if endpoint is None:
        raise ModelError(f"Path of {job.model} not found", kind=_UNKNOWN_PATH, status_code=404)
    if problems := endpoint.problems(job.input):
        first = problems[0]
        error = ModelError(f"{'.'.join(map(str, first.loc))}: {first.message}")
        error.detail = [
            {"loc": ["body", *problem.loc], "msg": problem.message, "type": problem.kind} for problem in problems
        ]
        raise error
    if ignored := endpoint.validator.unknown(job.input):
        progress.log(f"Inputs that {job.model} does not have were ignored: {', '.join(ignored)}", "WARN")
    made = _WORK[endpoint.kind](_Order(job, endpoint, progress, shop))
    return {name: value for name, value in made.items() if name in endpoint.output["properties"]}


def seconds(job: SandboxJob, settings: SandboxSettings) -> float:
    """Time of a request's work."""
    endpoint = ENDPOINTS.get(job.model)
    if endpoint is None:
        return 0
    return settings.training_seconds if endpoint.kind == "trainer" else settings.image_seconds


def _train(order: _Order) -> dict[str, Any]:
    settings, trigger = order.shop.settings, order.value("trigger") or None
    (name,) = order.endpoint.inputs("dataset")
    with _downloaded(order.inputs[name], ("body", name), settings, settings.download_bytes) as archive:
        dataset = _dataset(archive, trigger, name)
    if dataset.captions < dataset.images and order.endpoint.inputs("caption") and not order.value("caption"):
        raise ModelError("Pictures without a caption need default_caption", loc=("body", "default_caption"))
    order.progress.log(f"Found {dataset.images} images and {dataset.captions} captions")
    for warning in dataset.warnings:
        order.progress.log(warning, "WARN")
    steps = order.endpoint.steps(order.inputs)
    for report in range(1, REPORTS + 1):
        order.progress.wait(settings.training_seconds / REPORTS)
        order.progress.log(f"Training: step {steps * report // REPORTS}/{steps}")
    recipe = lora.LoraRecipe(trigger, steps, bool(order.value("style", False)), order.endpoint.family or "")
    weights, config = lora.write(
        order.shop.jobs.files(order.job.id), recipe, dataset, zlib.crc32(order.job.id.encode())
    )
    return {
        order.endpoint.document["result"]: _file(order.job, weights, "application/octet-stream"),
        "config_file": _file(order.job, config, "application/json"),
    }


def _dataset(archive: Path, trigger: str | None, name: str) -> lora.LoraDataset:
    """The dataset. Raises ModelError at the input `name`."""
    try:
        return lora.read_dataset(archive, trigger)
    except ModelError as error:
        raise ModelError(str(error), loc=("body", name)) from error


def _draw(order: _Order) -> dict[str, Any]:
    loras = _prepared(order)
    width, height = _size(order)
    count, form = order.endpoint.count(order.inputs), str(order.value("format", "png"))
    images = []
    for index in range(count):
        order.progress.wait(order.shop.settings.image_seconds / count)
        path = order.shop.jobs.files(order.job.id) / f"{index}.{form}"
        scene = pictures.DrawnScene(order.prompt, width, height, order.seed + index, order.job.model, loras)
        pictures.encode(pictures.draw(scene), str(path), form)
        images.append(_file(order.job, path, f"image/{form}") | {"width": width, "height": height})
    return {
        "images": [_as_described(image, order.endpoint, "images") for image in images],
        "timings": {"inference": order.shop.settings.image_seconds},
        "seed": order.seed,
        "has_nsfw_concepts": [False] * count,
        "prompt": order.prompt,
        "actual_prompt": order.prompt,
        "description": "",
    }


def _film(order: _Order) -> dict[str, Any]:
    loras = _prepared(order)
    length = order.endpoint.seconds(order.inputs)
    width, height = clips.small(*order.endpoint.pixels(order.inputs))
    order.progress.wait(order.shop.settings.image_seconds)
    path = order.shop.jobs.files(order.job.id) / "video.mp4"
    scene = pictures.DrawnScene(order.prompt, width, height, order.seed, order.job.model, loras)
    frames = clips.write(path, pictures.draw(scene), length, sound=bool(order.value("sound", False)))
    about = {"width": width, "height": height, "fps": clips.RATE, "duration": length, "num_frames": frames}
    clip = _as_described(_file(order.job, path, "video/mp4") | about, order.endpoint, "video")
    return {"video": clip, "seed": order.seed, "prompt": order.prompt}


_WORK: dict[Literal["trainer", "image", "video"], Callable[[_Order], dict[str, Any]]] = {
    "trainer": _train,
    "image": _draw,
    "video": _film,
}


def _size(order: _Order) -> tuple[int, int]:
    """Size of a picture. Raises ModelError for one that the sandbox does not draw."""
    width, height = order.endpoint.pixels(order.inputs)
    if width not in SIDES or height not in SIDES:
        name = order.endpoint.inputs("size")[0]
        raise ModelError(f"The sandbox draws sides from 64 to 4096 pixels, not {width}x{height}", loc=("body", name))
    return width, height


def _prepared(order: _Order) -> tuple[str, ...]:
    """Download and check the pictures and LoRAs of a request; returns the labels of the LoRAs."""
    for role in _PICTURE_ROLES:
        for name in order.endpoint.inputs(role):
            given = order.inputs.get(name) or ()
            for url in [given] if isinstance(given, str) else given:
                _check_picture(url, name, order.shop.settings)
    weights = order.value("loras", ())
    return tuple(_load(weight, index, order) for index, weight in enumerate(weights))


def _check_picture(url: str, name: str, settings: SandboxSettings) -> None:
    with _downloaded(url, ("body", name), settings, PICTURE_BYTES) as path:
        try:
            with Image.open(io.BytesIO(path.read_bytes())) as picture:
                picture.verify()
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ModelError(f"No picture: {error}", loc=("body", name), kind="image_load_error") from error


def _load(weight: Mapping[str, Any], index: int, order: _Order) -> str:
    """Download and check a LoRA; returns its label for the image."""
    loc = ("body", "loras", index, "path")
    with _downloaded(weight["path"], loc, order.shop.settings, LORA_BYTES) as path:
        try:
            about = lora.read_metadata(path)
        except ModelError as error:
            raise ModelError(str(error), loc=loc) from error
    family = about.get("family")
    if family and order.endpoint.family and family != order.endpoint.family:
        raise ModelError(f"The LoRA is of {family}, the model takes those of {order.endpoint.family}", loc=loc)
    name = about.get("trigger_word") or Path(urlsplit(weight["path"]).path).name or "lora"
    return f"{name} ({weight.get('scale', 1):g})"


@contextmanager
def _downloaded(url: str, loc: tuple[str | int, ...], settings: SandboxSettings, max_bytes: int) -> Iterator[Path]:
    """File of a URL, for the block. Raises ModelError."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        try:
            fetch(url, path, max_bytes=max_bytes, max_seconds=settings.download_seconds)
        except SandboxFetchError as error:
            raise ModelError(f"Failed to download the file: {error}", loc=loc, kind="file_download_error") from error
        yield path


def _as_described(entry: Mapping[str, Any], endpoint: FalEndpoint, name: str) -> dict[str, Any]:
    """A file with the members that the model's output has, of the list or member `name`."""
    schema = endpoint.output["properties"][name]
    reference = str(schema.get("items", schema)["$ref"])
    known = endpoint.output["$defs"][reference.removeprefix("#/$defs/")]["properties"]
    return {member: value for member, value in entry.items() if member in known}


def _file(job: SandboxJob, path: Path, content_type: str) -> dict[str, Any]:
    return {
        "url": f"{job.base_url}/files/{job.id}/{path.name}",
        "content_type": content_type,
        "file_name": path.name,
        "file_size": path.stat().st_size,
    }
