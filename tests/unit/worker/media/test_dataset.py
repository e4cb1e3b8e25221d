"""Files of a training set: dataset.json, and the contact sheet."""

import io
import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from contentgen_worker.files import Output
from contentgen_worker.media.dataset.contact_sheet import Cell, LeftOut, contact_sheet, format_time, picture_width
from contentgen_worker.media.dataset.dataset import Heading, Judged, build, bundle, make_index, make_preview
from contentgen_worker.media.dataset.lettering import shorten, width, wrap
from contentgen_worker.media.dataset.rejected_pictures import arrange, bounds
from contentgen_worker.media.select.choose import PictureCandidate, PictureVerdict, Rejection
from contentgen_worker.media.select.faces import FaceBox
from contentgen_worker.media.select.quality import Scores
from contentgen_worker.media.shots.shots import Shot

SCORES = Scores(
    luma=110.04, contrast=50.0, sharpness=123.45, fingerprint=0xAB, faces=(FaceBox(0.4, 0.2, 0.2, 0.41234),)
)


def picture(number: int) -> np.ndarray:
    cells = np.random.default_rng(number).integers(60, 235, (4, 6, 3), dtype=np.uint8)
    return cv2.resize(cells, (320, 180), interpolation=cv2.INTER_CUBIC)


def candidate(folder: Path, number: int, scores: Scores = SCORES) -> PictureCandidate:
    path = folder / f"taken-{number}.jpg"
    path.write_bytes(simplejpeg.encode_jpeg(picture(number), 92))
    return PictureCandidate(number + 1, 10.0 * number, path, 320, 180, scores, motion=1.5)


@pytest.fixture
def judged(tmp_path: Path) -> Judged:
    verdicts = (
        PictureVerdict(kept=True),
        PictureVerdict(False, Rejection.BLURRED, 5.06789, 12.0),
        PictureVerdict(True, Rejection.TOO_DARK, 15.0, 18.0),
        PictureVerdict(False, Rejection.DUPLICATE, 3, 6, like=0),
        PictureVerdict(kept=True),
    )
    return Judged(tuple(candidate(tmp_path, number) for number in range(5)), verdicts)


SHOTS = tuple(Shot(number, 10.0 * (number - 1), 10.0 * number) for number in range(1, 6))
HEADING = Heading("avatar", ["one", "two"])
CAPTIONS = ("a photo of jf", "a photo of jf, dark", "jf, äöü")


def test_kept_files(judged: Judged) -> None:
    assert [each.seconds for each in judged.kept] == [0.0, 20.0, 40.0]
    assert judged.rejected == {"Blurred": 1, "Duplicate": 1}
    assert judged.last_resort == 1


def test_the_index_tells_everything(judged: Judged) -> None:
    index = json.loads(make_index(judged, SHOTS, CAPTIONS))
    assert [image["file"] for image in index["images"]] == ["images/0001.jpg", "images/0002.jpg", "images/0003.jpg"]
    assert [image["caption"] for image in index["images"]] == list(CAPTIONS)
    first = index["images"][0]
    expected = {
        "width": 320, "height": 180, "seconds": 0.0, "shot": 1, "hash": "00000000000000ab", "luma": 110.0,
        "sharpness": 123.5, "motion": 1.5,
    }  # fmt: skip
    assert expected.items() <= {key: value for key, value in first.items() if key != "faces"}.items()
    assert first["faces"] == [{"left": 0.4, "top": 0.2, "width": 0.2, "height": 0.412}]
    assert "lastResort" not in first
    assert index["images"][1]["lastResort"] == {"reason": "TooDark", "figure": 15.0, "limit": 18.0}
    blurred, duplicate = index["rejected"]
    assert (blurred["reason"], blurred["figure"], blurred["limit"]) == ("Blurred", 5.068, 12.0)
    assert (duplicate["reason"], duplicate["figure"], duplicate["likeSeconds"]) == ("Duplicate", 3, 0.0)
    assert (duplicate["seconds"], duplicate["shot"]) == (30.0, 4)
    assert (blurred["tile"], duplicate["tile"]["left"]) == ({"left": 0, "top": 0, "width": 256, "height": 144}, 256)
    assert index["rejectedPictures"] == {"width": 512, "height": 144}
    assert index["shots"][1] == {"number": 2, "start": 10.0, "end": 20.0}


def test_all_files_are_made(judged: Judged, tmp_path: Path) -> None:
    outputs = {entry.name: entry for entry in made(judged, tmp_path)}
    numbers = ("0001", "0002", "0003")
    assert set(outputs) == {"dataset.json", "dataset.zip", "preview.jpg", "rejected.jpg"} | {
        name for number in numbers for name in (f"images/{number}.jpg", f"captions/{number}.txt")
    }
    assert content(outputs["captions/0003.txt"]).decode() == CAPTIONS[2]
    assert content(outputs["images/0002.jpg"]) == (tmp_path / "taken-2.jpg").read_bytes()
    with zipfile.ZipFile(io.BytesIO(content(outputs["dataset.zip"]))) as archive:
        assert archive.namelist() == [f"{number}.{kind}" for number in numbers for kind in ("jpg", "txt")]
        assert archive.read("0003.txt").decode() == CAPTIONS[2]
    again = {entry.name: entry for entry in made(judged, tmp_path)}
    assert {name: each.sha256 for name, each in again.items()} == {
        name: output.sha256 for name, output in outputs.items()
    }


def test_rejected_pictures_are_at_their_places(judged: Judged, tmp_path: Path) -> None:
    (sheet,) = [entry for entry in made(judged, tmp_path) if entry.name == "rejected.jpg"]
    stored = Image.open(io.BytesIO(content(sheet)))
    index = json.loads(make_index(judged, SHOTS, CAPTIONS))
    assert {"width": stored.width, "height": stored.height} == index["rejectedPictures"]
    paths = [pair.path for pair, verdict in judged.pairs() if not verdict.kept]
    for path, entry in zip(paths, index["rejected"], strict=True):
        place = entry["tile"]
        found = stored.crop(
            (place["left"], place["top"], place["left"] + place["width"], place["top"] + place["height"])
        )
        truth = Image.open(path).convert("RGB").resize(found.size)
        assert np.abs(np.asarray(found, np.int16) - np.asarray(truth, np.int16)).mean() < 6
    alone = Judged(judged.candidates[:1], judged.verdicts[:1])
    assert "rejectedPictures" not in json.loads(make_index(alone, SHOTS, CAPTIONS[:1]))
    assert [each.name for each in bundle(alone, CAPTIONS[:1], HEADING, tmp_path)] == ["dataset.zip", "preview.jpg"]


def test_a_sample_of_the_rejected_pictures_has_bounds(judged: Judged) -> None:
    """Portraits, panoramas and small pictures are scaled to 256 by 384 pixels at most; 60 pictures at most."""
    tiles = arrange([(1000, 1000), (100, 3000), (3000, 1), (20, 10), (1, 1), (1080, 1920), (1920, 1080)])
    assert [(tile.width, tile.height) for tile in tiles] == [
        (256, 256), (13, 384), (256, 1), (20, 10), (1, 1), (216, 384), (256, 144)
    ]  # fmt: skip
    assert [(tile.left, tile.top) for tile in tiles] == [*((256 * n, 0) for n in range(6)), (0, 384)]
    many = Judged(judged.candidates[3:4] * 500, judged.verdicts[3:4] * 500)
    assert not many.verdicts[0].kept
    assert len(many.sampled_rejections()) == 60
    assert bounds(many.sampled_rejections().values()) == (6 * 256, 10 * 144)


def test_a_caption_too_few_is_an_error(judged: Judged, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shorter"):
        build(judged, SHOTS, CAPTIONS[:2])


def made(judged: Judged, folder: Path) -> tuple[Output, ...]:
    return (*build(judged, SHOTS, CAPTIONS), *bundle(judged, CAPTIONS, HEADING, folder))


def content(output: Output) -> bytes:
    return output.content if isinstance(output.content, bytes) else output.content.read_bytes()


# --- the sheet -----------------------------------------------------------------------------------------------------


def region(sheet: Image.Image, box: tuple[int, int, int, int]) -> np.ndarray:
    return np.asarray(sheet.crop(box).convert("RGB"), np.int16)


def test_contact_sheet_has_chosen_in_colour_and_others_in_grey(judged: Judged) -> None:
    sheet = make_preview(judged, CAPTIONS, "avatar", ["one", "two"])
    side = picture_width(3)
    height = side * 180 // 320
    first = region(sheet, (48, 174, 48 + side, 174 + height))
    truth = np.asarray(Image.fromarray(picture(0)).resize((side, height)), np.int16)
    assert np.abs(first - truth).mean() < 6
    bottom = region(sheet, (48, sheet.height - 150, 48 + 100, sheet.height - 100))
    assert np.ptp(bottom, axis=2).max() <= 8, "grey"
    assert bottom.mean() > 40, "and not empty"
    alone = make_preview(Judged(judged.candidates[:1], judged.verdicts[:1]), CAPTIONS[:1], "avatar", [])
    assert alone.height < sheet.height, "nothing was left out, so nothing is below"


def marks(judged: Judged) -> int:
    """Number of pixels in the badge's colour."""
    sheet = np.asarray(make_preview(judged, CAPTIONS, "avatar", []), np.int16)
    return int((np.abs(sheet - np.array((0xE0, 0xA4, 0x58))).max(axis=2) <= 2).sum())


def test_a_last_resort_is_marked(judged: Judged) -> None:
    usual = Judged(
        judged.candidates, tuple(PictureVerdict(kept=True) if verdict.kept else verdict for verdict in judged.verdicts)
    )
    assert marks(judged) > marks(usual) + 500


@pytest.mark.parametrize("count", [0, 1, 8, 9, 60, 150, 1000])
def test_a_sheet_shows_the_whole_set(count: int) -> None:
    cells = [Cell(Image.new("RGB", (32, 18), (200, 30, 30)), f"{number}") for number in range(count)]
    sheet = contact_sheet("a name " * 40, ["one", "two"], cells, LeftOut("none", [Cell(Image.new("RGB", (9, 9)), "x")]))
    red = np.asarray(sheet, np.int16)
    shown = int(((red[..., 0] > 190) & (red[..., 1] < 40)).sum())
    one = picture_width(count) * round(picture_width(count) * 18 / 32)
    assert shown == pytest.approx(count * one, rel=0.06)
    assert sheet.width == 1680


def test_texts_fit() -> None:
    long = "a photo of somebody who stands before a house in the evening and looks at it " * 3
    for size in (11, 15, 38):
        assert width(shorten(long, size, 200), size) <= 200
        assert shorten(long, size, 200).endswith("...")
        lines = wrap(long, size, 300)
        assert len(lines) == 2
        assert all(width(line, size) <= 300 for line in lines)
    assert shorten("short", 15, 200) == "short"
    assert shorten("", 15, 10) == ""
    assert shorten("W" * 400, 15, 90).endswith("W...")
    assert wrap("", 15, 90) == []


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00.0"), (61.25, "1:01.2"), (3725.99, "1:02:05.9")])
def test_clock(seconds: float, text: str) -> None:
    assert format_time(seconds) == text
