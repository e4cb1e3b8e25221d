"""Answers of providers as public bug reports describe them: what is good is stored, and the rest is named."""

import base64
import gzip
import io
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin
from safetensors import SafetensorError, safe_open

from contentgen_contract.names import Kind, Reason
from contentgen_contract.worker.orders import Limits
from contentgen_hostile import answers as hostile
from contentgen_hostile.collecting import Collected, Host, Reply, file_of, picture, run, weights_of
from contentgen_worker.collect import answers, images
from contentgen_worker.collect.safetensors import NotSafetensors, check
from contentgen_worker.errors import Retryable
from contentgen_worker.media.decode import stills

IMAGES, LORA, SPEECH = Kind.IMAGE_GENERATION, Kind.LORA_TRAINING, Kind.TRANSCRIPTION
GOOD = picture()
BIG_SEED = 13602895424243386000
WEIGHTS = hostile.FILES["https://files.example/lora"]


@pytest.fixture
def host() -> Iterator[Host]:
    with closing(Host()) as made:
        yield made


def named(count: int, **more: object) -> dict[str, Any]:
    return {"images": [{"url": f"http://HOST/{number}"} for number in range(1, count + 1)], **more}


def collect(host: Host, replies: list[bytes | Reply | list[Reply]], form: str = "png", **more: object) -> Collected:
    for number, reply in enumerate(replies, 1):
        host.replies[str(number)] = (200, {}, reply) if isinstance(reply, bytes) else reply
    spec = {"prompt": "a cat", "image": {"count": min(len(replies), 4), "format": form}}
    return run(host, IMAGES, named(len(replies), **more), spec=spec)


# --- P1: side facts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kept", "noted"),
    [
        (42, 42, ""),
        (0, 0, ""),
        (-5, -5, ""),
        (2**53 - 1, 2**53 - 1, ""),
        (2**53, str(2**53), ""),
        (BIG_SEED, str(BIG_SEED), ""),
        (2**64 - 1, str(2**64 - 1), ""),
        (-(2**63), str(-(2**63)), ""),
        (str(BIG_SEED), str(BIG_SEED), ""),
        ("42", 42, ""),
        (42.0, 42, ""),
        (None, None, ""),
        (2**64, None, "18446744073709551616"),
        (1.5, None, "1.5"),
        (True, None, "true"),
        ("lucky", None, "'lucky'"),
        ("", None, "''"),
        ([42], None, "a list of 1"),
        ({"value": 42}, None, "an object"),
    ],
)
def test_seeds(host: Host, given: object, kept: object, noted: str) -> None:
    left = collect(host, [GOOD], seed=given)
    assert left.outcome.succeeded
    assert left.facts["seed"] == kept
    assert left.facts["notes"] == ([f"the seed of the provider is {noted}, which is left out"] if noted else [])
    assert left.stored["image_1.png"] == GOOD


@pytest.mark.parametrize("count", [17, 32, 40])
def test_many_pictures(host: Host, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    still = stills.Still(kept=True, width=8, height=8, black=False)
    monkeypatch.setattr(images, "convert", lambda *_: still)
    left = collect(host, [GOOD] * count)
    assert left.outcome.succeeded
    assert len(left.facts["images"]) == min(count, 32)
    assert f"{count} pictures in the answer, the first 32 are taken" in left.facts["notes"] or count <= 32


TALK = hostile.ANSWERS[SPEECH]


def test_characters_that_nothing_can_store(host: Host) -> None:
    text = json.dumps(TALK).replace("Good morning", "Good\\ud800\\u0000\\u001b[31m morning")
    left = run(host, SPEECH, text.encode() + b" ")
    assert left.outcome.succeeded
    stored = left.stored["transcript.txt"].decode()
    assert "Good\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}[31m morning" in stored


@pytest.mark.parametrize("wrap", [gzip.compress, lambda text: b"\xef\xbb\xbf" + text], ids=["gzip", "byte order mark"])
def test_answers_in_another_wrapping(host: Host, wrap: Any) -> None:
    assert run(host, SPEECH, wrap(json.dumps(TALK).encode())).outcome.succeeded


# --- P2: one bad picture -------------------------------------------------------------------------------------------

BAD: dict[str, Reply] = {
    "404": (404, {}, b""),
    "410": (410, {}, b""),
    "html": (200, {"Content-Type": "image/png"}, b"<html>expired</html>"),
    "empty": (200, {}, b""),
    "cut off": (200, {}, GOOD[:60]),
}


@pytest.mark.parametrize("reply", BAD.values(), ids=BAD)
@pytest.mark.parametrize("place", [1, 4])
def test_single_bad_picture_costs_itself(host: Host, reply: Reply, place: int) -> None:
    replies: list[bytes | Reply | list[Reply]] = [GOOD] * 4
    replies[place - 1] = reply
    left = collect(host, replies)
    assert left.outcome.succeeded
    good = [number for number in range(1, 5) if number != place]
    assert [image["name"] for image in left.facts["images"]] == [f"image_{number}.png" for number in good]
    assert [each_picture["number"] for each_picture in left.facts["missing"]] == [place]
    assert f"/{place}: " in left.facts["missing"][0]["cause"]
    assert {f"image_{number}.png" for number in good} <= set(left.stored)


@pytest.mark.parametrize("item", [None, 5, "", [], {}, {"url": None}, {"url": ["http://HOST/2"]}, {"uri": "x"}])
def test_an_item_without_a_url(host: Host, item: object) -> None:
    host.replies["1"] = (200, {}, GOOD)
    left = run(host, IMAGES, {"images": [{"url": "http://HOST/1"}, item]})
    assert left.outcome.succeeded
    assert left.facts["missing"] == [{"number": 2, "cause": "the answer names no URL of it"}]


def test_a_passing_fault_is_reported_beside_what_is_stored(host: Host) -> None:
    left = collect(host, [GOOD, (503, {}, b""), (404, {}, b"")])
    assert (left.outcome.reason, left.outcome.passing) == (Reason.RESULT_UNREACHABLE, True)
    assert left.outcome.message.startswith("1 of 3 pictures are stored: picture 2: ")
    assert set(left.stored) == {"image_1.png", "image_1_thumb.png"}
    assert [each_picture["number"] for each_picture in left.facts["missing"]] == [2, 3]


def test_a_later_attempt_adds_the_rest(host: Host) -> None:
    first = collect(host, [GOOD, (503, {}, b"")])
    host.replies |= {"1": (404, {}, b""), "2": (200, {}, picture("L"))}
    second = run(host, IMAGES, named(2), earlier=first.outcome)
    assert second.outcome.succeeded
    assert set(second.stored) == {"image_2.png", "image_2_thumb.png"}
    assert [image["name"] for image in second.facts["images"]] == ["image_1.png", "image_2.png"]
    assert {file.name for file in second.outcome.files} >= {"image_1.png", "image_1_thumb.png", "image_2.png"}


def test_no_good_picture(host: Host) -> None:
    left = collect(host, [BAD["404"], BAD["html"]])
    assert (left.outcome.reason, left.outcome.passing) == (Reason.RESULT_INVALID, False)
    assert left.outcome.message.startswith("none of 2 pictures is stored: picture 1: ")
    left = collect(host, [BAD["404"], (503, {}, b"")])
    assert (left.outcome.reason, left.outcome.passing) == (Reason.RESULT_UNREACHABLE, True)


def test_a_fault_of_the_worker_costs_one_picture_for_now(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(conversion: stills.Conversion, *_: int) -> stills.Still:
        if "image_1" in conversion.target.name or host.replies["2"] == BAD["404"]:
            raise Retryable("no space left")
        return stills.Still(kept=True, width=64, height=48, black=False)

    monkeypatch.setattr(images, "convert", convert)
    left = collect(host, [GOOD, GOOD])
    assert (left.outcome.passing, set(left.stored)) == (True, {"image_2.png"})
    assert "picture 1: no space left" in left.outcome.message
    with pytest.raises(Retryable, match="no space left"):
        collect(host, [GOOD, BAD["404"]])


def test_a_thumbnail_that_fails_costs_the_thumbnail(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    still = stills.Still(kept=True, width=64, height=48, black=False)
    monkeypatch.setattr(images, "convert", lambda *_: still)
    left = collect(host, [GOOD])
    assert left.outcome.succeeded
    assert left.facts["images"][0]["thumbnail"] is None
    assert left.facts["notes"] == ["image_1.png has no thumbnail"]
    assert set(left.stored) == {"image_1.png"}


@pytest.mark.parametrize("head", ["data:image/png;base64,", "data:;base64,", "DATA:image/png;charset=utf-8;base64,"])
def test_pictures_inside_of_the_answer(host: Host, head: str) -> None:
    text = base64.b64encode(GOOD).decode()
    left = run(host, IMAGES, {"images": [{"url": head + text}, {"url": "data:image/png;base64,!"}]})
    assert left.outcome.succeeded
    assert left.stored["image_1.png"] == GOOD
    assert text not in left.outcome.model_dump_json()
    assert "invalid base64" in left.facts["missing"][0]["cause"]


# --- P7: Content-Encoding ------------------------------------------------------------------------------------------


def deflated(content: bytes, bits: int) -> bytes:
    made = zlib.compressobj(wbits=bits)
    return made.compress(content) + made.flush()


@pytest.mark.parametrize(
    ("header", "body"),
    [
        *((text, GOOD) for text in ("", "identity", "aws-chunked", "UTF-8", "utf-8, aws-chunked", "none", "binary")),
        ("gzip", gzip.compress(GOOD)),
        ("X-GZIP", gzip.compress(GOOD)),
        ("aws-chunked,gzip", gzip.compress(GOOD)),
        ("gzip, identity", gzip.compress(GOOD)),
        ("gzip", gzip.compress(GOOD[:50]) + gzip.compress(GOOD[50:])),
        ("gzip", GOOD),
        ("deflate", deflated(GOOD, 15)),
        ("deflate", deflated(GOOD, -15)),
        ("deflate, gzip", gzip.compress(deflated(GOOD, 15))),
    ],
)
@pytest.mark.parametrize("validator", [{}, {"ETag": '"1"'}], ids=["plain", "ranges"])
def test_encodings_of_a_result(host: Host, header: str, body: bytes, validator: dict[str, str]) -> None:
    left = collect(host, [(200, {"Content-Encoding": header, **validator}, body)])
    assert left.outcome.succeeded, left.outcome.message
    assert left.stored["image_1.png"] == GOOD


@pytest.mark.parametrize(
    ("header", "body", "words"),
    [
        ("br", b"x", "content encoding br is not supported"),
        ("aws-chunked, zstd", b"x", "content encoding zstd is not supported"),
        ("gzip", gzip.compress(GOOD)[:-10], "gzip stream ended early"),
        ("gzip", b"\x1f\x8b" + bytes(range(200, 250)), "gzip stream is invalid"),
        ("gzip,gzip,gzip,gzip,gzip", b"x", "5 content encodings, at most 4"),
    ],
)
def test_encodings_that_are_tried_again(host: Host, header: str, body: bytes, words: str) -> None:
    left = collect(host, [(200, {"Content-Encoding": header}, body)])
    assert (left.outcome.reason, left.outcome.passing) == (Reason.RESULT_UNREACHABLE, True)
    assert words in left.outcome.message


@pytest.mark.parametrize("layers", [1, 2])
def test_decoded_bytes_have_the_same_limit(host: Host, layers: int) -> None:
    body = bytes(5_000_000)
    for _ in range(layers):
        body = gzip.compress(body)
    host.replies["1"] = (200, {"Content-Encoding": ", ".join(["gzip"] * layers)}, body)
    left = run(host, IMAGES, named(1), limits=Limits(result_bytes=1_000_000))
    assert left.outcome.reason is Reason.RESULT_INVALID
    assert "more than 1000000 bytes" in left.outcome.message


# --- P8, P15: pictures that a viewer opens -------------------------------------------------------------------------


def transparent_logo(mode: str = "RGBA") -> Image.Image:
    made = Image.new("RGBA", (64, 48), (0, 0, 0, 0))
    made.paste((0, 0, 0, 255), (20, 20, 40, 40))
    return made.convert(mode)


def animation(form: str) -> bytes:
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "blue")]
    return file_of(frames[0], form, save_all=True, append_images=frames[1:])


def described() -> dict[str, Any]:
    exif = Image.Exif()
    exif[0x0112], exif[0x0131] = 6, "an image model"
    return {"exif": exif.tobytes(), "xmp": b"<x:xmpmeta>trainedAlgorithmicMedia</x:xmpmeta>"}


def with_text(size: int) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "{}" * (size // 2), zip=True)
    return picture(pnginfo=info)


def with_chunk(name: bytes, content: bytes, checksum: int | None = None) -> bytes:
    """GOOD with an optional chunk before its pixels."""
    crc = zlib.crc32(name + content) if checksum is None else checksum
    at = GOOD.index(b"IDAT") - 4
    return GOOD[:at] + len(content).to_bytes(4) + name + content + crc.to_bytes(4) + GOOD[at:]


C2PA = b"\x00\x00\x00\x28jumb\x00\x00\x00\x20jumdc2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x008\x9bq\x03c2pa\x00"
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
DEEP = Image.fromarray(np.full((48, 64), 30_000, np.uint16))
RED = pytest.approx((200, 30, 40), abs=12)
FILES: dict[str, tuple[bytes, Any]] = {  # file, colour of its first pixel as JPEG
    "webp": (picture(form="WEBP"), RED),
    "webp with alpha": (file_of(transparent_logo(), "WEBP", lossless=True), (255, 255, 255)),
    "animated webp": (animation("WEBP"), pytest.approx((255, 0, 0), abs=12)),
    "avif": (picture(form="AVIF"), RED),
    "gif": (animation("GIF"), pytest.approx((255, 0, 0), abs=12)),
    "apng": (animation("PNG"), pytest.approx((255, 0, 0), abs=12)),
    "bmp": (picture(form="BMP"), RED),
    "tiff": (picture(form="TIFF"), RED),
    "mpo": (file_of(Image.open(io.BytesIO(GOOD)), "MPO", save_all=True, append_images=[Image.new("L", (8, 8))]), RED),
    "cmyk": (picture("CMYK", "JPEG"), pytest.approx((225, 49, 66), abs=12)),
    "cmyk tiff": (picture("CMYK", "TIFF"), pytest.approx((225, 49, 66), abs=12)),
    "16 bit": (file_of(DEEP, "PNG"), pytest.approx(117, abs=2)),
    "16 bit tiff": (file_of(DEEP, "TIFF"), pytest.approx(117, abs=2)),
    "alpha": (file_of(transparent_logo(), "PNG"), (255, 255, 255)),
    "grey alpha": (file_of(transparent_logo("LA"), "PNG"), 255),
    "palette alpha": (file_of(transparent_logo("P"), "PNG", transparency=0), (255, 255, 255)),
    "1 bit": (file_of(Image.new("1", (64, 48), 1), "PNG"), 255),
    "large text": (with_text(8_000_000), RED),
    "profile": (picture(icc_profile=PROFILE), RED),
    "broken profile": (picture(icc_profile=b"no profile"), RED),
    "tiff with xmp as text": (picture(form="TIFF", tiffinfo={700: b"<x/>"}).replace(b"\xbc\2\1\0", b"\xbc\2\2\0"), RED),
    "broken exif": (picture(form="JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff"), RED),
}  # fmt: skip


def test_a_thumbnail_is_as_wide_for_a_portrait_as_for_a_square(host: Host) -> None:
    """Of the longest side: that of a portrait was 110 pixels wide, and shown at 255."""
    sizes = {
        (1024, 1024): (256, 256), (576, 1344): (256, 597), (1344, 576): (597, 256), (256, 2048): (96, 768),
        (300, 200): (300, 200),
    }  # fmt: skip
    left = collect(host, [file_of(Image.new("RGB", size, "red"), "PNG") for size in sizes])
    thumbnails = [Image.open(io.BytesIO(left.stored[f"image_{n}_thumb.png"])).size for n in range(1, len(sizes) + 1)]
    assert thumbnails == list(sizes.values())


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_files_that_a_viewer_opens_are_accepted(host: Host, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_CHUNK", 1 << 24)  # for the test's own reading
    left = collect(host, [content for content, _ in FILES.values()], form)
    assert left.outcome.succeeded, left.outcome.message
    assert left.facts["missing"] == []
    for number, (name, (_, colour)) in enumerate(FILES.items(), 1):
        stored = left.stored[f"image_{number}.{'jpg' if form == 'jpeg' else 'png'}"]
        made = Image.open(io.BytesIO(stored))
        assert made.format in ((form.upper(), "MPO") if form == "jpeg" else ("PNG",)), name
        if form == "jpeg" and name != "cmyk":
            assert made.getpixel((0, 0)) == colour, name
        assert Image.open(io.BytesIO(left.stored[f"image_{number}_thumb.png"])).size == (64, 48), name
        assert left.facts["images"][number - 1]["black"] is False, name


@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_broken_optional_chunks_of_a_png_cost_nothing(host: Host, form: str) -> None:
    """Viewers ignore them, unlike Pillow."""
    short = [with_chunk(name, b"") for name in (b"gAMA", b"pHYs", b"cHRM", b"sRGB", b"acTL")]
    broken = [*short, with_chunk(b"tEXt", b"a\0b", checksum=0), with_chunk(b"zTXt", b"a\0\7b")]
    left = collect(host, [*broken], form)
    assert left.facts["missing"] == []
    for number, content in enumerate(broken, 1):
        if form == "png":
            assert left.stored[f"image_{number}.png"] == content
        else:
            assert Image.open(io.BytesIO(left.stored[f"image_{number}.jpg"])).getpixel((0, 0)) == RED


def test_marks_are_kept_or_named(host: Host) -> None:
    marked = picture(form="JPEG", **described())
    left = collect(host, [marked, picture(form="WEBP", **described()), marked[:-2] + C2PA + marked[-2:]])
    for number in (1, 2, 3):
        made = Image.open(io.BytesIO(left.stored[f"image_{number}.png"]))
        assert made.size == (48, 64), "turned as its EXIF says"
        assert dict(made.getexif()) == {0x0131: "an image model"}
        assert "trainedAlgorithmicMedia" in str(made.info["XML:com.adobe.xmp"])
    assert left.facts["notes"] == ["image_3.png was converted, and has lost its Content Credentials (C2PA)"]
    left = collect(host, [with_text(20), picture("RGB", icc_profile=PROFILE)], "jpeg")
    assert left.facts["notes"] == ["image_1.jpg was converted, and has lost its text entries"]
    assert Image.open(io.BytesIO(left.stored["image_2.jpg"])).info["icc_profile"] == PROFILE


def test_pictures_have_a_limit_of_their_own(host: Host) -> None:
    host.replies["1"] = (200, {}, picture("1", size=(6000, 6000)))
    assert run(host, IMAGES, named(1)).facts["images"][0]["width"] == 6000
    left = run(host, IMAGES, named(1), limits=Limits(picture_pixels=6000 * 6000 - 1))
    assert left.outcome.reason is Reason.RESULT_INVALID
    assert "6000x6000" in left.outcome.message


def test_messages_do_not_advise_on_a_recording(host: Host) -> None:
    crash = picture(form="TIFF")[:100]
    left = collect(host, [*BAD.values(), (503, {}, b""), (200, {"Content-Encoding": "br"}, b"x"), crash])
    text = left.outcome.message
    for words in ("ffmpeg", "libx264", "scale it", "check that", "check the", "use a", "serve the"):
        assert words not in text


# --- P16: the safety checker ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "unsafe"),
    [
        ([False, True], [False, True]),
        (None, [False, False]),
        ([], [False, False]),
        ([1, 0], [True, False]),
        (["true", "no"], [True, False]),
        (True, [True, True]),
        (False, [False, False]),
        ([True], [True, None]),
        ("yes", [True, True]),
        ("maybe", [None, None]),
        (0.93, [None, None]),
        ({"nsfw": True}, [None, None]),
        ([None, {}], [None, None]),
        ([True] * 1000, [True, True]),
    ],
)
def test_the_safety_checkers_verdict(host: Host, given: object, unsafe: list[bool | None]) -> None:
    left = collect(host, [GOOD, GOOD], has_nsfw_concepts=given)
    assert [image["unsafe"] for image in left.facts["images"]] == unsafe
    assert len(left.facts["notes"]) == unsafe.count(None)
    assert all("safety checker's verdict on picture" in note for note in left.facts["notes"])


# --- P17: weights --------------------------------------------------------------------------------------------------


def tensor(begin: int, end: int, dtype: str = "U8", shape: list[Any] | None = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ({"a": tensor(0, 8)}, 8),
        ({"a": tensor(0, 4), "b": tensor(4, 8)}, 8),
        ({"b": tensor(4, 8), "a": tensor(0, 4)}, 8),
        ({"__metadata__": {"format": "pt"}, "a": tensor(0, 8, "F16", [2, 2])}, 8),
        ({"__metadata__": None, "a": tensor(0, 8)}, 8),
        ({"a": tensor(0, 4, "F32", [])}, 4),
        ({"a": tensor(0, 0, "F32", [0, 7]), "b": tensor(0, 4)}, 4),
        ({"a": tensor(0, 8, "F16", [3])}, 8),  # shape against bytes
        ({"a": tensor(0, 8, "X16", [4])}, 8),
        ({"a": tensor(0, 6), "b": tensor(4, 8)}, 8),  # overlap
        ({"a": tensor(0, 3), "b": tensor(4, 8)}, 8),  # hole
        ({"a": tensor(1, 8)}, 8),
        ({"a": tensor(0, 8)}, 9),  # trailing byte
        ({"a": tensor(0, 8)}, 7),
        ({"a": tensor(0, 8, "U8", [-8])}, 8),
        ({"a": tensor(0, 8, "U8", [-2, -4])}, 8),
        ({"a": tensor(0, 8, "U8", [8.0])}, 8),
        ({"a": tensor(0, 8, "U8", [True, 8])}, 8),
        ({"a": tensor(0, 8, "U8", [2**40, 2**40])}, 8),
        ({"a": tensor(8, 0, "U8", [8])}, 8),
        ({"a": {"dtype": "U8", "shape": [8]}}, 8),
        ({"a": {"dtype": "U8", "data_offsets": [0, 8]}}, 8),
        ({"a": 5}, 8),
        ({"__metadata__": {"a": {"b": 1}}, "a": tensor(0, 8)}, 8),
        ({"__metadata__": [], "a": tensor(0, 8)}, 8),
    ],
)
def test_weights_are_checked_as_by_the_library(tmp_path: Any, header: dict[str, Any], size: int) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(weights_of(header, bytes(size)))
    try:
        with safe_open(str(path), "np") as file:
            expected: int | None = len(file.keys())
    except SafetensorError:
        expected = None
    try:
        found: int | None = check(path)
    except NotSafetensors:
        found = None
    assert found == expected


@pytest.mark.parametrize("odd", [None, {}, {"url": None}, 5])
def test_weights_under_another_name(host: Host, odd: object) -> None:
    host.replies["lora"] = (200, {}, WEIGHTS)
    left = run(host, LORA, {"diffusers_lora_file": odd, "lora_file": {"url": "http://HOST/lora"}})
    assert left.stored["model.safetensors"] == WEIGHTS


@pytest.mark.parametrize(
    ("config", "noted"),
    [
        (None, "names no configuration of the LoRA (config_file: null)"),
        ("", "names no configuration"),
        ([], "names no configuration"),
        ({"url": 5}, "names no configuration"),
        ({"url": "http://HOST/missing"}, "HTTP 404"),
        ({"url": "http://HOST/html"}, "stored without the provider's configuration"),
        ({"url": "http://10.0.0.1/config"}, "stored without the provider's configuration"),
    ],
)
def test_a_lora_is_stored_without_its_configuration(host: Host, config: object, noted: str) -> None:
    host.replies |= {"lora": (200, {}, WEIGHTS), "html": (200, {}, b"<html>")}
    left = run(host, LORA, {"diffusers_lora_file": {"url": "http://HOST/lora"}, "config_file": config})
    assert left.outcome.succeeded, left.outcome.message
    assert left.stored["model.safetensors"] == WEIGHTS
    assert json.loads(left.stored["config.json"])["provider"] is None
    assert noted in " ".join(left.facts["notes"])


@pytest.mark.parametrize("name", ["diffusers_lora_file", "lora_file"])
def test_a_configuration_with_odd_characters(host: Host, name: str) -> None:
    host.replies |= {"lora": (200, {}, WEIGHTS), "config": (200, {}, b'{"a": "\\ud800", "b": NaN, "c": 1e999}')}
    left = run(host, LORA, {name: "http://HOST/lora", "config_file": {"url": "http://HOST/config"}})
    provider = json.loads(left.stored["config.json"])["provider"]
    assert provider == {"a": "\N{REPLACEMENT CHARACTER}", "b": None, "c": None}


# --- mutants -------------------------------------------------------------------------------------------------------

MUTANTS = int(os.environ.get("CONTENTGEN_MUTANTS", "150"))


@pytest.mark.parametrize("kind", Kind)
def test_broken_answers(kind: Kind) -> None:
    """A sample; `make rehearse` runs thousands."""
    assert hostile.campaign(MUTANTS, 7, (kind,)) == []


def _trusting(self: answers.SideFacts, _name: str, value: object, _parse: object) -> object:
    return value


PLANTED: dict[str, tuple[Kind, Any, str, Any]] = {
    "a seed as it is": (IMAGES, answers.SideFacts, "read", _trusting),
    "a picture less": (IMAGES, images, "_url", lambda item: item["url"]),
    "characters as they are": (SPEECH, answers, "_clean", lambda value: value),
    "times as they are": (SPEECH, answers, "milliseconds", lambda value: value),
}


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED)
def test_mutants_find_planted_faults(planted: tuple[Kind, Any, str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    kind, place, name, fault = planted
    monkeypatch.setattr(place, name, fault)
    assert hostile.campaign(1_500, 7, (kind,), stop=True)
