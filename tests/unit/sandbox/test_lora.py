"""Dataset validation of the simulated trainer, as at fal: readable images, captions instead of the trigger word."""

import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from contentgen_sandbox.fal.lora import LoraDataset, LoraRecipe, read_dataset, read_trigger, write
from contentgen_sandbox.jobs import ModelError


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(buffer, "PNG")
    return buffer.getvalue()


def archive(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "images.zip"
    with zipfile.ZipFile(path, "w") as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return path


def captioned(text: bytes, count: int = 4) -> dict[str, bytes]:
    pictures = {f"{index}.png": picture() for index in range(count)}
    return pictures | {f"{index}.txt": text for index in range(count)}


def test_captions_with_the_trigger_are_good(tmp_path: Path) -> None:
    assert read_dataset(archive(tmp_path, captioned(b"a photo of jf")), "jf") == LoraDataset(4, 4, ())


def test_captions_without_the_trigger_are_warned_about(tmp_path: Path) -> None:
    dataset = read_dataset(archive(tmp_path, captioned(b"a photo")), "jf")
    assert len(dataset.warnings) == 1
    assert "4 of 4 don't contain 'jf'" in dataset.warnings[0]


def test_missing_captions_are_warned_about(tmp_path: Path) -> None:
    files = captioned(b"jf")
    del files["3.txt"]
    assert "1 of 4 images have no caption" in read_dataset(archive(tmp_path, files), "jf").warnings[0]
    alone = {name: content for name, content in files.items() if name.endswith(".png")}
    assert "trigger word describes every image" in read_dataset(archive(tmp_path, alone), "jf").warnings[0]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (captioned(b"jf", 3), "At least 4 images"),
        (captioned(b"jf") | {"bad.jpg": b"no picture"}, "bad.jpg is no picture"),
        (captioned(b"jf") | {"cut.png": picture()[:40]}, "cut.png is no picture"),
        (captioned(b"jf", 3) | {"3_mask.png": picture(), "__MACOSX/4.png": picture()}, "the archive has 3"),
    ],
)
def test_a_bad_archive_is_the_models_error(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        read_dataset(archive(tmp_path, files), "jf")
    assert set(caught.value.detail[0]) == {"loc", "msg", "type"}


def test_something_that_is_no_zip(tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    path.write_bytes(b"<html>")
    with pytest.raises(ModelError, match="can't be read"):
        read_dataset(path, None)


def test_the_weights_are_a_safetensors_file(tmp_path: Path) -> None:
    weights, config = write(tmp_path, LoraRecipe("jf", 1000, is_style=False), LoraDataset(4, 4, ()), 7)
    assert read_trigger(weights) == "jf"
    with pytest.raises(ModelError, match="no safetensors file"):
        read_trigger(config)
