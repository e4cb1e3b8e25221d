"""Measures of similarity, compared on the labelled pairs by precision and recall.

`python -m contentgen_bench duplicates` prints the table of docs/media.md. Each threshold is the one with the largest
F0.5 on the half `tune`: a lost pose costs more than a kept duplicate. The figures are those of the half `held-out`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from contentgen_bench.media.duplicates.pairs import Half, LabelledPair
from contentgen_bench.media.duplicates.people import Picture
from contentgen_contract.resources.spec import Duplicates
from contentgen_worker.media.select import similarity
from contentgen_worker.media.select.hashes import perceptual_hash
from contentgen_worker.media.select.similarity import ComparablePicture, Thumbnail

POSES = frozenset(
    {"head turned", "head tilted", "moved", "leaning in", "leaning aside", "hand raised", "both hands", "expression"}
    | {"frames of a clip, different"}
)
_BETA = 0.5
_STEPS = 400  # thresholds that are tried
_UNLIKE = 1e6
Measure = Callable[[Picture, Picture], float]
"""Figure of two pictures; higher is more different."""
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Accuracy:
    """Figures of a measure at a threshold. `poses`: share of the pairs of different poses that are told apart."""

    precision: float
    recall: float
    poses: float

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return _f_beta(self.precision, self.recall, 1.0)


@dataclass(frozen=True)
class MeasureResult:
    """A measure with its threshold, and its figures on both halves; `real`: real pictures of the half `held-out`."""

    name: str
    threshold: float
    tune: Accuracy
    held_out: Accuracy
    real: Accuracy


def compare(pairs: Iterable[LabelledPair], measures: dict[str, tuple[Measure, float | None]]) -> list[MeasureResult]:
    """Result of each measure. A threshold of None is chosen on the half `tune`."""
    labels: list[tuple[bool, bool, bool, bool]] = []
    figures: dict[str, list[float]] = {name: [] for name in measures}
    for pair in pairs:
        labels.append((pair.same, pair.half is Half.TUNE, pair.kind in POSES, pair.real))
        for name, (measure, _) in measures.items():
            figures[name].append(measure(pair.first, pair.second))
    same, tune, pose, real = (np.array(column) for column in zip(*labels, strict=True))
    results = []
    for name, (_, fixed) in measures.items():
        found = np.array(figures[name])
        threshold = _best(found[tune], same[tune]) if fixed is None else fixed
        parts = (accuracy(found[part] <= threshold, same[part], pose[part]) for part in (tune, ~tune, ~tune & real))
        results.append(MeasureResult(name, threshold, *parts))
    return results


def accuracy(called_same: npt.NDArray[np.bool_], same: npt.NDArray[np.bool_], pose: npt.NDArray[np.bool_]) -> Accuracy:
    """Figures of the verdicts against the labels."""
    hits = int((called_same & same).sum())
    poses = pose & ~same
    return Accuracy(
        hits / max(1, int(called_same.sum())),
        hits / max(1, int(same.sum())),
        float((~called_same[poses]).mean()) if poses.any() else 1.0,
    )


def _best(figures: _Floats, same: npt.NDArray[np.bool_]) -> float:
    def score(threshold: float) -> float:
        found = accuracy(figures <= threshold, same, np.zeros_like(same))
        return _f_beta(found.precision, found.recall, _BETA)

    tried = np.unique(figures)
    if len(tried) > _STEPS:
        tried = np.unique(np.quantile(figures, np.linspace(0, 1, _STEPS), method="nearest"))
    return float(max(tried, key=score))


def _f_beta(precision: float, recall: float, beta: float) -> float:
    return (1 + beta**2) * precision * recall / max(1e-9, beta**2 * precision + recall)


# --- measures --------------------------------------------------------------------------------------------------------


def measures(embedding: Path | None = None) -> dict[str, tuple[Measure, float | None]]:
    """The measures by name, each with its fixed threshold. `embedding`: an ONNX model that ends in an average pool."""
    found: dict[str, tuple[Measure, float | None]] = {
        "64-bit DCT hash and mean colours, 8 bits (before)": (_hash_and_colours, 8),
        "64-bit DCT hash": (_hash, None),
        "256-bit DCT hash": (_long_hash, None),
        "256-bit difference hash": (_difference_hash, None),
        "SSIM of 64-pixel thumbnails": (lambda one, other: 1 - _ssim(*_thumbnails(one, other)), None),
        "the same, aligned": (_aligned_ssim, None),
        "aligned, mean difference": (_aligned_mean, None),
        "aligned, largest local difference (the engine's)": (_engine, Duplicates().threshold),
    }
    if embedding is not None:
        found["ResNet-50 features, cosine"] = (_embedding(embedding), None)
    return found


def _hash_and_colours(one: Picture, other: Picture) -> float:
    means = [np.array(cv2.mean(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV))[:3]) for picture in (one, other)]
    return _hash(one, other) if (np.abs(means[0] - means[1]) <= (30, 10, 10)).all() else 64


def _hash(one: Picture, other: Picture) -> float:
    first, second = (perceptual_hash(_luma(picture)) for picture in (one, other))
    return (first ^ second).bit_count()


def _long_hash(one: Picture, other: Picture) -> float:
    bits = []
    for picture in (one, other):
        low = cv2.dct(_small(picture, 64).astype(np.float32))[:16, :16]
        bits.append(low > np.median(low))
    return int((bits[0] != bits[1]).sum())


def _difference_hash(one: Picture, other: Picture) -> float:
    bits = []
    for picture in (one, other):
        small = cv2.resize(_luma(picture), (17, 16), interpolation=cv2.INTER_AREA)
        bits.append(small[:, 1:] > small[:, :-1])
    return int((bits[0] != bits[1]).sum())


def _aligned_ssim(one: Picture, other: Picture) -> float:
    matrix = similarity.alignment(*_comparable(one, other))
    if matrix is None:
        return _UNLIKE
    first, second = _thumbnails(one, other)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(second, matrix, second.shape, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return 1 - _ssim(first[6:-6, 6:-6], np.asarray(moved, np.float32)[6:-6, 6:-6])


def _aligned_mean(one: Picture, other: Picture) -> float:
    first, second = _comparable(one, other)
    matrix = similarity.alignment(first, second)
    return _UNLIKE if matrix is None else float(np.sqrt(similarity.squared_differences(first, second, matrix).mean()))


def _engine(one: Picture, other: Picture) -> float:
    return similarity.difference(*_comparable(one, other), Duplicates().threshold)


def _ssim(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """Mean structural similarity (Wang et al. 2004), with an 8-pixel box as the window."""

    def mean(plane: Any) -> Any:
        return cv2.blur(plane, (8, 8))

    small, large = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    first, second = mean(one), mean(other)
    variances = mean(one * one) - first**2, mean(other * other) - second**2
    shared = mean(one * other) - first * second
    upper = (2 * first * second + small) * (2 * shared + large)
    return float((upper / ((first**2 + second**2 + small) * (sum(variances) + large))).mean())


def _embedding(model: Path) -> Measure:
    """Cosine distance of the input of the network's last global average pool, averaged."""
    import onnx  # noqa: PLC0415 - optional
    import onnxruntime  # type: ignore[import-untyped] # noqa: PLC0415

    graph = onnx.load(str(model))
    pools = ("AveragePool", "GlobalAveragePool", "ReduceMean")
    pool = next(each for each in reversed(graph.graph.node) if each.op_type in pools)
    graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(pool.output[0]))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = session.get_inputs()[0]
    last = wanted.shape[-1] == 3

    def features(picture: Picture) -> _Floats:
        small = cv2.resize(picture, (224, 224), interpolation=cv2.INTER_AREA).astype(np.float32) - (104, 117, 123)
        batch = (small if last else small.transpose(2, 0, 1))[None].astype(np.float32)
        found = np.asarray(session.run([pool.output[0]], {wanted.name: batch})[0], float).ravel()
        return np.asarray(found / np.linalg.norm(found), float)

    return lambda one, other: 1 - float(features(one) @ features(other))


def _thumbnails(*pictures: Picture) -> Sequence[npt.NDArray[np.float32]]:
    return [_small(picture, 64).astype(np.float32) for picture in pictures]


def _small(picture: Picture, side: int) -> Picture:
    return np.asarray(cv2.resize(_luma(picture), (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def _luma(picture: Picture) -> Picture:
    return np.ascontiguousarray(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV)[:, :, 0])


def thumbnail(picture: Picture) -> Thumbnail:
    """The engine's thumbnail of a picture in BGR."""
    y, u, v = cv2.split(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV))
    return Thumbnail.from_planes(np.asarray(y, np.uint8), np.asarray(u, np.uint8), np.asarray(v, np.uint8))


def _comparable(one: Picture, other: Picture) -> tuple[ComparablePicture, ComparablePicture]:
    return ComparablePicture(thumbnail(one)), ComparablePicture(thumbnail(other))
