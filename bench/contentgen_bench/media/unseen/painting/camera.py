"""Pinhole camera: its path through a shot, its projection, and the exposure of a frame over the shutter time."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from contentgen_bench.media.unseen.painting.plan import CameraMove, Draw, Image, PlannedShot

Matrix = npt.NDArray[np.float64]
_SHUTTER = 1 / 50  # exposure time of a frame in seconds
_STEP, _MOST_STEPS = 8.0, 7  # motion within an exposure: pixels between sub-frames, and their greatest number
_TYPICAL_DISTANCE = 6.0  # metres, of what moves through the picture while the camera moves


@dataclass(frozen=True)
class CameraPose:
    """Position in metres (x right, y down, z forward), angles in radians, focal length in frame heights."""

    x: float
    y: float
    z: float
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    focal: float = 1.1


Path = Callable[[float], CameraPose]


def path(shot: PlannedShot, base: CameraPose) -> Path:
    """Camera path of a shot that begins near `base`."""
    rng = np.random.default_rng([shot.seed, 11])
    phases, rates = rng.uniform(0, 2 * math.pi, (6, 3)), rng.uniform(0.5, 1.6, (6, 3)) * np.array([1.0, 2.7, 6.1])
    side, amount, turn = rng.choice([-1.0, 1.0]), rng.uniform(0.4, 1.0), rng.uniform(0.9, 1.7)
    base = replace(base, focal=base.focal * shot.closer)
    tremble = {CameraMove.HANDHELD: 0.010, CameraMove.SHAKE: 0.030, CameraMove.WHIP: 0.006}.get(shot.move, 0.0)

    def wave(axis: int, seconds: float) -> float:
        angles = rates[axis] * 2 * math.pi * seconds + phases[axis]
        return float(np.sin(angles) @ np.array([1.0, 0.45, 0.5 if shot.move is CameraMove.SHAKE else 0.12]))

    def pose(seconds: float) -> CameraPose:
        moved = _moved(shot, base, seconds, side=side, amount=amount, turn=turn)
        if not tremble:
            return moved
        return replace(
            moved,
            x=moved.x + 2 * tremble * wave(3, seconds),
            y=moved.y + 1.2 * tremble * wave(4, seconds),
            yaw=moved.yaw + tremble * wave(0, seconds),
            pitch=moved.pitch + tremble * wave(1, seconds),
            roll=moved.roll + 0.7 * tremble * wave(2, seconds),
        )

    return pose


def _moved(
    shot: PlannedShot, base: CameraPose, seconds: float, *, side: float, amount: float, turn: float
) -> CameraPose:
    share = _eased((seconds - shot.event) / shot.event_seconds)
    match shot.move:
        case CameraMove.TRACK:
            moved = 0.5 * amount * seconds
            return replace(base, x=base.x + side * moved, z=base.z + min(moved, 1.2))
        case CameraMove.PAN:
            return replace(base, yaw=base.yaw + 0.16 * side * amount * seconds)
        case CameraMove.SLOW_ZOOM:
            return replace(base, focal=base.focal * math.exp(0.14 * side * amount * min(seconds, 6)))
        case CameraMove.DOLLY_ZOOM:
            advance = min(0.5 * amount * seconds, 1.5)
            return replace(base, z=base.z + advance, focal=base.focal * (1 - advance / _TYPICAL_DISTANCE))
        case CameraMove.WHIP:
            return replace(base, yaw=base.yaw + side * turn * share, pitch=base.pitch + 0.05 * side * share)
        case _:
            crash = share * (1.3 + 1.7 * amount) if shot.move is CameraMove.CRASH_ZOOM else 0.0
            return replace(base, focal=base.focal * (1 + crash))


def _eased(share: float) -> float:
    share = min(1.0, max(0.0, share))
    return share * share * (3 - 2 * share)


def rotation(pose: CameraPose) -> Matrix:
    """Matrix from the world's directions to the camera's."""
    cy, sy, cp, sp = math.cos(pose.yaw), math.sin(pose.yaw), math.cos(pose.pitch), math.sin(pose.pitch)
    cr, sr = math.cos(pose.roll), math.sin(pose.roll)
    yaw = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    roll = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
    return np.asarray(roll @ pitch @ yaw, np.float64)


def flat(pose: CameraPose, base: CameraPose, width: int, height: int) -> Matrix:
    """Affine matrix that moves a flat picture as the camera's turns and zooms would."""
    scale = pose.focal / base.focal
    matrix = np.array(cv2.getRotationMatrix2D((width / 2, height / 2), math.degrees(pose.roll), scale), np.float64)
    matrix[:, 2] -= pose.focal * height * np.array([pose.yaw - base.yaw, -(pose.pitch - base.pitch)])
    return matrix


def exposed(draw: Draw, camera: Path, height: int, seconds: float) -> Image:
    """Average of the pictures during the exposure that ends at a time; their number follows the camera's speed."""
    before, after = camera(seconds - _SHUTTER), camera(seconds)
    steps = min(_MOST_STEPS, 1 + int(_pixels(before, after, height) / _STEP))
    if steps == 1:
        return draw(seconds)
    total = draw(seconds).astype(np.float32)
    for index in range(1, steps):
        cv2.accumulate(draw(seconds - _SHUTTER * index / steps), total)
    return np.asarray(cv2.convertScaleAbs(total, alpha=1 / steps), np.uint8)


def _pixels(before: CameraPose, after: CameraPose, height: int) -> float:
    turned = math.hypot(after.yaw - before.yaw, after.pitch - before.pitch) + 0.5 * abs(after.roll - before.roll)
    moved = math.dist((before.x, before.y, before.z), (after.x, after.y, after.z)) / _TYPICAL_DISTANCE
    zoomed = 0.6 * abs(after.focal - before.focal) / before.focal
    return float(height * (after.focal * (turned + moved) + zoomed))
