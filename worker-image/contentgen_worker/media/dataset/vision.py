"""A vision model that puts pictures into words: an encoder and a decoder in ONNX, as Optimum exports them.

For instance vit-gpt2-image-captioning (https://huggingface.co/Xenova/vit-gpt2-image-captioning). The folder holds
`encoder_model.onnx` and `decoder_model.onnx` (in it, or in `onnx/`; quantized ones are taken first),
`preprocessor_config.json`, `config.json` or `generation_config.json`, and `tokenizer.json`. Its packages are the extra
`contentgen[vision]`; nothing is fetched from anywhere, and nothing is told to anybody.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from contentgen_contract.resources.spec import CaptionEngine
from contentgen_worker.errors import NoVisionModel
from contentgen_worker.media.dataset.captions import Describer

_MAX_TOKENS = 40
_NAMES = ("{}_model_quantized.onnx", "{}_model.onnx")
_GRID = 224  # pixels; ViT's
_HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True, slots=True)
class _EncoderInput:
    """What the encoder takes: size in pixels, and how colours are scaled."""

    height: int
    width: int
    factor: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def read(cls, config: dict[str, Any]) -> "_EncoderInput":
        size = config.get("size", _GRID)
        height, width = (size["height"], size["width"]) if isinstance(size, dict) else (size, size)
        mean, deviation = tuple(config.get("image_mean", _HALF)), tuple(config.get("image_std", _HALF))
        return cls(int(height), int(width), float(config.get("rescale_factor", 1 / 255)), mean, deviation)

    def of(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """1 x 3 x height x width."""
        small = cv2.resize(picture, (self.width, self.height), interpolation=cv2.INTER_AREA)
        scaled = (small * self.factor - np.array(self.mean)) / np.array(self.deviation)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], dtype=np.float32)


class VisionModel:
    """A Describer. Loading takes seconds, a picture about one on one core."""

    def __init__(self, folder: Path) -> None:
        """Raises NoVisionModel where the folder or the extra is not there, or they don't fit."""
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # from 1.29 on it tells its makers which models it loads
        try:
            import onnxruntime  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise NoVisionModel(
                f"this worker image has none ({error}); use Template, or an image with a model"
            ) from None
        try:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self._encoder, self._decoder = (
                onnxruntime.InferenceSession(str(_model_file(folder, part)), options, ["CPUExecutionProvider"])
                for part in ("encoder", "decoder")
            )
            self._vocabulary = _Vocabulary(json.loads((folder / "tokenizer.json").read_text()))
            self._input = _EncoderInput.read(_json(folder / "preprocessor_config.json"))
            config = _json(folder / "config.json") | _json(folder / "generation_config.json")
            self._start, self._end = _token(config, "decoder_start"), _token(config, "eos")
        except Exception as error:  # noqa: BLE001 - each of the libraries has its own ways to say no
            raise NoVisionModel(f"the vision model in {folder} can't be loaded ({error})") from None

    def describe(self, picture: npt.NDArray[np.uint8]) -> str:
        """What is in the picture (height x width x RGB): each next word the likeliest."""
        states = self._encoder.run(None, {self._encoder.get_inputs()[0].name: self._input.of(picture)})[0]
        tokens = [self._start]
        while len(tokens) <= _MAX_TOKENS:
            inputs = {"input_ids": np.array([tokens], np.int64), "encoder_hidden_states": states}
            token = int(np.argmax(self._decoder.run(["logits"], inputs)[0][0, -1]))
            if token == self._end:
                break
            tokens.append(token)
        return self._vocabulary.text(tokens[1:])


class _Vocabulary:
    """From tokens back to text. The tokenizers package, which does that as well, brings a client of the network."""

    def __init__(self, tokenizer: dict[str, Any]) -> None:
        special = {token["id"] for token in tokenizer.get("added_tokens", ()) if token["special"]}
        words = tokenizer["model"]["vocab"].items()
        self._words = {number: word for word, number in words if number not in special}
        self._kind = (tokenizer.get("decoder") or {}).get("type")

    def text(self, tokens: Sequence[int]) -> str:
        """What they say."""
        words = [self._words[token] for token in tokens if token in self._words]
        if self._kind == "ByteLevel":
            return bytes(_BYTES[letter] for letter in "".join(words)).decode(errors="replace").strip()
        return " ".join(words).replace(" ##", "")


def _bytes() -> dict[str, int]:
    """GPT-2 writes each byte as a letter: itself where that can be seen, else one after U+0100."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + index): byte for index, byte in enumerate(others)}


_BYTES = _bytes()


def describer_for(engine: CaptionEngine, folder: Path) -> Describer | None:
    """The model, where captions ask for one. Raises NoVisionModel."""
    return VisionModel(folder) if engine is CaptionEngine.VISION else None


def _model_file(folder: Path, part: str) -> Path:
    names = [place / name.format(part) for name in _NAMES for place in (folder, folder / "onnx")]
    return next((path for path in names if path.exists()), names[-1])


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _token(config: dict[str, Any], name: str) -> int:
    """A special token's id; it stands at the top, or with the decoder."""
    known = config.get("decoder", {}) | config
    return int(known[f"{name}_token_id"])
