"""From a provider's picture URLs to pictures that are ours, each with a thumbnail."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import Field, ValidationError

from contentgen_contract.base import Value
from contentgen_contract.names import Reason, Step
from contentgen_contract.orders import ImageFact, ImageFacts
from contentgen_contract.spec import ImageFormat, ImageGenerationSpec
from contentgen_worker.errors import Verdict, shown
from contentgen_worker.files import JPEG, PNG, Output
from contentgen_worker.progress import Fraction
from contentgen_worker.workshop import Result, Workshop

_THUMBNAIL = 256  # pixels, both sides fit in
_SUFFIX = {ImageFormat.PNG: "png", ImageFormat.JPEG: "jpg"}
_TYPE = {ImageFormat.PNG: PNG, ImageFormat.JPEG: JPEG}


class _Picture(Value):
    url: str


class _Answer(Value):
    images: list[_Picture] = Field(min_length=1, max_length=32)
    seed: int | None = None


@dataclass(frozen=True)
class _Made:
    picture: Output
    thumbnail: Output
    width: int
    height: int

    @property
    def fact(self) -> ImageFact:
        return ImageFact(
            name=self.picture.name,
            thumbnail=self.thumbnail.name,
            width=self.width,
            height=self.height,
            size_bytes=self.picture.size_bytes,
        )


def collect(shop: Workshop) -> Result:
    """Fetch, check, store."""
    spec = ImageGenerationSpec.model_validate(shop.order.spec)
    with shop.steps(Step.STORING) as fraction:
        answer = _parsed(shop.provider_answer())
        made = _made(shop, spec.image.format, answer, fraction)
        outputs = [output for each in made for output in (each.picture, each.thumbnail)]
        shop.steps.note(pictures=[f"{each.width}x{each.height}" for each in made])
        files = shop.store(outputs, lambda done: fraction(0.5 + done / 2))
    return Result(files, ImageFacts(images=tuple(each.fact for each in made), seed=answer.seed))


def _parsed(answer: dict[str, Any]) -> _Answer:
    try:
        return _Answer.model_validate(answer)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, item["loc"])) for item in error.errors()[:5])
        raise Verdict(
            Reason.RESULT_INVALID, f"the provider's answer names no pictures (missing or wrong: {fields})"
        ) from None


def _made(shop: Workshop, wanted: ImageFormat, answer: _Answer, fraction: Fraction) -> tuple[_Made, ...]:
    made = []
    for number, picture in enumerate(answer.images, 1):
        fetched = shop.fetch_result(picture.url, f"fetched-{number}")
        made.append(_one(fetched.path, f"image_{number}", wanted, shop.order.limits.pixels, shown(picture.url)))
        fraction(number / len(answer.images) / 2)
    return tuple(made)


def _one(path: Path, name: str, wanted: ImageFormat, most_pixels: int, url: str) -> _Made:
    image, found = _opened(path, most_pixels, url)
    target = path.with_name(f"{name}.{_SUFFIX[wanted]}")
    if found == wanted.name:
        path.rename(target)  # byte for byte what was paid for
    else:
        _save(image, target, wanted)
    thumbnail = path.with_name(f"{name}_thumb.png")
    small = image.copy()
    small.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
    small.save(thumbnail, "PNG", optimize=True)
    return _Made(
        Output.of_path(target.name, _TYPE[wanted], target),
        Output.of_path(thumbnail.name, PNG, thumbnail),
        image.width,
        image.height,
    )


def _opened(path: Path, most_pixels: int, url: str) -> tuple[Image.Image, str]:
    """The decoded picture and its true format. Pixels are counted before any is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own bound is below
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                if image.width * image.height > most_pixels:
                    raise Verdict(
                        Reason.RESULT_INVALID,
                        f"{url}: {image.width}x{image.height}, at most {most_pixels} pixels are taken",
                    )
                image.load()
                return image.copy(), str(image.format)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Verdict(Reason.RESULT_INVALID, f"{url}: not a PNG or JPEG picture ({type(error).__name__})") from None


def _save(image: Image.Image, path: Path, wanted: ImageFormat) -> None:
    if wanted is ImageFormat.JPEG:
        image.convert("RGB").save(path, "JPEG", quality=95, subsampling=0)
    else:
        image.save(path, "PNG")
