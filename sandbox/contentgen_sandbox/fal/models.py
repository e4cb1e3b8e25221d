"""fal's models: input schema, price and output of each."""

import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contentgen_sandbox.fal import lora, pictures
from contentgen_sandbox.fetch import SandboxFetchError, fetch
from contentgen_sandbox.jobs import JobProgress, Jobs, ModelError, SandboxJob
from contentgen_sandbox.ledger import megapixels
from contentgen_sandbox.sandbox import url_marker
from contentgen_sandbox.settings import MIB, SandboxSettings

T = TypeVar("T", bound=BaseModel)
LORA_BYTES = 1024 * MIB
MOST_STEPS = 10_000
REPORTS = 10  # log lines of a training
SIZES = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
Url = Annotated[str, Field(min_length=1, max_length=8192)]


class TrainingInput(BaseModel):
    model_config = ConfigDict(frozen=True)

    images_data_url: Url
    trigger_word: str | None = Field(default=None, max_length=200)
    steps: int = Field(default=1000, ge=1, le=MOST_STEPS)
    create_masks: bool = True
    is_style: bool = False
    is_input_format_already_preprocessed: bool = False
    data_archive_format: str | None = Field(default=None, max_length=20)


class PictureSize(BaseModel):
    model_config = ConfigDict(frozen=True)

    width: int = Field(default=512, ge=64, le=4096)
    height: int = Field(default=512, ge=64, le=4096)


class LoraWeight(BaseModel):
    model_config = ConfigDict(frozen=True)

    path: Url
    scale: float = Field(default=1, ge=0, le=4)


class PictureInput(BaseModel):
    model_config = ConfigDict(frozen=True)

    prompt: str = Field(min_length=1, max_length=10_000)
    image_size: (
        PictureSize | Literal["square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9"]
    ) = "landscape_4_3"
    num_inference_steps: int = Field(default=28, ge=1, le=50)
    guidance_scale: float = Field(default=3.5, ge=0, le=35)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    num_images: int = Field(default=1, ge=1, le=8)
    loras: list[LoraWeight] = Field(default=[], max_length=10)
    output_format: Literal["jpeg", "png"] = "jpeg"
    enable_safety_checker: bool = True

    @property
    def pixels(self) -> tuple[int, int]:
        if isinstance(self.image_size, PictureSize):
            return self.image_size.width, self.image_size.height
        return SIZES[self.image_size]


@dataclass(frozen=True)
class PriceQuote:
    what: str
    units: float  # that are billed, of the unit in the price table
    marker: str | None


@dataclass(frozen=True)
class Shop:
    """Dependencies of a model besides the request."""

    settings: SandboxSettings
    jobs: Jobs


@dataclass(frozen=True)
class Model:
    quote: Callable[[Mapping[str, Any]], PriceQuote]
    run: Callable[[SandboxJob, JobProgress, Shop], dict[str, Any]]
    seconds: Callable[[SandboxSettings], float]


def _parsed(kind: type[T], arguments: Mapping[str, Any]) -> T:
    """Parsed input. Raises ModelError with fal's list of validation errors."""
    try:
        return kind.model_validate(arguments)
    except ValidationError as error:
        problem = ModelError(str(error))
        problem.detail = [
            {"loc": ["body", *item["loc"]], "msg": item["msg"], "type": item["type"]} for item in error.errors()
        ]
        raise problem from error


def _quote_training(arguments: Mapping[str, Any]) -> PriceQuote:
    steps = arguments.get("steps", TrainingInput.model_fields["steps"].default)
    units = float(steps) if isinstance(steps, int) and 0 <= steps <= MOST_STEPS else 0
    return PriceQuote("training", units, url_marker(arguments.get("images_data_url")))


def _quote_pictures(arguments: Mapping[str, Any]) -> PriceQuote:
    seed = arguments.get("seed")
    marker = None if seed is None else f"seed:{seed}"
    try:
        wanted = PictureInput.model_validate(arguments)
    except ValidationError:
        return PriceQuote("pictures (refused by the model)", 0, marker)
    width, height = wanted.pixels
    what = f"{wanted.num_images} x {width}x{height}"
    return PriceQuote(what, megapixels(width, height, wanted.num_images), marker)


def _train(job: SandboxJob, progress: JobProgress, shop: Shop) -> dict[str, Any]:
    wanted = _parsed(TrainingInput, job.input)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "images.zip")
        try:
            fetch(
                wanted.images_data_url,
                archive,
                max_bytes=shop.settings.download_bytes,
                max_seconds=shop.settings.download_seconds,
            )
        except SandboxFetchError as error:
            message = f"Failed to download the file: {error}"
            raise ModelError(message, loc=("body", "images_data_url"), kind="file_download_error") from error
        dataset = lora.read_dataset(archive, wanted.trigger_word)
    progress.log(f"Found {dataset.images} images and {dataset.captions} captions")
    for warning in dataset.warnings:
        progress.log(warning, "WARNING")
    for report in range(1, REPORTS + 1):
        progress.wait(shop.settings.training_seconds / REPORTS)
        progress.log(f"Training: step {wanted.steps * report // REPORTS}/{wanted.steps}")
    recipe = lora.LoraRecipe(wanted.trigger_word, wanted.steps, wanted.is_style)
    weights, config = lora.write(shop.jobs.files(job.id), recipe, dataset, zlib.crc32(job.id.encode()))
    return {
        "diffusers_lora_file": _file(job, weights, "application/octet-stream"),
        "config_file": _file(job, config, "application/json"),
    }


def _file(job: SandboxJob, path: Path, content_type: str) -> dict[str, Any]:
    return {
        "url": f"{job.base_url}/files/{job.id}/{path.name}",
        "content_type": content_type,
        "file_name": path.name,
        "file_size": path.stat().st_size,
    }


def _draw(job: SandboxJob, progress: JobProgress, shop: Shop) -> dict[str, Any]:
    wanted = _parsed(PictureInput, job.input)
    loras = tuple(_load(weight, index, shop) for index, weight in enumerate(wanted.loras))
    seed = zlib.crc32(job.id.encode()) if wanted.seed is None else wanted.seed
    width, height = wanted.pixels
    images = []
    for index in range(wanted.num_images):
        progress.wait(shop.settings.image_seconds / wanted.num_images)
        path = shop.jobs.files(job.id) / f"{index}.{wanted.output_format}"
        scene = pictures.DrawnScene(wanted.prompt, width, height, seed + index, job.model, loras)
        pictures.encode(pictures.draw(scene), str(path), wanted.output_format)
        entry = _file(job, path, f"image/{wanted.output_format}")
        images.append({"url": entry["url"], "width": width, "height": height, "content_type": entry["content_type"]})
    return {
        "images": images,
        "timings": {"inference": shop.settings.image_seconds},
        "seed": seed,
        "has_nsfw_concepts": [False] * len(images),
        "prompt": wanted.prompt,
    }


def _load(weight: LoraWeight, index: int, shop: Shop) -> str:
    """Download and check a LoRA; returns its label for the image."""
    loc = ("body", "loras", index, "path")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "lora.safetensors")
        try:
            fetch(weight.path, path, max_bytes=LORA_BYTES, max_seconds=shop.settings.download_seconds)
            trigger = lora.read_trigger(path)
        except SandboxFetchError as error:
            raise ModelError(f"Failed to load the LoRA: {error}", loc=loc, kind="file_download_error") from error
        except ModelError as error:
            raise ModelError(str(error), loc=loc) from error
    name = trigger or Path(urlsplit(weight.path).path).name or "lora"
    return f"{name} ({weight.scale:g})"


_PICTURES = Model(quote=_quote_pictures, run=_draw, seconds=lambda settings: settings.image_seconds)
_TRAINER = Model(quote=_quote_training, run=_train, seconds=lambda settings: settings.training_seconds)

MODELS: dict[str, Model] = {
    "fal-ai/flux-lora-fast-training": _TRAINER,
    "fal-ai/flux-lora": _PICTURES,
    "fal-ai/flux/dev": _PICTURES,
    "fal-ai/flux/schnell": _PICTURES,
    "fal-ai/flux-pro/v1.1": _PICTURES,
}
