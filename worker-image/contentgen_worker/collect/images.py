"""Collect stage of an image generation: download the provider's pictures, check them and make thumbnails.

Each picture stands for itself: the good ones are stored, also if others are broken or can't be fetched.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from contentgen_contract.names import Reason, Step
from contentgen_contract.resources.spec import ImageFormat, ImageGenerationSpec
from contentgen_contract.worker.orders import MAX_CAUSE, MAX_PICTURES, ImageFact, ImageFacts, MissingImage, StoredFile
from contentgen_worker.collect import answers
from contentgen_worker.collect.response import provider_response
from contentgen_worker.errors import BadMedia, Retryable, StageFailed, redacted
from contentgen_worker.files import JPEG, PNG, Output
from contentgen_worker.media.decode.stills import Conversion, convert
from contentgen_worker.media.sandbox.server_process import fork_server
from contentgen_worker.progress import Fraction
from contentgen_worker.stage_context import StageContext, StageResult

_CPU_SECONDS = 120  # per picture
_SUFFIX = {ImageFormat.PNG: "png", ImageFormat.JPEG: "jpg"}
_TYPE = {ImageFormat.PNG: PNG, ImageFormat.JPEG: JPEG}
_NAME = re.compile(r"image_(\d{1,2})\.(png|jpg)")
_SAFE, _UNSAFE = (False, 0, "false", "no", "0"), (True, 1, "true", "yes", "1")


@dataclass(frozen=True)
class _Picture:
    """Picture of the answer; without a URL it is broken. `unsafe`: verdict of the provider's safety checker."""

    number: int
    url: str | None
    unsafe: bool | None


@dataclass(frozen=True)
class _PicturesAnswer:
    pictures: tuple[_Picture, ...]
    seed: int | str | None
    notes: list[str]


@dataclass
class _Made:
    """Pictures by number: made now, or stored by an earlier attempt; and the causes for which others are missing."""

    facts: dict[int, ImageFact] = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)
    stored: list[StoredFile] = field(default_factory=list)
    failed: dict[int, StageFailed] = field(default_factory=dict)
    cause: Retryable | None = None  # the last fault of this worker

    @property
    def passing(self) -> bool:
        """Whether a later attempt may store more."""
        return any(each.transient for each in self.failed.values())


def collect(context: StageContext) -> StageResult:
    """Download, check and store the pictures. Raises StageFailed or Retryable."""
    spec = context.spec(ImageGenerationSpec)
    fork_server()  # the decoders are imported while the pictures are fetched
    with context.steps(Step.STORING) as fraction:
        answer = _read(provider_response(context))
        made = _make_all(context, spec.image.format, answer, fraction)
        if not made.facts:
            raise made.cause or _none(made.failed, len(answer.pictures))
        facts = _facts(answer, made)
        context.steps.note(pictures=[f"{image.width}x{image.height}" for image in facts.images])
        files = context.store(made.outputs, lambda done: fraction(0.5 + done / 2))
    return StageResult((*made.stored, *files), facts, _unfinished(made, len(answer.pictures)))


def _read(response: dict[str, Any]) -> _PicturesAnswer:
    """Pictures and side facts. Raises StageFailed if the answer names no pictures."""
    given = response.get("images")
    items = [given] if isinstance(given, dict) else given
    if not isinstance(items, list) or not items:
        raise StageFailed(
            Reason.RESULT_INVALID,
            f"the provider's answer names no pictures (images: {answers.shown(given)}, expected a list)",
        )
    side = answers.SideFacts()
    if len(items) > MAX_PICTURES:
        side.notes.append(f"{len(items)} pictures in the answer, the first {MAX_PICTURES} are taken")
    items = items[:MAX_PICTURES]
    flags = _flags(response.get("has_nsfw_concepts"), len(items), side)
    pictures = tuple(
        _Picture(number, _url(item), unsafe) for number, (item, unsafe) in enumerate(zip(items, flags, strict=True), 1)
    )
    return _PicturesAnswer(pictures, side.read("the seed", response.get("seed"), answers.seed), side.notes)


def _url(item: object) -> str | None:
    url = item.get("url") if isinstance(item, dict) else item
    return url.strip() if isinstance(url, str) and url.strip() else None


def _flags(given: object, count: int, side: answers.SideFacts) -> list[bool | None]:
    """Verdicts of the safety checker; None for one that can't be read, which is never taken for safe."""
    if given is None or given == []:
        return [False] * count  # a model without a checker
    flags = given if isinstance(given, list) else [given] * count
    found = [_flag(flags[index]) if index < len(flags) else None for index in range(count)]
    for number, flag in enumerate(found, 1):
        if flag is None:
            value = answers.shown(flags[number - 1]) if number <= len(flags) else "missing"
            side.notes.append(f"the safety checker's verdict on picture {number} can't be read: {value}")
    return found


def _flag(value: object) -> bool | None:
    if isinstance(value, list | dict):
        return None
    known = value.strip().lower() if isinstance(value, str) else value
    return True if known in _UNSAFE else False if known in _SAFE else None


def _make_all(context: StageContext, wanted: ImageFormat, answer: _PicturesAnswer, fraction: Fraction) -> _Made:
    made = _Made()
    earlier, files = _earlier(context, answer.notes)
    for picture in answer.pictures:
        number = picture.number
        if fact := earlier.get(number):
            made.facts[number] = fact.model_copy(update={"unsafe": picture.unsafe})
            made.stored += [files[name] for name in (fact.name, fact.thumbnail) if name is not None]
            continue
        try:
            fact, outputs = _make(context, picture, wanted, answer.notes)
        except StageFailed as error:
            made.failed[number] = error
            continue
        except Retryable as error:  # such as a full disk
            made.failed[number] = StageFailed(Reason.RESULT_UNREACHABLE, str(error), transient=True)
            made.cause = error
            continue
        made.facts[number] = fact
        made.outputs += outputs
        fraction(number / len(answer.pictures) / 2)
    return made


def _earlier(context: StageContext, notes: list[str]) -> tuple[dict[int, ImageFact], dict[str, StoredFile]]:
    """Facts by number, and files by name, that an earlier attempt stored; its URLs may have expired since."""
    left = context.earlier_outcome()
    if left is None or not isinstance(left.facts, ImageFacts):
        return {}, {}
    notes += left.facts.notes
    files = {file.name: file for file in left.files}
    facts = {}
    for fact in left.facts.images:
        if (found := _NAME.fullmatch(fact.name)) and {fact.name, fact.thumbnail} <= {*files, None}:
            facts[int(found[1])] = fact
    return facts, files


def _make(
    context: StageContext, picture: _Picture, wanted: ImageFormat, notes: list[str]
) -> tuple[ImageFact, Sequence[Output]]:
    """Fact and files of one picture. Raises StageFailed."""
    if picture.url is None:
        raise StageFailed(Reason.RESULT_INVALID, "the answer names no URL of it")
    limits = context.order.limits
    fetched = context.fetch_result(picture.url, f"picture_{picture.number}", limits.picture_bytes)
    name = f"image_{picture.number}"
    folder = fetched.path.with_name(name)  # the only folder that the child may write to
    folder.mkdir()
    target, thumbnail = folder / f"{name}.{_SUFFIX[wanted]}", folder / f"{name}_thumb.png"
    child = context.media_bounds.child_limits(fetched.path)
    conversion = Conversion(fetched.path, target, thumbnail, wanted, limits.picture_pixels)
    try:
        still = convert(conversion, child.memory_bytes, min(child.cpu_seconds, _CPU_SECONDS))
        if still.kept:
            fetched.path.rename(target)  # the provider's file, unchanged
        outputs = [Output.from_path(target.name, _TYPE[wanted], target)]
    except BadMedia as error:
        raise StageFailed(Reason.RESULT_INVALID, f"{redacted(picture.url)}: {error.finding}") from None
    except FileNotFoundError:
        raise StageFailed(Reason.RESULT_INVALID, f"{redacted(picture.url)}: its decoder wrote no file") from None
    finally:
        fetched.path.unlink(missing_ok=True)
    if thumbnail.is_file():
        outputs.append(Output.from_path(thumbnail.name, PNG, thumbnail))
    else:
        notes.append(f"{target.name} has no thumbnail")
    if still.lost:
        notes.append(f"{target.name} was converted, and has lost its {', '.join(still.lost)}")
    return _fact(picture, outputs, still.width, still.height, black=still.black), outputs


def _fact(picture: _Picture, outputs: Sequence[Output], width: int, height: int, *, black: bool) -> ImageFact:
    made, *rest = outputs
    return ImageFact(
        name=made.name,
        thumbnail=rest[0].name if rest else None,
        width=width,
        height=height,
        size_bytes=made.size_bytes,
        unsafe=picture.unsafe,
        black=black,
    )


def _facts(answer: _PicturesAnswer, made: _Made) -> ImageFacts:
    return ImageFacts(
        images=tuple(fact for _, fact in sorted(made.facts.items())),
        missing=tuple(
            MissingImage(number=number, cause=str(error)[:MAX_CAUSE]) for number, error in made.failed.items()
        ),
        seed=answer.seed,
        notes=answers.bounded_notes(answer.notes),
    )


def _causes(failed: dict[int, StageFailed]) -> str:
    return "; ".join(f"picture {number}: {str(error)[:MAX_CAUSE]}" for number, error in failed.items())


def _none(failed: dict[int, StageFailed], count: int) -> StageFailed:
    """Failure of an answer without a usable picture."""
    passing = any(each.transient for each in failed.values())
    reason = Reason.RESULT_UNREACHABLE if passing else Reason.RESULT_INVALID
    return StageFailed(reason, f"none of {count} pictures is stored: {_causes(failed)}", transient=passing)


def _unfinished(made: _Made, count: int) -> StageFailed | None:
    """Failure to report beside what is stored, if a later attempt may store more."""
    if not made.passing:
        return None
    text = f"{len(made.facts)} of {count} pictures are stored: {_causes(made.failed)}"
    return StageFailed(Reason.RESULT_UNREACHABLE, text, transient=True)
