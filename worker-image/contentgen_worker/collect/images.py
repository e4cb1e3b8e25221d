"""Collect stage of an image generation: download the provider's pictures, check them and make thumbnails."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from contentgen_contract.base import Value
from contentgen_contract.names import Reason, Step
from contentgen_contract.resources.spec import ImageFormat, ImageGenerationSpec
from contentgen_contract.worker.orders import ImageFact, ImageFacts
from contentgen_worker.errors import BadMedia, StageFailed, redacted
from contentgen_worker.files import JPEG, PNG, Output
from contentgen_worker.media.decode.stills import Conversion, convert
from contentgen_worker.media.sandbox.server_process import fork_server
from contentgen_worker.progress import Fraction
from contentgen_worker.stage_context import StageContext, StageResult

_CPU_SECONDS = 120  # per picture
_SUFFIX = {ImageFormat.PNG: "png", ImageFormat.JPEG: "jpg"}
_TYPE = {ImageFormat.PNG: PNG, ImageFormat.JPEG: JPEG}


class _Picture(Value):
    url: str


class _ImagesResponse(Value):
    images: list[_Picture] = Field(min_length=1, max_length=32)
    seed: int | None = None
    has_nsfw_concepts: Any = None  # list of booleans if the model has a safety checker

    def unsafe(self, index: int) -> bool:
        """Whether the provider's safety checker flagged this picture."""
        flags = self.has_nsfw_concepts
        return isinstance(flags, list) and index < len(flags) and flags[index] is True


@dataclass(frozen=True)
class _ConvertedPicture:
    picture: Output
    thumbnail: Output
    width: int
    height: int
    unsafe: bool
    black: bool

    @property
    def fact(self) -> ImageFact:
        return ImageFact(
            name=self.picture.name,
            thumbnail=self.thumbnail.name,
            width=self.width,
            height=self.height,
            size_bytes=self.picture.size_bytes,
            unsafe=self.unsafe,
            black=self.black,
        )


def collect(context: StageContext) -> StageResult:
    """Download, check and store the pictures. Raises StageFailed or Retryable."""
    spec = ImageGenerationSpec.model_validate(context.order.spec)
    fork_server()  # the decoders are imported while the pictures are fetched
    with context.steps(Step.STORING) as fraction:
        response = _parse(context.provider_response())
        made = _convert_all(context, spec.image.format, response, fraction)
        outputs = [output for each in made for output in (each.picture, each.thumbnail)]
        context.steps.note(pictures=[f"{each.width}x{each.height}" for each in made])
        files = context.store(outputs, lambda done: fraction(0.5 + done / 2))
    return StageResult(files, ImageFacts(images=tuple(each.fact for each in made), seed=response.seed))


def _parse(response: dict[str, Any]) -> _ImagesResponse:
    try:
        return _ImagesResponse.model_validate(response)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, item["loc"])) for item in error.errors()[:5])
        raise StageFailed(
            Reason.RESULT_INVALID, f"the provider's answer names no pictures (missing or wrong: {fields})"
        ) from None


def _convert_all(
    context: StageContext, wanted: ImageFormat, response: _ImagesResponse, fraction: Fraction
) -> tuple[_ConvertedPicture, ...]:
    made = []
    for number, picture in enumerate(response.images, 1):
        fetched = context.fetch_result(picture.url, f"fetched-{number}")
        converted = _convert(context, fetched.path, f"image_{number}", wanted, redacted(picture.url))
        made.append(replace(converted, unsafe=response.unsafe(number - 1)))
        fraction(number / len(response.images) / 2)
    return tuple(made)


def _convert(context: StageContext, path: Path, name: str, wanted: ImageFormat, url: str) -> _ConvertedPicture:
    folder = path.with_name(name)  # the only folder that the child may write to
    folder.mkdir()
    target, thumbnail = folder / f"{name}.{_SUFFIX[wanted]}", folder / f"{name}_thumb.png"
    bounds = context.media_bounds
    limits = bounds.child_limits(path)
    conversion = Conversion(path, target, thumbnail, wanted, bounds.pixels)
    try:
        still = convert(conversion, limits.memory_bytes, min(limits.cpu_seconds, _CPU_SECONDS))
        if still.format is wanted:
            path.rename(target)  # the provider's file, unchanged
        made = Output.from_path(target.name, _TYPE[wanted], target), Output.from_path(thumbnail.name, PNG, thumbnail)
    except (BadMedia, FileNotFoundError) as error:
        raise StageFailed(Reason.RESULT_INVALID, f"{url}: {error}") from None
    return _ConvertedPicture(*made, still.width, still.height, unsafe=False, black=still.black)
