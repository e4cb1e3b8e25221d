"""Untrusted pictures, decoded in a confined child: the provider's, and JPEG files of an earlier child."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import simplejpeg  # type: ignore[import-untyped]
from PIL import Image

from contentgen_contract.resources.spec import ImageFormat
from contentgen_worker.errors import Unsupported
from contentgen_worker.media.codec import transferable
from contentgen_worker.media.sandbox.confinement import ChildLimits
from contentgen_worker.media.sandbox.isolation import malformed_answer, spawn

Pixels = npt.NDArray[np.uint8]  # height x width x RGB
_LARGEST_SIDE = 65_500  # pixels; of a JPEG
_THUMBNAIL = 256  # pixels; limit of both sides
_BLACK = 2  # of 255; JPEG does not preserve 0
_BATCH_PICTURES = 32  # pictures decoded at once
_MEMORY_BYTES, _CPU_SECONDS = 1 << 30, 600


@transferable
@dataclass(frozen=True, slots=True)
class Still:
    """Format and size of a completely decoded picture, and whether it is all black."""

    format: ImageFormat
    width: int
    height: int
    black: bool

    def __post_init__(self) -> None:
        if not (0 < self.width <= _LARGEST_SIDE and 0 < self.height <= _LARGEST_SIDE):
            raise ValueError(f"a picture of {self.width}x{self.height}")


@dataclass(frozen=True, slots=True)
class Conversion:
    """Conversion of one picture: reads `source`, writes `thumbnail`, and `target` if the format differs.

    Both are written to a folder of their own. `pixels`: limit.
    """

    source: Path
    target: Path
    thumbnail: Path
    target_format: ImageFormat
    pixels: int


def convert(conversion: Conversion, memory_bytes: int, cpu_seconds: int) -> Still:
    """Decode a PNG or JPEG file and write the requested files. Raises BadMedia."""
    limits = ChildLimits(
        memory_bytes,
        cpu_seconds,
        files=(conversion.source,),
        folder=conversion.target.parent,
        file_bytes=8 * conversion.pixels + (1 << 20),
    )
    with spawn(send_still, conversion, limits=limits) as child:
        for still in child.messages():
            if isinstance(still, Still) and still.width * still.height <= conversion.pixels:
                return still
    raise malformed_answer("no picture")


def send_still(send: Callable[[object], None], conversion: Conversion) -> None:
    """Child process: write the files and send the Still."""
    image, source_format = _open_picture(conversion.source, conversion.pixels)
    if source_format is not conversion.target_format:
        _save(image, conversion.target, conversion.target_format)
    small = image.copy()
    small.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
    small.save(conversion.thumbnail, "PNG", optimize=True)
    send(Still(source_format, image.width, image.height, _is_black(image)))


def _is_black(image: Image.Image) -> bool:
    _, brightest = image.convert("L").getextrema()
    return isinstance(brightest, int | float) and brightest <= _BLACK


def _open_picture(path: Path, max_pixels: int) -> tuple[Image.Image, ImageFormat]:
    """Decoded picture and its actual format. The size is checked before decoding."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is below
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                if image.width * image.height > max_pixels:
                    raise Unsupported(f"{image.width}x{image.height}, at most {max_pixels} pixels are allowed")
                image.load()
                return image.copy(), ImageFormat[str(image.format)]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Unsupported(f"not a PNG or JPEG picture ({type(error).__name__})") from None


def _save(image: Image.Image, path: Path, target_format: ImageFormat) -> None:
    if target_format is ImageFormat.JPEG:
        image.convert("RGB").save(path, "JPEG", quality=95, subsampling=0)
    else:
        image.save(path, "PNG")


def decode_pictures(paths: Sequence[Path], width: int | None = None) -> Iterator[Pixels]:
    """Pixels of JPEG files, in their order. `width`: approximate width, much faster than full size. Raises BadMedia."""
    if not paths:
        return
    limits = ChildLimits(_MEMORY_BYTES, _CPU_SECONDS, files=tuple(paths))
    with spawn(send_pixels, tuple(paths), width, limits=limits) as child:
        count = 0
        for pixels in child.messages():
            if count == len(paths):
                raise malformed_answer("more pictures than files")
            count += 1
            yield _check_picture(pixels)
    if count != len(paths):
        raise malformed_answer(f"{count} pictures of {len(paths)}")


def _check_picture(pixels: object) -> Pixels:
    if isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3:
        picture: Pixels = pixels
        if min(picture.shape) > 0 and max(picture.shape) <= _LARGEST_SIDE:
            return picture
    raise malformed_answer("no picture")


def send_pixels(send: Callable[[object], None], paths: tuple[Path, ...], width: int | None) -> None:
    """Child process: send an array per file."""
    with ThreadPoolExecutor() as pool:  # the decoder releases the GIL
        for start in range(0, len(paths), _BATCH_PICTURES):
            for pixels in pool.map(lambda path: _pixels(path, width), paths[start : start + _BATCH_PICTURES]):
                send(pixels)


def _pixels(path: Path, width: int | None) -> Pixels:
    options = {} if width is None else {"fastdct": True, "min_width": width, "min_height": width // 2}
    try:
        return np.asarray(simplejpeg.decode_jpeg(path.read_bytes(), "RGB", **options), np.uint8)
    except ValueError as error:
        raise Unsupported(f"not a JPEG picture ({error})") from None
