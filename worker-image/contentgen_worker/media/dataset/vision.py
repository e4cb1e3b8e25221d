"""Vision model that describes pictures: encoder and decoder in ONNX, as exported by Optimum.

For example vit-gpt2-image-captioning (https://huggingface.co/Xenova/vit-gpt2-image-captioning). The folder contains
`encoder_model.onnx` and `decoder_model.onnx` (in it, or in `onnx/`; quantized ones are preferred),
`preprocessor_config.json`, `config.json` or `generation_config.json`, and `tokenizer.json`. Its packages are the extra
`contentgen[vision]`. It makes no network connection.
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
    """Encoder input: size in pixels, and scaling of colours."""

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

    def tensor(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Tensor of 1 x 3 x height x width."""
        small = cv2.resize(picture, (self.width, self.height), interpolation=cv2.INTER_AREA)
        scaled = (small * self.factor - np.array(self.mean)) / np.array(self.deviation)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], dtype=np.float32)


class VisionModel:
    """Describer with an ONNX model. Loading takes seconds, a picture about one second on one core."""

    def __init__(self, folder: Path) -> None:
        """Raises NoVisionModel if the folder or the extra is missing, or they don't match."""
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # since 1.29 it reports loaded models
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
        except Exception as error:  # noqa: BLE001 - the libraries raise various exceptions
            raise NoVisionModel(f"the vision model in {folder} can't be loaded ({error})") from None

    def describe(self, picture: npt.NDArray[np.uint8]) -> str:
        """Description of a picture (height x width x RGB), by greedy decoding."""
        states = self._encoder.run(None, {self._encoder.get_inputs()[0].name: self._input.tensor(picture)})[0]
        tokens = [self._start]
        while len(tokens) <= _MAX_TOKENS:
            inputs = {"input_ids": np.array([tokens], np.int64), "encoder_hidden_states": states}
            token = int(np.argmax(self._decoder.run(["logits"], inputs)[0][0, -1]))
            if token == self._end:
                break
            tokens.append(token)
        return self._vocabulary.text(tokens[1:])


class _Vocabulary:
    """Decodes tokens to text. The tokenizers package would bring a network client."""

    def __init__(self, tokenizer: dict[str, Any]) -> None:
        special = {token["id"] for token in tokenizer.get("added_tokens", ()) if token["special"]}
        words = tokenizer["model"]["vocab"].items()
        self._words = {number: word for word, number in words if number not in special}
        self._kind = (tokenizer.get("decoder") or {}).get("type")

    def text(self, tokens: Sequence[int]) -> str:
        """Text of these tokens."""
        words = [self._words[token] for token in tokens if token in self._words]
        if self._kind == "ByteLevel":
            return bytes(_BYTES[letter] for letter in "".join(words)).decode(errors="replace").strip()
        return " ".join(words).replace(" ##", "")


def _bytes() -> dict[str, int]:
    """GPT-2's letters of bytes: the byte itself if printable, else one from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + index): byte for index, byte in enumerate(others)}


_BYTES = _bytes()


def describer_for(engine: CaptionEngine, folder: Path) -> Describer | None:
    """Vision model if captions need one, else None. Raises NoVisionModel."""
    return VisionModel(folder) if engine is CaptionEngine.VISION else None


def _model_file(folder: Path, part: str) -> Path:
    names = [place / name.format(part) for name in _NAMES for place in (folder, folder / "onnx")]
    return next((path for path in names if path.exists()), names[-1])


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _token(config: dict[str, Any], name: str) -> int:
    """Id of a special token, at the top level or in the decoder's configuration."""
    known = config.get("decoder", {}) | config
    return int(known[f"{name}_token_id"])
