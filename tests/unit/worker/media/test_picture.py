"""Training pictures: size, colours, orientation, crop and quality figures."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pytest
import simplejpeg
from av.video.reformatter import ColorPrimaries, ColorRange, ColorTrc
from PIL import Image, ImageDraw, ImageFont

from contentgen_contract.resources.spec import Crop, Dataset
from contentgen_worker.errors import Unsupported
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.decode.decode import WHOLE, frames
from contentgen_worker.media.decode.planes import Aperture, Plane, Shape
from contentgen_worker.media.decode.probe import open_media
from contentgen_worker.media.select import quality
from contentgen_worker.media.select.borders import BorderBar, BorderFinder, Borders, picture_area
from contentgen_worker.media.select.faces import FaceBox, FaceSettings, HaarFaces
from contentgen_worker.media.select.hashes import perceptual_hash
from contentgen_worker.media.select.picture import Orientation, PictureSettings, encode_picture

WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
LIMITED, FULL = int(ColorRange.MPEG), int(ColorRange.JPEG)
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (120, 120, 120), (200, 120, 80)]
PQ = int(ColorTrc.SMPTE2084)


def photo(seed: int = 0, size: tuple[int, int] = (320, 180)) -> np.ndarray:
    """Picture with large and small details: height x width x RGB."""
    random = np.random.default_rng(seed)
    large = cv2.resize(random.integers(20, 235, (6, 9, 3), dtype=np.uint8), size, interpolation=cv2.INTER_CUBIC)
    return cv2.add(large, cv2.resize(random.integers(0, 20, (90, 160, 3), dtype=np.uint8), size))


def bars(size: tuple[int, int] = (448, 128)) -> np.ndarray:
    return np.repeat(np.repeat(np.array([COLOURS], np.uint8), size[0] // 7, axis=1), size[1], axis=0)


def to_ycc(rgb: np.ndarray, weights: tuple[float, float]) -> np.ndarray:
    """Full-range planes by H.273: height x width x (Y, Cb, Cr), 0-255."""
    red, blue = weights
    r, g, b = (rgb[..., index] / 255 for index in range(3))
    y = red * r + (1 - red - blue) * g + blue * b
    return np.stack([y, (b - y) / (2 - 2 * blue) + 128 / 255, (r - y) / (2 - 2 * red) + 128 / 255], axis=-1) * 255


def frame(rgb: np.ndarray, matrix: int = 1, full: bool = False, bits: int = 8, **tags: int) -> av.VideoFrame:
    """A yuv420p frame made with H.273's formulas alone."""
    y, cb, cr = np.moveaxis(to_ycc(rgb.astype(float), WEIGHTS[matrix]), -1, 0)
    if not full:
        y, cb, cr = 16 + y * 219 / 255, *(128 + (plane - 128) * 224 / 255 for plane in (cb, cr))
    made = av.VideoFrame(rgb.shape[1], rgb.shape[0], "yuv420p" if bits == 8 else "yuv420p10le")
    for plane, values in zip(made.planes, (y, cb, cr), strict=True):
        small = cv2.resize(values, (plane.width, plane.height), interpolation=cv2.INTER_AREA)
        kind = np.uint8 if bits == 8 else np.uint16
        lines = np.zeros((plane.height, plane.line_size // np.dtype(kind).itemsize), kind)
        lines[:, : plane.width] = np.clip(np.round(small * 2 ** (bits - 8)), 0, 2**bits - 1)
        plane.update(lines.tobytes())
    made.colorspace, made.color_range = matrix, FULL if full else LIMITED
    for name, value in tags.items():
        setattr(made, name, value)
    return made


def shown(jpeg: bytes) -> np.ndarray:
    return simplejpeg.decode_jpeg(jpeg, "RGB").astype(int)


def middles(pixels: np.ndarray) -> np.ndarray:
    """The colour in the middle of each bar."""
    columns = [int((index + 0.5) * pixels.shape[1] / 7) for index in range(7)]
    return pixels[pixels.shape[0] // 2, columns]


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [1, 5, 6, 9])
def test_colours_are_those_of_the_video(matrix: int, full: bool, bits: int) -> None:
    image = frame(bars(), matrix, full, bits)
    image.color_primaries = ColorPrimaries.BT709  # not stated, those of BT.2020 are assumed for its matrix
    result = encode_picture(image, None, PictureSettings())
    assert np.abs(middles(shown(result.jpeg)) - np.array(COLOURS)).max() <= 7


@pytest.mark.parametrize("name", ["rgb24", "bgr24", "gbrp", "yuv444p", "yuv422p", "nv12", "rgba", "yuvj420p", "gray"])
def test_every_pixel_format(name: str) -> None:
    made = av.VideoFrame.from_ndarray(bars(), format="rgb24").reformat(
        format=name, dst_colorspace="ITU601", dst_color_range=FULL if name == "yuvj420p" else LIMITED
    )
    made.colorspace = 0 if made.format.is_rgb else 5
    if name == "yuvj420p":
        made.color_range = 0  # its name says it
    found = middles(shown(encode_picture(made, None, PictureSettings()).jpeg))
    truth = np.array(COLOURS)
    if name == "gray":
        truth = np.round(truth @ [0.299, 0.587, 0.114])[:, None].repeat(3, axis=1)
    assert np.abs(found - truth).max() <= 9


def test_unlabelled_video_is_read_as_players_do() -> None:
    """BT.709 from 720 lines on, BT.601 below."""
    for size, matrix in (((1281, 720), 1), ((448, 128), 5)):
        made = frame(bars((size[0] // 7 * 7, size[1])), matrix)
        made.colorspace = 2
        found = middles(shown(encode_picture(made, None, PictureSettings()).jpeg))
        assert np.abs(found - np.array(COLOURS)).max() <= 7


@pytest.mark.parametrize("pixels", ["rgba", "yuva420p", "yuva444p10le", "yuva444p12le"])
@pytest.mark.parametrize("alpha", [255, 128, 0])
def test_transparent_parts_are_black(pixels: str, alpha: int) -> None:
    rgba = np.dstack([bars(), np.full(bars().shape[:2], alpha, np.uint8)])
    made = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgba), format="rgba").reformat(
        format=pixels, dst_colorspace="ITU601", dst_color_range=LIMITED
    )
    result = encode_picture(made, None, PictureSettings())
    assert result.transparent == (alpha < 255)
    assert np.abs(middles(shown(result.jpeg)) - np.array(COLOURS) * alpha / 255).max() <= 9


def test_hdr_is_toned_down() -> None:
    """Reference white (203 cd/m2 in PQ, BT.2408) is nearly white, and brighter levels stay distinct."""
    levels = [0.0, 0.1, 0.3, 0.58, 0.7, 0.8, 0.95]  # of the signal; 0.58 is 203 cd/m2
    rgb = np.repeat(np.repeat(np.array([levels]) * 255, 64, axis=1), 128, axis=0)[..., None].repeat(3, axis=2)
    made = frame(rgb, 9, bits=10, color_trc=PQ, color_primaries=int(ColorPrimaries.BT2020))
    grey = middles(shown(encode_picture(made, None, PictureSettings()).jpeg))
    assert np.ptp(grey, axis=1).max() <= 3, "grey stays grey"
    tones = grey.mean(axis=1)
    assert (np.diff(tones) > 0).all()
    assert tones[0] <= 2
    assert 215 <= tones[3] <= 250
    assert tones[2] == pytest.approx(62, abs=4), "9.9 cd/m2 are 0.049 of white"


@pytest.mark.parametrize(
    ("size", "settings", "aspect", "expected"),
    [
        ((320, 180), {}, 1.0, (320, 180)),
        ((320, 180), {"longest_side": 160}, 1.0, (160, 90)),
        ((180, 320), {"longest_side": 160}, 1.0, (90, 160)),
        ((320, 180), {}, 2.0, (320, 90)),
        ((320, 180), {}, 0.5, (160, 180)),
        ((1920, 1080), {"longest_side": 1024}, 1.0, (1024, 576)),
        ((1920, 1080), {"longest_side": 1000, "multiple_of": 64}, 1.0, (960, 512)),
        ((320, 180), {"multiple_of": 64}, 1.0, (320, 128)),
        ((321, 181), {}, 1.0, (320, 180)),
        ((320, 180), {"crop": Crop.SQUARE}, 1.0, (180, 180)),
        ((1920, 1080), {"crop": Crop.SQUARE, "longest_side": 512, "multiple_of": 64}, 1.0, (512, 512)),
        ((720, 576), {"longest_side": 1024}, 64 / 45, (720, 404)),
    ],
)
def test_sizes(size: tuple[int, int], settings: dict[str, Any], aspect: float, expected: tuple[int, int]) -> None:
    result = encode_picture(frame(photo(1, size)), None, PictureSettings(**settings), aspect=aspect)
    assert (result.width, result.height) == expected
    assert shown(result.jpeg).shape == (expected[1], expected[0], 3)


def test_a_frame_too_small_for_its_multiples() -> None:
    with pytest.raises(Unsupported, match=r"100x60 .* spec\.dataset\.multipleOf \(128\)"):
        encode_picture(frame(photo(1, (100, 60))), None, PictureSettings(multiple_of=128))


def test_a_picture_is_its_frame() -> None:
    rgb = photo(2, (1280, 720))
    result = encode_picture(frame(rgb), None, PictureSettings())
    truth = cv2.resize(rgb, (1024, 576), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(shown(result.jpeg) - truth).mean() < 3


def marked() -> np.ndarray:
    """Red in the upper left corner, green in the upper right, blue in the lower left."""
    rgb = np.full((120, 200, 3), 90, np.uint8)
    rgb[:60, :100], rgb[:60, 100:], rgb[60:, :100] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    return rgb


@pytest.mark.parametrize(
    ("numbers", "shape", "corners"),
    [
        ((1, 0, 0, 1), (120, 200), "rgb "),
        ((0, 1, -1, 0), (200, 120), "br g"),  # a quarter clockwise
        ((-1, 0, 0, -1), (120, 200), " bgr"),
        ((0, -1, 1, 0), (200, 120), "g rb"),
        ((-1, 0, 0, 1), (120, 200), "gr b"),  # mirrored across
        ((1, 0, 0, -1), (120, 200), "b rg"),
        ((0, 1, 1, 0), (200, 120), "rbg "),
        ((0, -1, -1, 0), (200, 120), " gbr"),
    ],
)
def test_all_ways_to_turn_a_frame(numbers: tuple[int, ...], shape: tuple[int, int], corners: str) -> None:
    a, b, c, d = (number * 0x10000 for number in numbers)
    matrix = np.array([a, b, 0, c, d, 0, 0, 0, 0x40000000], np.int32).tobytes()
    stub: Any = SimpleNamespace(side_data={"DISPLAYMATRIX": matrix})
    seen = (
        Orientation.from_frame(stub).oriented(marked()[..., 0]),
        *(Orientation.from_frame(stub).oriented(marked()[..., number]) for number in (1, 2)),
    )
    assert seen[0].shape == shape
    found = ""
    for row, column in ((10, 10), (10, -10), (-10, 10), (-10, -10)):
        values = [int(plane[row, column]) for plane in seen]
        found += "rgb"[int(np.argmax(values))] if max(values) > 200 else " "
    assert found == corners


def turned(path: Path, rgb: np.ndarray, numbers: tuple[int, int, int, int] = (0, 1, -1, 0)) -> Path:
    """Video with a display matrix; default: rotated by 90 degrees clockwise."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12, options={"preset": "ultrafast", "crf": "10"})
        stream.width, stream.height, stream.pix_fmt = rgb.shape[1], rgb.shape[0], "yuv420p"
        stream.sample_aspect_ratio = Fraction(1, 2)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 4 + 20 + 16  # version 0: 36 bytes of fixed-point matrix
    a, b, c, d = ((number * 0x10000).to_bytes(4, "big", signed=True) for number in numbers)
    content[at : at + 36] = a + b + bytes(4) + c + d + bytes(12) + (0x40000000).to_bytes(4, "big")
    path.write_bytes(content)
    return path


def test_a_turned_and_squeezed_video_gives_upright_pictures(tmp_path: Path) -> None:
    path = turned(tmp_path / "a.mp4", marked())
    with open_media(path) as container:
        frame = next(frames(container, WHOLE, MediaLimits(10**7, 60)))
        result = encode_picture(frame.image, None, PictureSettings(), aspect=frame.aspect)
    assert frame.aspect == 0.5
    assert (result.width, result.height) == (120, 100)
    pixels = shown(result.jpeg)
    assert [int(np.argmax(pixels[row, column])) for row, column in ((20, 20), (20, 100), (80, 100))] == [2, 0, 1]


def interlaced(shift: int = 12) -> np.ndarray:
    """Interlaced frame of a pan: two moments in alternate lines."""
    wide = photo(3, (700, 360))
    rgb = wide[:, :640].copy()
    rgb[1::2] = wide[1::2, shift : 640 + shift]
    return rgb


def test_interlaced_frames_are_made_of_one_field() -> None:
    result = encode_picture(frame(interlaced()), None, PictureSettings())
    assert result.scores.interlaced > 0.1
    assert (result.width, result.height) == (640, 360)
    pixels = shown(result.jpeg)
    still = photo(3, (700, 360))[:, :640].astype(int)
    assert np.abs(pixels - still).mean() < 6
    assert quality.combed(pixels[..., 1].astype(np.uint8)) == 0


def test_still_parts_keep_both_fields() -> None:
    rgb = interlaced()
    still = photo(3, (700, 360))[:, :640]
    still[np.arange(360) // 2 % 2 == 0, :200] //= 2
    rgb[:, :200] = still[:, :200]
    pixels = shown(encode_picture(frame(rgb), None, PictureSettings()).jpeg)
    assert np.abs(pixels[:, :160] - still[:, :160].astype(int)).mean() < 6
    assert quality.combed(pixels[:, 320:, 1].astype(np.uint8)) == 0


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p10le"])
def test_small_planes_of_an_interlaced_frame_are_of_one_moment(pixels: str) -> None:
    shape = Shape.for_frame(640, 360)
    woven, still = frame(interlaced()), frame(photo(3, (700, 360))[:, :640])
    flagged: Any = Flagged(woven.reformat(format=pixels))
    moment: Any = Flagged(still.reformat(format=pixels))
    assert np.abs(np.subtract(shape.shrink(flagged).y, shape.shrink(moment).y, dtype=int)).mean() < 1
    flagged.interlaced_frame = moment.interlaced_frame = False
    assert np.abs(np.subtract(shape.shrink(flagged).y, shape.shrink(moment).y, dtype=int)).mean() > 3


class Flagged:
    """Frame that its decoder calls interlaced."""

    interlaced_frame = True

    def __init__(self, image: av.VideoFrame) -> None:
        self._image = image

    def __getattr__(self, name: str) -> Any:
        return getattr(self._image, name)


@pytest.mark.parametrize("kind", ["still", "grain", "noise"])
def test_progressive_frames_are_left_whole(kind: str) -> None:
    random = np.random.default_rng(5)
    rgb = photo(3, (640, 360))
    if kind == "grain":
        rgb = np.clip(rgb + random.normal(0, 12, rgb.shape), 0, 255).astype(np.uint8)
    if kind == "noise":
        rgb = random.integers(0, 255, rgb.shape, dtype=np.uint8)
    assert encode_picture(frame(rgb), None, PictureSettings()).scores.interlaced == 0


# --- borders -------------------------------------------------------------------------------------------------------


def boxed(rgb: np.ndarray, top: int, side: int = 0, noise: int = 3) -> np.ndarray:
    """Letterbox and pillarbox with the noise of an encoder."""
    random = np.random.default_rng(int(rgb[0, 0, 0]))
    made = random.integers(0, noise + 1, rgb.shape, dtype=np.uint8)
    rows, columns = slice(top, rgb.shape[0] - top), slice(side, rgb.shape[1] - side)
    made[rows, columns] = rgb[rows, columns]
    return made


def decoded_luma(rgb: np.ndarray) -> Plane:
    y = 16 + to_ycc(rgb.astype(float), WEIGHTS[1])[..., 0] * 219 / 255
    return y.astype(np.uint8)


def borders_of(luma: Iterable[Plane]) -> Borders | None:
    finder = BorderFinder()
    for seconds, y in enumerate(luma):
        finder.push(seconds, y)
    return finder.found(0)


def test_letterbox_and_pillarbox_are_found_and_cropped() -> None:
    for top, side in ((92, 0), (0, 160), (60, 120)):
        video = [boxed(photo(seed, (1280, 720)), top, side) for seed in range(6)]
        found = borders_of(decoded_luma(each) for each in video)
        assert found is not None
        assert found.top.share == pytest.approx(top / 720, abs=0.01)
        assert found.right.share == pytest.approx(side / 1280, abs=0.01)
        result = encode_picture(frame(video[0]), found, PictureSettings(longest_side=2048))
        assert result.width == pytest.approx(1280 - 2 * side, abs=10)
        assert result.height == pytest.approx(720 - 2 * top, abs=6)
        assert result.height <= 720 - 2 * top
        assert result.scores.border == 0


def test_dark_scenes_have_no_say_in_borders() -> None:
    bright = [boxed(photo(seed, (1280, 720)), 92) for seed in range(4)]
    night = [(each * 0.06).astype(np.uint8) for each in bright]
    planes = [decoded_luma(each) for each in night * 5 + bright]
    found = borders_of(planes)
    assert found is not None
    assert found.top.share == pytest.approx(92 / 720, abs=0.01)
    assert borders_of(decoded_luma(each) for each in night) is None
    spot = np.zeros((720, 1280, 3), np.uint8)
    cv2.circle(spot, (640, 360), 60, (40, 40, 40), -1)
    assert borders_of([decoded_luma(spot)] * 9) is None, "a spot in the dark"


def test_subtitles_in_a_border_do_not_keep_it() -> None:
    video = [boxed(photo(seed, (1280, 720)), 92) for seed in range(20)]
    cv2.putText(video[3], "I'll be back", (500, 690), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (255, 255, 255), 3)
    found = borders_of(decoded_luma(each) for each in video)
    assert found is not None
    assert found.bottom.share == pytest.approx(92 / 720, abs=0.01)
    assert encode_picture(frame(video[3]), found, PictureSettings(longest_side=2048)).height <= 536


def test_a_frame_with_a_picture_in_the_border_keeps_it() -> None:
    """Film that changes its aspect ratio."""
    result = encode_picture(
        frame(photo(1, (1280, 720))),
        Borders(top=BorderBar(0.125), bottom=BorderBar(0.125)),
        PictureSettings(longest_side=2048),
    )
    assert (result.width, result.height) == (1280, 720)


def test_a_video_without_borders() -> None:
    assert borders_of(decoded_luma(photo(seed, (1280, 720))) for seed in range(6)) is None
    assert borders_of([]) is None


def test_borders_of_a_turned_video(tmp_path: Path) -> None:
    path = turned(tmp_path / "a.mp4", boxed(np.full((120, 200, 3), 200, np.uint8), 20))
    with open_media(path) as container:
        image = next(frames(container, WHOLE, MediaLimits(10**7, 60))).image
    result = encode_picture(image, Borders(top=BorderBar(1 / 6), bottom=BorderBar(1 / 6)), PictureSettings())
    assert result.height == 200
    assert 74 <= result.width <= 80


def test_a_border_on_one_side_of_a_video_upside_down(tmp_path: Path) -> None:
    rgb = photo(1, (320, 180))
    rgb[:30] = 0
    with open_media(turned(tmp_path / "a.mp4", rgb, (-1, 0, 0, -1))) as container:
        image = next(frames(container, WHOLE, MediaLimits(10**7, 60))).image
    result = encode_picture(image, Borders(top=BorderBar(1 / 6)), PictureSettings())
    assert 146 <= result.height <= 150
    assert np.abs(shown(result.jpeg)[-5:]).mean() > 20, "what is left is picture"
    assert result.scores.border == 0


WHITE, GREY = 235, 128


@pytest.mark.parametrize(
    ("bars", "levels", "expected"),
    [
        ((0, 60, 0, 60), (WHITE, WHITE), (0, 61, 640, 299)),
        ((100, 0, 40, 0), (GREY, GREY), (101, 0, 599, 360)),
        ((80, 40, 80, 40), (WHITE, WHITE), (81, 41, 559, 319)),
        ((80, 0, 80, 0), (WHITE, GREY), (0, 0, 640, 360)),  # of two levels
        ((80, 0, 0, 0), (WHITE, WHITE), (0, 0, 640, 360)),  # at one side
        ((300, 0, 300, 0), (WHITE, WHITE), (0, 0, 640, 360)),  # too wide
    ],
)
@pytest.mark.parametrize("moves", [True, False])
def test_bars_of_another_colour(
    bars: tuple[int, int, int, int], levels: tuple[int, int], expected: tuple[int, int, int, int], moves: bool
) -> None:
    """They are found once the picture between them has changed."""
    left, top, right, bottom = bars
    video = [decoded_luma(photo(seed if moves else 3, (640, 360))) for seed in range(8)]
    for y in video:
        y[:top] = y[:, :left] = levels[0]
        y[360 - bottom :] = y[:, 640 - right :] = levels[1]
    assert picture_area(video[0], borders_of(video)) == (expected if moves else (0, 0, 640, 360))


def test_area_outside_an_aperture_is_in_no_picture() -> None:
    rgb = np.full((200, 360, 3), (0, 255, 0), np.uint8)
    rgb[10:190, 8:328] = boxed(photo(2), 20)
    aperture = Aperture((360, 200), 8, 10, 328, 190)
    small = Shape.for_frame(360, 200, aperture).shrink(frame(rgb))
    alone = Shape.for_frame(320, 180).shrink(frame(rgb[10:190, 8:328]))
    assert np.abs(np.subtract(small.whole, alone.whole, dtype=int)).mean() < 1
    borders = Borders(top=BorderBar(1 / 9), bottom=BorderBar(1 / 9))
    result = encode_picture(frame(rgb), borders, PictureSettings(), aperture=aperture)
    assert (result.width, result.height) == (320, 138)
    assert np.abs(shown(result.jpeg) - photo(2)[21:159]).mean() < 4


def test_fade_to_black_is_no_border() -> None:
    ramp = np.clip(np.abs(np.linspace(-1, 1, 720)) * -1.6 + 1.3, 0, 1)[:, None, None]
    video = [(photo(seed, (1280, 720)) * ramp).astype(np.uint8) for seed in range(6)]
    assert borders_of(decoded_luma(each) for each in video) is None
    assert encode_picture(frame(video[0]), None, PictureSettings()).scores.border == 0


def test_borders_that_are_left_are_measured() -> None:
    made = encode_picture(frame(boxed(photo(1, (640, 360)), 45)), None, PictureSettings())
    assert made.scores.border == pytest.approx(0.25, abs=0.02)
    assert encode_picture(frame(photo(1)), None, PictureSettings()).scores.border == 0


# --- figures -------------------------------------------------------------------------------------------------------


def luma_of(rgb: np.ndarray) -> Plane:
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)


def test_figures_of_a_picture() -> None:
    scores = encode_picture(frame(photo(1, (640, 360))), None, PictureSettings()).scores
    gray = luma_of(photo(1, (640, 360)))
    assert scores.luma == pytest.approx(gray.mean(), abs=2)
    assert scores.contrast == pytest.approx(gray.std(), abs=2)
    assert scores.chroma == pytest.approx(
        [to_ycc(photo(1, (640, 360)) / 1.0, WEIGHTS[5])[..., number].mean() for number in (1, 2)], abs=1
    )
    assert scores.dark == pytest.approx((gray <= 4).mean(), abs=0.01)
    assert quality.measure(np.full((180, 320), 255, np.uint8)).bright == 1
    assert quality.measure(np.zeros((180, 320), np.uint8)).dark == 1


def test_blur_lowers_sharpness() -> None:
    gray = luma_of(photo(1, (1280, 720)))
    steps = [quality.sharpness(cv2.GaussianBlur(gray, (0, 0), sigma)) for sigma in (0.5, 1, 2, 4)]
    assert steps == sorted(steps, reverse=True)
    assert quality.sharpness(gray) == pytest.approx(cv2.Laplacian(gray, cv2.CV_64F).var(), rel=1e-6)


def card(text: str, size: tuple[int, int] = (640, 360), ink: int = 250, ground: int = 6, letters: int = 34) -> Plane:
    image = Image.new("L", size, ground)
    ImageDraw.Draw(image).multiline_text(
        (size[0] / 2, size[1] / 2), text, ink, ImageFont.load_default(letters), anchor="mm", align="center"
    )
    return np.asarray(image, np.uint8)


@pytest.mark.parametrize(
    "picture",
    [
        card("THE END\nof the first part"),
        card("Chapter one\nIn which nothing happens", ink=10, ground=245),
        card("\n".join(f"Somebody    Person {number}" for number in range(12)), letters=20),
        card("Three weeks later", letters=60, ground=90),
    ],
)
def test_text_cards(picture: Plane) -> None:
    assert quality.measure(picture).card > 0.6


def headshot() -> Plane:
    """Person before a white wall."""
    image = np.full((360, 640), 240, np.uint8)
    cv2.ellipse(image, (320, 170), (70, 95), 0, 0, 360, 150, -1)
    cv2.ellipse(image, (320, 380), (160, 120), 0, 0, 360, 60, -1)
    for left in (295, 345):
        cv2.circle(image, (left, 155), 8, 40, -1)
    cv2.ellipse(image, (320, 215), (25, 8), 0, 0, 180, 90, 3)
    return image


def city_at_night() -> Plane:
    image = np.full((360, 640), 8, np.uint8)
    random = np.random.default_rng(1)
    for x, y, radius in zip(
        random.integers(0, 640, 60), random.integers(0, 360, 60), random.integers(1, 9, 60), strict=True
    ):
        cv2.circle(image, (int(x), int(y)), int(radius), 230, -1)
    return image


@pytest.mark.parametrize("picture", [headshot(), city_at_night(), luma_of(photo(1)), np.full((360, 640), 9, np.uint8)])
def test_pictures_that_are_no_text_cards(picture: Plane) -> None:
    assert quality.measure(picture).card < 0.5


def test_a_hash_is_of_what_is_seen() -> None:
    gray = luma_of(photo(1, (640, 360)))
    alike = [
        cv2.resize(gray, (320, 180), interpolation=cv2.INTER_AREA),
        cv2.convertScaleAbs(gray, alpha=0.9, beta=10),
        cv2.GaussianBlur(gray, (0, 0), 2),
        simplejpeg.decode_jpeg(simplejpeg.encode_jpeg(gray[..., None], 40, "GRAY"), "GRAY")[..., 0],
    ]
    others = [luma_of(photo(seed)) for seed in range(2, 40)]
    own = perceptual_hash(gray)
    assert max((own ^ perceptual_hash(each)).bit_count() for each in alike) <= 4
    assert min((own ^ perceptual_hash(each)).bit_count() for each in others) > 12
    assert 0 < own < 2**64


# --- faces ---------------------------------------------------------------------------------------------------------


def drawn_face(
    size: tuple[int, int] = (640, 360), centre: tuple[int, int] = (450, 170), height: int = 200
) -> np.ndarray:
    """Enough of a face for Haar features: dark eyes below a bright brow, a bright nose, a dark mouth."""
    image = np.full((size[1], size[0]), 110, np.uint8)
    x, y = centre
    unit = height / 200
    at = lambda dx, dy: (round(x + dx * unit), round(y + dy * unit))  # noqa: E731
    size_of = lambda a, b: (round(a * unit), round(b * unit))  # noqa: E731
    cv2.ellipse(image, at(0, -8), size_of(82, 108), 0, 0, 360, 50, -1)
    cv2.ellipse(image, at(0, 5), size_of(70, 95), 0, 0, 360, 200, -1)
    for side in (-1, 1):
        cv2.ellipse(image, at(30 * side, -22), size_of(19, 5), 0, 0, 360, 70, -1)
        cv2.ellipse(image, at(30 * side, -6), size_of(17, 9), 0, 0, 360, 120, -1)
        cv2.circle(image, at(30 * side, -6), round(8 * unit), 30, -1)
    cv2.ellipse(image, at(0, 20), size_of(10, 26), 0, 0, 360, 225, -1)
    cv2.ellipse(image, at(0, 42), size_of(16, 5), 0, 0, 360, 140, -1)
    cv2.ellipse(image, at(0, 66), size_of(28, 9), 0, 0, 360, 90, -1)
    return cv2.GaussianBlur(image, (0, 0), 2 * unit)[..., None].repeat(3, axis=2)


def test_opencv_finds_a_face() -> None:
    (face,) = HaarFaces().find(luma_of(drawn_face()), 0.15)
    assert face.centre == pytest.approx((450 / 640, 175 / 360), abs=0.06)
    assert 0.3 < face.height < 0.7
    assert HaarFaces().find(luma_of(drawn_face()), 0.8) == ()
    assert HaarFaces().find(luma_of(photo(1, (640, 360))), 0.15) == ()


class Told:
    """Detector with a fixed result."""

    def __init__(self, *faces: FaceBox) -> None:
        self.faces = faces

    def find(self, y: Plane, smallest: float) -> tuple[FaceBox, ...]:
        assert y.ndim == 2
        return tuple(face for face in self.faces if face.height >= smallest)


def test_a_square_around_the_face() -> None:
    settings = PictureSettings(crop=Crop.FACE, faces=FaceSettings(find=True))
    face = FaceBox(0.65, 0.3, 0.1, 0.25)
    result = encode_picture(frame(photo(1, (640, 360))), None, settings, detector=Told(face))
    assert (result.width, result.height) == (360, 360)
    assert result.scores.faces[0].centre == pytest.approx((0.5, 0.425), abs=0.01)
    truth = photo(1, (640, 360))[:, 268:628]
    assert np.abs(shown(result.jpeg) - truth).mean() < 6
    edge = encode_picture(frame(photo(1, (640, 360))), None, settings, detector=Told(FaceBox(0.9, 0.3, 0.1, 0.25)))
    assert np.abs(shown(edge.jpeg) - photo(1, (640, 360))[:, 280:]).mean() < 6
    nobody = encode_picture(frame(photo(1, (640, 360))), None, settings, detector=Told())
    assert np.abs(shown(nobody.jpeg) - photo(1, (640, 360))[:, 140:500]).mean() < 6


def test_a_face_that_is_cropped_away_is_not_in_the_picture() -> None:
    settings = PictureSettings(crop=Crop.SQUARE, faces=FaceSettings(find=True))
    result = encode_picture(
        frame(photo(1)), None, settings, detector=Told(FaceBox(0.0, 0.3, 0.1, 0.3), FaceBox(0.4, 0.3, 0.2, 0.3))
    )
    assert [face.width for face in result.scores.faces] == pytest.approx([0.2 * 320 / 180])


def test_pictures_follow_the_spec() -> None:
    assert PictureSettings.from_dataset(Dataset()) == PictureSettings()
    spec = {"resolution": 512, "multipleOf": 64, "crop": "Square", "faces": {"mode": "Prefer", "minSize": "0.3"}}
    expected = PictureSettings(512, 64, Crop.SQUARE, FaceSettings(find=True, smallest=0.3))
    assert PictureSettings.from_dataset(Dataset.model_validate(spec)) == expected
    for more in ({"crop": "Face"}, {"captions": {"facts": ["Framing"]}}):
        assert PictureSettings.from_dataset(Dataset.model_validate(more)).faces.find
