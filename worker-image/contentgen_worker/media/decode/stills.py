"""Untrusted pictures, decoded in a confined child: the provider's, and JPEG files of an earlier child."""

import importlib
import io
import math
import mmap
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import simplejpeg  # type: ignore[import-untyped]
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin, features

from contentgen_contract.resources.spec import ImageFormat
from contentgen_worker.errors import BadMedia, Unsupported, WorkerError
from contentgen_worker.log import event
from contentgen_worker.media.codec import transferable
from contentgen_worker.media.sandbox.confinement import ChildLimits
from contentgen_worker.media.sandbox.isolation import malformed_answer, spawn

Pixels = npt.NDArray[np.uint8]  # height x width x RGB
_LARGEST_SIDE = 65_500  # pixels; of a JPEG
_THUMBNAIL = 256  # pixels of the shorter side: a list shows portraits as wide as landscapes
_THUMBNAIL_MOST = 768  # pixels of the longer side
_BLACK = 2  # of 255; JPEG does not preserve 0
_BATCH_PICTURES = 32  # pictures decoded at once
_MEMORY_BYTES, _CPU_SECONDS = 1 << 30, 600
_TEXT_BYTES = 128 << 20  # of a PNG's text entries, such as a workflow
_PROFILE_BYTES = 4 << 20
_JPEG_SEGMENT = 65_000
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_COLOUR_SPACES = {"RGB": b"RGB ", "RGBA": b"RGB ", "L": b"GRAY", "LA": b"GRAY"}  # in an ICC profile's header
_C2PA = b"c2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x008\x9bq"  # type of the box of Content Credentials
# Pillow's names of the decoders of what viewers open, with the format that a file of it is.
_FORMATS: dict[str, ImageFormat | None] = {
    "PNG": ImageFormat.PNG,
    "JPEG": ImageFormat.JPEG,
    "WEBP": None,
    "GIF": None,
    "BMP": None,
    "TIFF": None,
} | ({"AVIF": None} if features.check("avif") else {})
_DECODERS = tuple(_FORMATS)
Image.preinit()  # the decoders are imported before a child is confined
for _name in ("Png", "Jpeg", "Mpo", "WebP", "Gif", "Bmp", "Tiff", *(("Avif",) if "AVIF" in _DECODERS else ())):
    importlib.import_module(f"PIL.{_name}ImagePlugin")
_FORMATS["MPO"] = ImageFormat.JPEG  # a JPEG that is followed by others, read by its decoder


class PictureMark(StrEnum):
    """Metadata that a picture loses when it is converted."""

    CREDENTIALS = "Content Credentials (C2PA)"
    XMP = "XMP metadata"
    EXIF = "EXIF metadata"
    TEXT = "text entries"


@transferable
@dataclass(frozen=True, slots=True)
class Still:
    """Completely decoded picture: its size as a viewer shows it, and whether it is all black on white.

    `kept`: it is of the wanted format, so nothing was written. `lost`: metadata that a conversion did not keep.
    """

    kept: bool
    width: int
    height: int
    black: bool
    lost: tuple[PictureMark, ...] = ()

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
    """Decode a picture and write the requested files. Raises BadMedia.

    The thumbnail is missing if it could not be made: it decides over nothing.
    """
    limits = ChildLimits(
        memory_bytes,
        cpu_seconds,
        files=(conversion.source,),
        folder=conversion.target.parent,
        file_bytes=8 * conversion.pixels + (1 << 20),
    )
    with spawn(send_still, conversion, limits=limits) as child:
        messages = child.messages()
        still = next(messages, None)
        if not isinstance(still, Still) or still.width * still.height > conversion.pixels:
            raise malformed_answer("no picture")
        try:
            if next(messages, None) is True:
                return still
        except BadMedia as error:
            event("no thumbnail", picture=conversion.target.name, error=error.finding)
    conversion.thumbnail.unlink(missing_ok=True)  # it may be half written
    return still


def send_still(send: Callable[[object], None], conversion: Conversion) -> None:
    """Child process: write the target and send the Still; then write the thumbnail and send True."""
    with conversion.source.open("rb") as file:
        image = _open_picture(file, conversion.pixels)
        upright = _upright(image)
        kept = _FORMATS[str(image.format)] is conversion.target_format
        still = Still(kept, upright.width, upright.height, _is_black(_on_white(upright)))
        if not kept:
            marks = _marks(image, upright, conversion.source)
            still = replace(still, lost=_save(upright, conversion.target, conversion.target_format, marks))
        send(still)
        _save_thumbnail(upright, conversion.thumbnail)
        send(True)


def _open_picture(file: BinaryIO, max_pixels: int) -> Image.Image:
    """Decoded picture; of a PNG also if only optional chunks are broken, which viewers ignore. Raises Unsupported."""
    try:
        return _decoded(file, max_pixels)
    except Unsupported:
        if (needed := _needed_chunks(file)) is None:
            raise
        return _decoded(needed, max_pixels)


def _needed_chunks(file: BinaryIO) -> BinaryIO | None:
    """A PNG without its optional chunks except transparency; None: it is no PNG."""
    file.seek(0)
    if file.read(len(_PNG_MAGIC)) != _PNG_MAGIC:
        return None
    kept = io.BytesIO()
    kept.write(_PNG_MAGIC)
    while len(head := file.read(8)) == 8:
        body = file.read(int.from_bytes(head[:4]) + 4)  # and a checksum
        if head[4:5].isupper() or head[4:] == b"tRNS":
            kept.write(head + body)
    kept.seek(0)
    return kept


def _decoded(file: BinaryIO, max_pixels: int) -> Image.Image:
    """Decoded picture. The size is checked before decoding."""
    PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = _TEXT_BYTES, 2 * _TEXT_BYTES
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, and of large pictures: our own limit is below
            image = Image.open(file, formats=_DECODERS)
            size = image.size
            if math.prod(size) > max_pixels:
                raise Unsupported(f"{size[0]}x{size[1]}, at most {max_pixels} pixels are allowed")
            if max(size) > _LARGEST_SIDE:
                raise Unsupported(f"{size[0]}x{size[1]}, at most {_LARGEST_SIDE} pixels a side are allowed")
            if not isinstance(image.info.get("xmp", b""), bytes):  # of a TIFF, where it may have any type
                del image.info["xmp"]
            image.load()
            return image
    except MemoryError:
        raise
    except WorkerError:
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise any error for broken files
        raise Unsupported(f"no picture that can be read: {', '.join(_DECODERS)} ({type(error).__name__})") from None


def _upright(image: Image.Image) -> Image.Image:
    """Picture of 8 bits in a mode that PNG can hold, turned as its EXIF says."""
    picture = _eight_bits(image)
    with suppress(Exception):  # of invalid EXIF
        ImageOps.exif_transpose(picture, in_place=True)
    if picture.has_transparency_data:
        return picture if picture.mode in ("RGBA", "LA") else _converted(picture, "RGBA")
    return picture if picture.mode in ("RGB", "L") else _converted(picture, "L" if picture.mode == "1" else "RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        pixels = (values >> 8).astype(np.uint8)
    else:  # the smallest common range that holds it
        brightest = float(np.nanmax(values, initial=0))
        ranges = ((1,) if image.mode == "F" else ()) + (255, 2**16 - 1)
        scale = 255 / next((most for most in ranges if brightest <= most), brightest)
        pixels = np.clip(np.nan_to_num(values * np.float32(scale)), 0, 255).round().astype(np.uint8)
    picture = Image.fromarray(pixels)
    picture.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return picture


def _converted(image: Image.Image, mode: str) -> Image.Image:
    """Picture in RGB, RGBA or L; in sRGB if its own colour space, such as that of CMYK, has another mode."""
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("CMYK", "LAB"):
        with suppress(Exception):  # of an invalid profile
            picture = ImageCms.profileToProfile(
                image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
            if picture is not None:
                picture.info.pop("icc_profile", None)
                return picture
    if image.mode == "LAB":
        transform = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
        image = ImageCms.applyTransform(image, transform) or image
    return image.convert(mode)


def _on_white(image: Image.Image) -> Image.Image:
    """Picture without transparency."""
    if not image.has_transparency_data:
        return image
    mode = "L" if image.mode == "LA" else "RGB"
    white = Image.new(mode, image.size, "white")
    white.paste(image.convert(mode), mask=image.getchannel("A"))
    white.info = dict(image.info)
    return white


def _is_black(image: Image.Image) -> bool:
    _, brightest = image.convert("L").getextrema()
    return isinstance(brightest, int | float) and brightest <= _BLACK


def _profile(image: Image.Image) -> bytes | None:
    """ICC profile of the picture's colours; None if it is for others, such as those before a conversion."""
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or len(profile) > _PROFILE_BYTES:
        return None
    return profile if profile[16:20] == _COLOUR_SPACES.get(image.mode) else None


def _marks(image: Image.Image, upright: Image.Image, path: Path) -> dict[PictureMark, bytes]:
    """Metadata that may say where the picture comes from: EXIF without orientation, XMP; of others only the names."""
    found: dict[PictureMark, bytes] = {}
    with suppress(Exception):  # of invalid metadata
        exif = upright.getexif()
        exif.pop(ExifTags.Base.Orientation, None)
        if len(exif) and image.format != "TIFF":  # where the tags describe the file itself
            found[PictureMark.EXIF] = exif.tobytes()
    xmp = upright.info.get("xmp") or upright.info.get("XML:com.adobe.xmp")
    if xmp:
        found[PictureMark.XMP] = xmp.encode(errors="replace") if isinstance(xmp, str) else bytes(xmp)
    texts = getattr(image, "text", None)
    if isinstance(texts, dict) and set(texts) - {"XML:com.adobe.xmp"}:
        found[PictureMark.TEXT] = b""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(_C2PA) >= 0:
            found[PictureMark.CREDENTIALS] = b""
    return found


def _save(
    image: Image.Image, path: Path, target_format: ImageFormat, marks: dict[PictureMark, bytes]
) -> tuple[PictureMark, ...]:
    """Write the picture with its colour profile, EXIF and XMP. Returns the metadata that is not kept."""
    options: dict[str, Any] = {"icc_profile": _profile(image)}
    kept = {each for each in (PictureMark.EXIF, PictureMark.XMP) if each in marks}
    if target_format is ImageFormat.JPEG:
        kept = {each for each in kept if len(marks[each]) <= _JPEG_SEGMENT}
        options |= {"quality": 95, "subsampling": 0}
        options |= {"xmp": marks[PictureMark.XMP]} if PictureMark.XMP in kept else {}
        image = _on_white(image)
    elif PictureMark.XMP in kept:
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", marks[PictureMark.XMP].decode(errors="replace"))
        options["pnginfo"] = info
    options |= {"exif": marks[PictureMark.EXIF]} if PictureMark.EXIF in kept else {}
    image.save(path, target_format.value.upper(), **options)
    return tuple(each for each in PictureMark if each in marks and each not in kept)


def _save_thumbnail(image: Image.Image, path: Path) -> None:
    profile = _profile(image)
    scale = min(_THUMBNAIL / min(image.size), _THUMBNAIL_MOST / max(image.size))
    width, height = (max(round(side * scale), 1) for side in image.size)
    image.thumbnail((width, height), Image.Resampling.LANCZOS)
    image.save(path, "PNG", optimize=True, icc_profile=profile)


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
