"""Training set of a LoRA, from the dataset.json that the worker wrote.

The worker made that document from a user's video, so it is validated like any other untrusted input.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import ValidationError

from contentgen_contract.names import Kind, Stage
from contentgen_contract.records import keys
from contentgen_contract.records.ownership import Owner
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.problems import Problem
from contentgen_gateway.schemas.dataset import Dataset, Frame, Index, RejectedPictures, ShownFrame, Window
from contentgen_gateway.services.jobs import JobReader
from contentgen_gateway.stores import outputs
from contentgen_gateway.stores.files import BucketFiles
from contentgen_gateway.stores.records import Record
from contentgen_gateway.stores.verification import owned_key, owner_of

_LARGEST = 4 * 2**20  # bytes of dataset.json; 10,000 frames need about as many


@dataclass(frozen=True, slots=True)
class DatasetReader:
    """Training sets of LoRAs that a caller may see."""

    jobs: JobReader
    files: BucketFiles

    async def page(self, caller: Caller, job_id: str, window: Window) -> Dataset:
        """Page of a training set. Raises NotFound; Problem 404 if it is missing, invalid or too large."""
        record = await self.jobs.training(caller, job_id)
        owner = owner_of(record, self.files.key_of)
        for number, folder in self._folders(record, window.version):
            key = owned_key(owner, folder + "dataset.json")
            size = await self.files.size(key) if key is not None else None
            if key is None or size is None:
                continue
            if size > _LARGEST:
                raise _too_large(job_id)
            async with self.files.parsing:
                text = await self.files.read(key, _LARGEST)
                if text is None:
                    raise _too_large(job_id)  # replaced since its size was read
                index = await asyncio.to_thread(parse_index, text)
                url = partial(self._url, owner, folder)
                return await asyncio.to_thread(_page, (job_id, number), index, window, url)
        raise Problem(
            404, f"job {job_id!r} has no dataset: it is not prepared yet, preparation failed, or it is deleted"
        )

    def _folders(self, record: Record, wanted: int | None) -> Iterator[tuple[int, str]]:
        """Versions and folders of the prepared files: those of the run under way first, then of the finished ones."""
        made = outputs.versions_of(record)
        numbers = [version.get("version") or 1 for version in made]
        # Not the next number: a run that failed, or was replaced while it waited, has used it.
        coming = int(record.get("runVersion") or max(numbers, default=0) + 1)
        if coming not in numbers and wanted in (None, coming):
            owner, job = str(record["userId"]), str(record["jobId"])
            yield coming, keys.prefix(Kind.LORA_TRAINING, Stage.PREPARE, owner, job, coming)
        for version in made:
            number = version.get("version") or 1
            folder = outputs.folder_of(Kind.LORA_TRAINING, Stage.PREPARE, version, self.files.key_of)
            if wanted in (None, number) and folder is not None:
                yield number, folder

    def _url(self, owner: Owner, folder: str, name: str) -> str:
        key = owned_key(owner, folder + name)
        if key is None:
            raise _foreign_files()
        return self.files.display_url(key)


def _too_large(job_id: str) -> Problem:
    return Problem(
        404,
        f"the dataset cannot be shown: dataset.json is larger than {_LARGEST // 2**20} MiB; download it from "
        f"/api/assets/{job_id}/download/dataset.json",
    )


def _foreign_files() -> Problem:
    return Problem(404, "the dataset cannot be shown: dataset.json refers to files outside of it")


def _page(of: tuple[str, int], index: Index, window: Window, url: Callable[[str], str]) -> Dataset:
    part = slice(window.offset, window.offset + window.limit)
    return Dataset(
        job_id=of[0],
        version=of[1],
        total_images=len(index.images),
        total_rejected=len(index.rejected),
        rejected_by_reason=dict(Counter(picture.reason for picture in index.rejected).most_common()),
        sheet_url=url("preview.jpg"),
        images=[ShownFrame(**_fields(image), thumbnail_url=url(image.file)) for image in index.images[part]],
        rejected=index.rejected[part],
        rejected_pictures=_rejected_pictures(index, url),
        shots=index.shots,
        next_offset=part.stop if part.stop < max(len(index.images), len(index.rejected)) else None,
    )


def _rejected_pictures(index: Index, url: Callable[[str], str]) -> RejectedPictures | None:
    if (size := index.rejected_pictures) is None:
        return None
    return RejectedPictures(url=url("rejected.jpg"), width=size.width, height=size.height)


def _fields(frame: Frame) -> dict[str, Any]:
    return {name: getattr(frame, name) for name in Frame.model_fields}


def parse_index(text: bytes) -> Index:
    """Validated dataset.json. Raises Problem 404 if it is invalid, or refers to files outside of the training set."""
    try:
        index = Index.model_validate_json(text)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise Problem(404, f"the dataset cannot be shown: dataset.json is invalid at {where!r}") from None
    if not all(keys.is_output(Kind.LORA_TRAINING, Stage.PREPARE, image.file) for image in index.images):
        raise _foreign_files()
    return index
