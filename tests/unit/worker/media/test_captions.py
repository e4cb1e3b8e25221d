"""Captions: one line, always with the trigger, facts from figures, and a vision model's descriptions."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from contentgen_contract.names import Reason
from contentgen_contract.resources.spec import CaptionFact, Captions
from contentgen_worker.errors import NoVisionModel
from contentgen_worker.media.dataset.captions import PictureFacts, caption, make_captions
from contentgen_worker.media.dataset.vision import VisionModel
from contentgen_worker.media.select.choose import PictureCandidate
from contentgen_worker.media.select.faces import FaceBox
from contentgen_worker.media.select.quality import Scores

PLAIN = PictureFacts(luma=120, motion=2, position=0.5)
ALL = tuple(CaptionFact)
TEMPLATE = Captions().template


def test_the_template_alone() -> None:
    assert caption(TEMPLATE, "jf", (), PLAIN) == "a photo of jf"
    assert caption("[trigger], [trigger]\n smiling ", "jf", (), PLAIN) == "jf, jf smiling"


def test_facts_come_in_one_order_and_only_those_asked_for() -> None:
    facts = PictureFacts(luma=30, motion=9, position=0.9, face=0.4)
    assert caption(TEMPLATE, "jf", ALL[::-1], facts) == "a photo of jf, close-up, dark, in motion, end of the video"
    assert caption(TEMPLATE, "jf", (CaptionFact.MOTION,), facts) == "a photo of jf, in motion"


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (PictureFacts(120, 2, 0.5, face=0.34), "close-up, middle of the video"),
        (PictureFacts(120, 2, 0.5, face=0.32), "medium shot, middle of the video"),
        (PictureFacts(120, 2, 0.5, face=0.05), "wide shot, middle of the video"),
        (PictureFacts(120, 2, 0.0), "beginning of the video"),
        (PictureFacts(120, 2, 1.0), "end of the video"),
        (PictureFacts(59, 2, 0.5), "dark, middle of the video"),
        (PictureFacts(186, 2, 0.5), "bright, middle of the video"),
        (PictureFacts(120, 0.2, 0.5), "still, middle of the video"),
    ],
)
def test_caption_from_the_measurements(facts: PictureFacts, expected: str) -> None:
    assert caption("[trigger]", "jf", ALL, facts) == f"jf, {expected}"


@pytest.mark.parametrize("seen", ["", "a man\nin a suit.", "x" * 5000, "\x00\u202e evil", "[trigger]"])
@pytest.mark.parametrize("template", [TEMPLATE, "a photo", "[trigger]" * 50, "[ trigger ]"])
def test_the_trigger_is_always_there_on_one_line(template: str, seen: str) -> None:
    made = caption(template, "jf", ALL, PLAIN, seen)
    assert "jf" in made
    assert made.isprintable()
    assert len(made) < len(template) + 400


def test_models_caption_follows_the_template() -> None:
    made = caption(TEMPLATE, "jf", (CaptionFact.POSITION,), PLAIN, " a man in\na suit. ")
    assert made == "a photo of jf, a man in a suit, middle of the video"


def test_captions_of_a_training_set(tmp_path: Path) -> None:
    class Shade:
        def describe(self, picture: np.ndarray) -> str:
            return f"shade {picture.mean():.0f} of {picture.shape[1]}x{picture.shape[0]}"

    paths = [tmp_path / "1.jpg", tmp_path / "2.jpg"]
    for path, level in zip(paths, (40, 200), strict=True):
        Image.new("RGB", (32, 16), (level,) * 3).save(path)
    scores = [Scores(40, 50, 10, 0, faces=(FaceBox(0, 0, 0.2, 0.2), FaceBox(0, 0, 0.3, 0.5))), Scores(200, 50, 10, 0)]
    kept = [
        PictureCandidate(number, 30.0 * number, path, 32, 16, each_path, motion=2)
        for number, (path, each_path) in enumerate(zip(paths, scores, strict=True))
    ]
    asked = Captions(facts=list(CaptionFact))
    assert make_captions(kept, asked, "jf", 33.0, None) == (
        "a photo of jf, close-up, dark, beginning of the video",
        "a photo of jf, bright, end of the video",
    )
    assert make_captions(kept, Captions(), "jf", 33.0, Shade()) == (
        "a photo of jf, shade 40 of 32x16",
        "a photo of jf, shade 200 of 32x16",
    )


# --- the vision model ----------------------------------------------------------------------------------------------

WORDS = ("<end>", "a", "bright", "dark", "room", "street")


PLAIN_WORDS = {"model": {"vocab": {word: number for number, word in enumerate(WORDS)}}}
BYTES = {  # as GPT-2 has them
    "added_tokens": [{"id": 0, "special": True}],
    "model": {"vocab": {"<end>": 0, "a": 1, "Ġbright": 2, "Ġdark": 3, "ĠcafÃ©": 4, "Ġstreet": 5}},
    "decoder": {"type": "ByteLevel"},
}
PIECES = {  # as BERT has them
    "model": {"vocab": {"[PAD]": 0, "a": 1, "bright": 2, "dark": 3, "##ish": 4, "##ened": 5}},
    "decoder": {"type": "WordPiece"},
}


def model(folder: Path, *, quantized: bool = False, tokenizer: dict[str, Any] = PLAIN_WORDS) -> Path:
    """Tiny model in Optimum's layout; describes a picture as `a bright room` or `a dark street`."""
    onnx = pytest.importorskip("onnx")
    make, kind = onnx.helper, onnx.TensorProto
    known = np.zeros((6, 6), np.float32)  # which word follows which
    known[0, 1] = known[2, 4] = known[3, 5] = known[4, 0] = known[5, 0] = 1
    by_light = np.zeros((6, 6), np.float32)
    by_light[1, 2], by_light[1, 3] = 1, -1

    def graph(name: str, nodes: list[object], inputs: list[object], outputs: list[object], *tables: object) -> None:
        made = make.make_model(
            make.make_graph(nodes, name, inputs, outputs, list(tables)),
            opset_imports=[make.make_opsetid("", 17)],
            ir_version=8,
        )
        suffix = "_quantized" if quantized else ""
        onnx.save(made, str(folder / "onnx" / f"{name}{suffix}.onnx"))

    (folder / "onnx").mkdir(parents=True)
    graph(
        "encoder_model",
        [make.make_node("ReduceMean", ["pixel_values"], ["last_hidden_state"], axes=[1, 2], keepdims=1)],
        [make.make_tensor_value_info("pixel_values", kind.FLOAT, [1, 3, 8, 16])],
        [make.make_tensor_value_info("last_hidden_state", kind.FLOAT, None)],
    )
    graph(
        "decoder_model",
        [
            make.make_node("ReduceMean", ["encoder_hidden_states"], ["light"], keepdims=0),
            make.make_node("Gather", ["known", "input_ids"], ["follows"]),
            make.make_node("Gather", ["by_light", "input_ids"], ["depends"]),
            make.make_node("Mul", ["depends", "light"], ["leans"]),
            make.make_node("Add", ["follows", "leans"], ["logits"]),
        ],
        [
            make.make_tensor_value_info("input_ids", kind.INT64, [1, None]),
            make.make_tensor_value_info("encoder_hidden_states", kind.FLOAT, None),
        ],
        [make.make_tensor_value_info("logits", kind.FLOAT, None)],
        onnx.numpy_helper.from_array(known, "known"),
        onnx.numpy_helper.from_array(by_light, "by_light"),
    )
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"size": {"height": 8, "width": 16}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    )
    (folder / "config.json").write_text(json.dumps({"decoder": {"decoder_start_token_id": 0, "eos_token_id": 0}}))
    return folder


@pytest.mark.parametrize("quantized", [False, True])
def test_a_model_describes_a_picture(tmp_path: Path, quantized: bool) -> None:
    pytest.importorskip("onnxruntime")
    seeing = VisionModel(model(tmp_path / "model", quantized=quantized))
    assert seeing.describe(np.full((90, 160, 3), 220, np.uint8)) == "a bright room"
    assert seeing.describe(np.full((90, 160, 3), 20, np.uint8)) == "a dark street"


UNSAID: dict[str, Any] = BYTES | {"added_tokens": [{"id": 0, "special": True}, {"id": 2, "special": True}]}


@pytest.mark.parametrize(
    ("tokenizer", "expected"), [(BYTES, "a bright café"), (PIECES, "a brightish"), (UNSAID, "a café")]
)
def test_caption_words(tmp_path: Path, tokenizer: dict[str, Any], expected: str) -> None:
    pytest.importorskip("onnxruntime")
    seeing = VisionModel(model(tmp_path / "model", tokenizer=tokenizer))
    assert seeing.describe(np.full((90, 160, 3), 220, np.uint8)) == expected


def test_a_model_that_never_ends(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    folder = model(tmp_path / "model")
    (folder / "generation_config.json").write_text(json.dumps({"decoder_start_token_id": 0, "eos_token_id": 99}))
    assert len(VisionModel(folder).describe(np.full((9, 16, 3), 220, np.uint8)).split()) == 40


@pytest.mark.parametrize(
    "left_out", ["tokenizer.json", "onnx/encoder_model.onnx", "onnx/decoder_model.onnx", "config.json"]
)
def test_a_model_that_is_not_whole(tmp_path: Path, left_out: str) -> None:
    pytest.importorskip("onnxruntime")
    folder = model(tmp_path / "model")
    (folder / left_out).unlink()
    with pytest.raises(NoVisionModel, match=r"captions\.engine is Vision, but the vision model in .* can't be loaded"):
        VisionModel(folder)


def test_loaded_model_is_not_disclosed(tmp_path: Path) -> None:
    """onnxruntime reads this variable when it is imported, and sends telemetry from then on."""
    (tmp_path / "onnxruntime.py").write_text("import os; raise ImportError(os.environ.get('ORT_DISABLE_TELEMETRY'))")
    load = "from contentgen_worker.media.dataset.vision import VisionModel; VisionModel(None)"
    told = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    told.pop("ORT_DISABLE_TELEMETRY", None)
    child = subprocess.run([sys.executable, "-c", load], env=told, capture_output=True, text=True, check=False)
    assert "this worker image has none (1)" in child.stderr


def test_no_model(tmp_path: Path) -> None:
    with pytest.raises(NoVisionModel) as raised:
        VisionModel(tmp_path)
    assert raised.value.reason is Reason.INVALID_SPEC
