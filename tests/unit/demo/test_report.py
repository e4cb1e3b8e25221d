"""Final report of the demo: short listings, and checks that can fail."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contentgen_contract.names import Kind
from contentgen_demo.report import (
    DemoJob,
    Line,
    ReportedFile,
    checks,
    condition_lines,
    folders,
    listing,
    main_fields,
    missing_files,
    new_entries,
    plain,
    size,
    without_others,
    worth_opening,
)
from contentgen_demo.stores import is_viewable, prefixes
from contentgen_try.progress import view

DATASET = "datasets/u/j/"
LORA = "loras/u/j/v1/"


def files(*names: str) -> tuple[ReportedFile, ...]:
    return tuple(ReportedFile(name, 1000) for name in names)


def training(**changes: Any) -> DemoJob:
    names = [*(f"images/{n:04}.jpg" for n in range(1, 15)), "dataset.json", "dataset.zip", "preview.jpg"]
    resource = {"kind": "LoraTraining", "metadata": {"name": "a"}, "status": {"phase": "Completed", "progress": 100}}
    job = DemoJob(
        view=view(resource),
        job_id="j",
        user_id="u",
        request_id="r1",
        files=files(
            *(DATASET + name for name in names),
            *(LORA + name for name in ("model.safetensors", "config.json", "preview.png")),
        ),
        document={"status": "completed"},
    )
    return replace(job, **changes)


def entry(request_id: str) -> dict[str, Any]:
    return {"id": request_id, "request_id": request_id}


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1200, "1.2 kB"), (1_234_567, "1.2 MB"), (5e12, "5000.0 GB")]
)
def test_sizes_have_a_persons_units(count: float, text: str) -> None:
    assert size(count) == text


def test_numbered_files_become_one_line() -> None:
    lines = listing(training().files[:17], DATASET)
    assert lines == (
        Line("dataset.json", 1, 1000),
        Line("dataset.zip", 1, 1000),
        Line("images/0001.jpg … 0014.jpg", 14, 14_000),
        Line("preview.jpg", 1, 1000),
    )


def test_a_few_numbered_files_stay_apart() -> None:
    assert [line.name for line in listing(files("x/0001.jpg", "x/0002.jpg"), "x/")] == ["0001.jpg", "0002.jpg"]


def test_other_endings_and_folders_are_other_groups() -> None:
    names = [f"{folder}/{n:04}.{end}" for folder, end in (("images", "jpg"), ("captions", "txt")) for n in range(1, 6)]
    assert [line.count for line in listing(files(*names), "")] == [5, 5]


def test_files_are_listed_under_their_folders() -> None:
    found = folders(training().files, (DATASET, LORA, "nothing/"))
    assert {prefix: len(inside) for prefix, inside in found.items()} == {DATASET: 17, LORA: 3}


def test_the_folders_of_a_job_are_the_contracts() -> None:
    assert prefixes(Kind.LORA_TRAINING, "u", "j") == (DATASET, LORA)
    assert prefixes(Kind.TRANSCRIPTION, "u", "j") == ("transcripts/u/j/",)


def test_everything_held() -> None:
    assert all(check.passed for check in checks([training()], [entry("r1")]))


@pytest.mark.parametrize(
    ("job", "entries"),
    [
        (training(), []),
        (training(), [entry("r1"), entry("r2")]),
        (training(), [entry("r2")]),
        (training(), [entry("r1"), entry("r1")]),
        (training(document=None), [entry("r1")]),
        (training(document={"status": "processing"}), [entry("r1")]),
        (training(files=()), [entry("r1")]),
        (training(view=replace(training().view, phase="Failed")), [entry("r1")]),
    ],
    ids=["unpaid", "paid twice", "somebody else's", "a line twice", "no document", "not done", "no files", "failed"],
)
def test_each_check_can_fail(job: DemoJob, entries: list[dict[str, Any]]) -> None:
    assert not all(check.passed for check in checks([job], entries))


def marked(request_id: str, marker: str) -> dict[str, Any]:
    return entry(request_id) | {"marker": marker}


def test_lines_of_other_resources_are_theirs() -> None:
    lines = [marked("r1", "m1"), marked("theirs", "m2")]
    assert without_others(lines, [training()], {"theirs"}, busy=False) == (lines[0],)


def test_on_a_quiet_cluster_every_line_is_ours() -> None:
    lines = [marked("r1", "m1"), marked("nobody's", "m2")]
    assert without_others(lines, [training()], set(), busy=False) == tuple(lines)


def test_a_second_payment_shows_on_a_busy_cluster_too() -> None:
    lines = [marked("r1", "m1"), marked("lost", "m1"), marked("not yet known", "m2")]
    assert without_others(lines, [training()], set(), busy=True) == tuple(lines[:2])


def test_an_empty_file_is_a_missing_one() -> None:
    whole = training()
    emptied = tuple(ReportedFile(f.key, 0) if f.key.endswith("model.safetensors") else f for f in whole.files)
    assert missing_files(replace(whole, files=emptied)) == (r"/model\.safetensors",)


def test_failed_sample_is_the_only_one_reported() -> None:
    failed = replace(training().view, phase="Failed")
    assert [check.found for check in checks([training(view=failed, files=())], [])] == ["LoraTraining is Failed"]


def test_conditions_do_not_repeat_the_status() -> None:
    conditions = [
        {"type": "Ready", "status": "False", "reason": "NoVideo", "message": "no picture"},
        {"type": "SourceReady", "status": "True", "reason": "Downloaded", "message": "3 MB"},
    ]
    assert condition_lines({"status": {"reason": "NoVideo", "message": "no picture", "conditions": conditions}}) == (
        "SourceReady=True  Downloaded: 3 MB",
    )


def test_only_new_lines_of_the_ledger_count() -> None:
    before = {"entries": [entry("a")]}
    assert new_entries(before, {"entries": [entry("a"), entry("b")]}) == (entry("b"),)


def test_the_essence_of_a_document() -> None:
    document = {
        "_id": "x",
        "jobId": "j",
        "type": "lora-training",
        "status": "completed",
        "progress": 100,
        "config": {"steps": 1000},
        "versions": [{"version": 1, "modelUrl": "http://…", "s3Key": "l/u/j/v1/m", "sizeBytes": 5, "previewUrl": None}],
    }
    assert main_fields(document) == {
        "jobId": "j",
        "type": "lora-training",
        "status": "completed",
        "progress": 100,
        "versions": [{"version": 1, "s3Key": "…/v1/m", "sizeBytes": 5}],
    }


def test_pictures_are_told_by_what_they_are() -> None:
    images = [{"width": 1024, "height": 768, "sizeBytes": 1_500_000, "url": "http://…"}]
    fields = main_fields({"versions": [{"version": 1, "images": images, "seed": 42}]})
    assert fields["versions"] == [{"version": 1, "seed": 42, "images": ["1024x768 1.5 MB"]}]


def test_fields_are_told_without_marks() -> None:
    assert plain({"wordCount": 12, "duration": 66.5, "config": {"steps": 1000}}) == (
        "wordCount 12, duration 66.5, config (steps 1000)"
    )


def test_the_archive_and_the_weights_are_not_copied() -> None:
    names = [
        DATASET + "dataset.zip",
        LORA + "model.safetensors",
        DATASET + "captions/0001.txt",
        "transcripts/u/j/audio.flac",
    ]
    assert not any(is_viewable(ReportedFile(name, 10)) for name in names)
    assert all(is_viewable(ReportedFile(name, 10)) for name in (LORA + "preview.png", "transcripts/u/j/transcript.srt"))


def test_three_files_are_worth_opening_first() -> None:
    root = Path("build/demo/a")
    copied = [root / name for name in ("dataset/preview.jpg", "lora/preview.png", "pictures/image_1.png", "x.txt")]
    assert worth_opening(copied) == (copied[1], copied[2], copied[0])
