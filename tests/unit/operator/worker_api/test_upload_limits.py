"""Upload limits of an attempt: each file that a pipeline can produce fits, and nothing much larger."""

import pytest

from contentgen_contract.names import Kind, Stage
from contentgen_contract.records import keys
from contentgen_contract.resources.spec import parse_spec
from contentgen_contract.worker.orders import ImageFacts, Limits
from contentgen_operator.state.kinds.table import file_limits
from contentgen_operator.state.upload_limits import FileLimit, limit_of
from contentgen_simulation.world import SPECS

GIB, MIB = 1 << 30, 1 << 20
WIDE = {"maxImages": 1000, "resolution": 2048}
OUTPUTS: dict[tuple[Kind, Stage], dict[str, int]] = {
    # Sizes that the pipeline may produce, in bytes: images at 2 bytes per pixel, the rest measured or calculated.
    (Kind.LORA_TRAINING, Stage.PREPARE): {
        "images/0001.jpg": 2 * 2048 * 2048,
        "images/1000.jpg": 2 * 2048 * 2048,
        "captions/0001.txt": 4 * 512 + 4096,
        "captions/1000.txt": 4 * 512 + 4096,
        "dataset.json": 100_000 * 1000,
        "dataset.zip": 5 * GIB,
        "preview.jpg": 40 * MIB,
        "rejected.jpg": 60 * 256 * 384 * 2,
    },
    (Kind.LORA_TRAINING, Stage.COLLECT): {
        "model.safetensors": 4 * GIB,
        "config.json": 32 * MIB,
        "preview.png": 20 * MIB,
    },
    (Kind.IMAGE_GENERATION, Stage.COLLECT): {
        "image_1.png": 8 * 8192 * 8192,
        "image_32.jpg": 4 * 8192 * 8192,
        "image_1_thumb.png": 256 * 768 * 8,
        "image_32_thumb.png": 256 * 768 * 8,
    },
    (Kind.TRANSCRIPTION, Stage.PREPARE): {"audio.flac": 12 * 3600 * 16_000 * 2},
    (Kind.TRANSCRIPTION, Stage.COLLECT): {
        f"transcript.{suffix}": 4 * 64 * MIB for suffix in ("json", "txt", "srt", "vtt")
    },
}


def limits(kind: Kind, stage: Stage, given: Limits | None = None, **dataset: int) -> tuple[FileLimit, ...]:
    more = {"dataset": dataset} if kind is Kind.LORA_TRAINING else {}
    return file_limits(parse_spec(kind, SPECS[kind] | more), stage, given or Limits())


@pytest.mark.parametrize(("kind", "stage"), OUTPUTS)
def test_pipeline_outputs_fit_the_limits(kind: Kind, stage: Stage) -> None:
    found = limits(kind, stage, None, **WIDE)
    for name, size in OUTPUTS[kind, stage].items():
        assert keys.is_output(kind, stage, name)
        limit = limit_of(name, found)
        assert limit is not None
        assert size <= limit.size_bytes <= 5 * GIB, name


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("stage", Stage)
def test_each_output_of_a_stage_has_a_limit(kind: Kind, stage: Stage) -> None:
    """A name added to the stage's outputs needs a row in the limits and in this test."""
    assert bool(limits(kind, stage)) == ((kind, stage) in OUTPUTS) == (stage in kind.info.stages)
    for limit in limits(kind, stage, None, **WIDE):
        assert any(limit_of(name, [limit]) for name in OUTPUTS[kind, stage])


def test_pictures_are_as_many_and_as_large_as_the_spec_says() -> None:
    found = limits(Kind.LORA_TRAINING, Stage.PREPARE, maxImages=20, resolution=512)
    assert limit_of("images/0020.jpg", found) is not None
    for name in ("images/0021.jpg", "images/0000.jpg", "captions/0021.txt", "captions/9999.txt"):
        assert limit_of(name, found) is None
    sizes = {each.name: each.size_bytes for each in found}
    assert sizes["images/*.jpg"] < 2 * MIB
    assert sizes["dataset.zip"] < 24 * MIB
    assert sum(each.count for each in found) == 44


def test_generated_pictures_are_as_many_as_an_outcome_may_list() -> None:
    found = limits(Kind.IMAGE_GENERATION, Stage.COLLECT)
    (most,) = {each.count for each in found}
    assert ImageFacts.model_fields["images"].metadata[0].max_length == most
    for name in ("image_33.png", "image_99_thumb.png", "image_0.png"):
        assert limit_of(name, found) is None


def test_sizes_follow_the_settings() -> None:
    given = Limits(result_bytes=10 * MIB, picture_pixels=MIB, duration_seconds=60)
    assert limits(Kind.LORA_TRAINING, Stage.COLLECT, given)[0].size_bytes == 10 * MIB
    assert limits(Kind.TRANSCRIPTION, Stage.PREPARE, given)[0].size_bytes < 4 * MIB
    assert limit_of("image_1.png", limits(Kind.IMAGE_GENERATION, Stage.COLLECT, given)).size_bytes < 32 * MIB  # type: ignore[union-attr]  # there is one
