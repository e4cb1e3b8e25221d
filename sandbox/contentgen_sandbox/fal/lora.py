"""LoRA training: validate the dataset like the trainer and write a small valid `.safetensors` file."""

import json
import stat
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from contentgen_sandbox.jobs import ModelError

MIN_IMAGES = 4
MAX_ENTRIES = 5000
MAX_IMAGE_BYTES = 64 * 1024 * 1024
MAX_TOTAL_BYTES = 4 * 1024 * 1024 * 1024
MAX_CAPTION_BYTES = 64 * 1024
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
RANK = 4
WIDTH = 64
BLOCKS = 2
LAYERS = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")


@dataclass(frozen=True)
class LoraDataset:
    images: int
    captions: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class LoraRecipe:
    """Parameters of a training."""

    trigger_word: str | None
    steps: int
    is_style: bool
    family: str = ""
    """Family of base models, such as flux1; empty: unknown."""


def read_dataset(archive: Path, trigger_word: str | None) -> LoraDataset:
    """Validate every image and caption. Raises ModelError with the trainer's messages."""
    try:
        with zipfile.ZipFile(archive) as opened:
            return _read(opened, trigger_word)
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
        raise _refused(f"The archive can't be read: {error}") from error


def _read(archive: zipfile.ZipFile, trigger_word: str | None) -> LoraDataset:
    entries = [entry for entry in archive.infolist() if _wanted(entry)]
    if len(entries) > MAX_ENTRIES or sum(entry.file_size for entry in entries) > MAX_TOTAL_BYTES:
        raise _refused("The archive is too large")
    images = [entry for entry in entries if _suffix(entry) in IMAGE_SUFFIXES and not _is_mask(entry)]
    if len(images) < MIN_IMAGES:
        raise _refused(f"At least {MIN_IMAGES} images are needed, the archive has {len(images)}")
    for entry in images:
        _open(archive, entry)
    captions = {_stem(entry): _caption(archive, entry) for entry in entries if _suffix(entry) == ".txt"}
    return LoraDataset(len(images), len(captions), _warnings(images, captions, trigger_word))


def _wanted(entry: zipfile.ZipInfo) -> bool:
    hidden = PurePosixPath(entry.filename).name.startswith(".") or entry.filename.startswith("__MACOSX/")
    link = stat.S_ISLNK(entry.external_attr >> 16)
    return not (entry.is_dir() or hidden or link)


def _suffix(entry: zipfile.ZipInfo) -> str:
    return PurePosixPath(entry.filename).suffix.lower()


def _stem(entry: zipfile.ZipInfo) -> str:
    return PurePosixPath(entry.filename).stem


def _is_mask(entry: zipfile.ZipInfo) -> bool:
    return _stem(entry).endswith("_mask")


def _open(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    if entry.file_size > MAX_IMAGE_BYTES:
        raise _refused(f"{entry.filename} is larger than {MAX_IMAGE_BYTES} bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with archive.open(entry) as file, Image.open(file) as picture:
                picture.load()
    except (
        UnidentifiedImageError,
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise _refused(f"{entry.filename} is no picture that opens: {error}") from error


def _caption(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> str:
    with archive.open(entry) as file:
        return file.read(MAX_CAPTION_BYTES).decode(errors="replace").strip()


def _warnings(images: list[zipfile.ZipInfo], captions: dict[str, str], trigger_word: str | None) -> tuple[str, ...]:
    """Warnings for captions without the trigger word: fal ignores `trigger_word` if there are captions."""
    found = []
    bare = [entry.filename for entry in images if not captions.get(_stem(entry))]
    if captions and bare:
        found.append(f"{len(bare)} of {len(images)} images have no caption, the first is {bare[0]}")
    if not captions:
        found.append("No captions: the trigger word describes every image")
        return tuple(found)
    without = [stem for stem, text in captions.items() if trigger_word and trigger_word not in text]
    if without:
        found.append(
            f"Captions replace the trigger word, and {len(without)} of {len(captions)} don't contain "
            f"'{trigger_word}': it won't be learned from them"
        )
    return tuple(found)


def _refused(message: str) -> ModelError:
    return ModelError(message, loc=("body", "images_data_url"))


def write(folder: Path, recipe: LoraRecipe, dataset: LoraDataset, seed: int) -> tuple[Path, Path]:
    """Write the LoRA and its configuration, deterministic per input."""
    weights = folder / "pytorch_lora_weights.safetensors"
    config = folder / "config.json"
    random = np.random.default_rng(seed)
    tensors = {}
    for block in range(BLOCKS):
        for layer in LAYERS:
            name = f"transformer.single_transformer_blocks.{block}.{layer}"
            tensors[f"{name}.lora_A.weight"] = random.normal(0, 0.02, (RANK, WIDTH)).astype(np.float16)
            tensors[f"{name}.lora_B.weight"] = random.normal(0, 0.02, (WIDTH, RANK)).astype(np.float16)
    facts = {
        "trigger_word": recipe.trigger_word or "",
        "steps": str(recipe.steps),
        "images": str(dataset.images),
        "captions": str(dataset.captions),
        "is_style": str(recipe.is_style).lower(),
        "family": recipe.family,
        "made_by": "contentgen sandbox",
    }
    save_file(tensors, weights, metadata={"format": "pt", **facts})
    config.write_text(json.dumps({"rank": RANK, "base_model": "sandbox", **facts}, indent=2))
    return weights, config


def read_trigger(path: Path) -> str | None:
    """Trigger word in a LoRA file. Raises ModelError for a file of another format."""
    return read_metadata(path).get("trigger_word") or None


def read_metadata(path: Path) -> dict[str, str]:
    """Metadata of a LoRA file, of other makers without the trigger word and the family. Raises ModelError for a file
    of another format.
    """
    try:
        with safe_open(path, framework="numpy") as opened:
            return dict(opened.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ModelError(f"The LoRA is no safetensors file: {error}", loc=("body", "loras")) from error
