"""Renderer of worlds of textured rectangles, seen by a pinhole camera."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from contentgen_bench.media.unseen.painting.camera import CameraPose, Matrix, rotation
from contentgen_bench.media.unseen.painting.plan import Image

Vector = npt.NDArray[np.float64]
_NEAR = 0.15  # metres; what is nearer to the camera is cut off
_OPAQUE = 127


@dataclass(frozen=True, eq=False)
class Quad:
    """Textured rectangle in metres: top left corner, the edges to the right and down.

    Smaller layers are drawn first; within a layer the farthest is. A billboard turns around its vertical axis toward
    the camera. `velocity` is in metres a second, `bob` is the height of steps in metres, `rate` is steps a second.
    """

    corner: Vector
    right: Vector
    down: Vector
    textures: tuple[Image, ...]  # each half as large as the one before
    layer: int = 2
    billboard: bool = False
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    bob: float = 0.0
    rate: float = 1.0


def quad(
    corner: Sequence[float], right: Sequence[float], down: Sequence[float], texture: Image, layer: int = 2
) -> Quad:
    """Rectangle at rest."""
    return Quad(np.array(corner, float), np.array(right, float), np.array(down, float), _halved(texture), layer)


def billboard(
    foot: Sequence[float],
    size: tuple[float, float],
    texture: Image,
    *,
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0),
    bob: float = 0.0,
    rate: float = 1.0,
) -> Quad:
    """Sprite of a width and height in metres whose bottom centre is `foot`."""
    width, height = size
    corner = np.array([foot[0] - width / 2, foot[1] - height, foot[2]])
    edges = np.array([width, 0.0, 0.0]), np.array([0.0, height, 0.0])
    return Quad(corner, *edges, _halved(texture), 2, billboard=True, velocity=velocity, bob=bob, rate=rate)


def box(corner: Sequence[float], size: Sequence[float], textures: Sequence[Image]) -> list[Quad]:
    """Box whose top left front corner is `corner`: front, top and two sides."""
    x, y, z = corner
    width, height, depth = size
    front, top, side = textures
    return [
        quad((x, y, z), (width, 0, 0), (0, height, 0), front),
        quad((x, y, z + depth), (width, 0, 0), (0, 0, -depth), top),
        quad((x, y, z + depth), (0, 0, -depth), (0, height, 0), side),
        quad((x + width, y, z), (0, 0, depth), (0, height, 0), side),
    ]


def _halved(texture: Image) -> tuple[Image, ...]:
    levels = [np.ascontiguousarray(texture)]
    while len(levels) < 5 and min(levels[-1].shape[:2]) >= 16:
        height, width = levels[-1].shape[:2]
        levels.append(np.asarray(cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)))
    return tuple(levels)


class SceneRenderer:
    """World prepared for rendering: the values of its rectangles as arrays."""

    def __init__(self, quads: Sequence[Quad]) -> None:
        self._quads = quads
        self._corner = np.array([quad.corner for quad in quads])
        self._right = np.array([quad.right for quad in quads])
        self._down = np.array([quad.down for quad in quads])
        self._velocity = np.array([quad.velocity for quad in quads])
        self._turns = np.array([quad.billboard for quad in quads])
        self._widths = np.linalg.norm(self._right, axis=1)
        self._bob = np.array([quad.bob for quad in quads])
        self._rate = np.array([quad.rate for quad in quads])
        self._layers = np.array([quad.layer for quad in quads])

    def render(self, pose: CameraPose, seconds: float, width: int, height: int, blank: int) -> Image:
        """Picture at a time. `blank` is the gray level where nothing is."""
        out = np.full((height, width, 3), blank, np.uint8)
        turn, eye = rotation(pose), np.array([pose.x, pose.y, pose.z])
        lens = np.array([[pose.focal * height, 0, width / 2], [0, pose.focal * height, height / 2], [0, 0, 1]])
        corner, right = self._placed(pose, seconds)
        far = np.linalg.norm(corner + (right + self._down) / 2 - eye, axis=1)
        corners = np.stack([corner, corner + right, corner + right + self._down, corner + self._down], axis=1)
        seen = (corners - eye) @ turn.T
        side = width / (2 * pose.focal * height) * seen[:, :, 2]
        hidden = (
            (seen[:, :, 2] < _NEAR).all(axis=1)
            | (seen[:, :, 0] < -side).all(axis=1)
            | (seen[:, :, 0] > side).all(axis=1)
        )
        free = np.full((height, width), 255, np.uint8)  # where nothing is drawn yet
        for index in np.lexsort([far, -self._layers]):
            if not hidden[index]:
                edges = np.column_stack([right[index], self._down[index], corner[index] - eye])
                _draw(self._quads[index].textures, list(seen[index]), lens, lens @ turn @ edges, out=out, free=free)
        return out

    def _placed(self, pose: CameraPose, seconds: float) -> tuple[Vector, Vector]:
        """Top left corners and right edges at a time."""
        step = self._bob * np.abs(np.sin(np.pi * self._rate * seconds + self._corner[:, 0]))
        corner = self._corner + self._velocity * seconds
        corner[:, 1] -= step
        facing = self._widths[:, None] * np.array([np.cos(pose.yaw), 0, -np.sin(pose.yaw)])
        right = np.where(self._turns[:, None], facing, self._right)
        return corner + (self._right - right) / 2, right


def _draw(
    textures: Sequence[Image], corners: Sequence[Vector], lens: Matrix, to_image: Matrix, *, out: Image, free: Image
) -> None:
    """Draw the free part of a rectangle, and take it from `free`: what is nearer was drawn before.

    The rectangle is given by its corners in the camera's space and its matrix from texture shares to pixels.
    """
    seen = _clipped(corners)
    if len(seen) < 3:
        return
    points = np.array(seen) @ lens.T
    points = points[:, :2] / points[:, 2:]
    height, width = free.shape
    low = np.floor(np.clip(points.min(axis=0), 0, [width, height])).astype(int)
    high = np.ceil(np.clip(points.max(axis=0), 0, [width, height])).astype(int)
    wide, tall = (int(part) for part in high - low)
    if wide < 2 or tall < 2:
        return
    mask = np.zeros((tall, wide), np.uint8)
    outline = np.clip(points - low, -4000, 4000)
    cv2.fillConvexPoly(mask, np.round(outline * 16).astype(np.int32), 255, cv2.LINE_8, 4)
    cv2.bitwise_and(mask, free[low[1] : high[1], low[0] : high[0]], mask)
    left, top, wide, tall = cv2.boundingRect(mask)
    if not wide:
        return
    mask = mask[top : top + tall, left : left + wide]
    left, top = left + int(low[0]), top + int(low[1])
    texture = _level(textures, points)
    rows, columns = texture.shape[:2]
    shift = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]])
    matrix = shift @ to_image @ np.diag([1 / columns, 1 / rows, 1])
    drawn = cv2.warpPerspective(texture, matrix, (wide, tall), None, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
    if texture.shape[2] == 4:
        mask = mask & cv2.threshold(drawn[:, :, 3], _OPAQUE, 255, cv2.THRESH_BINARY)[1].astype(np.uint8)
        drawn = cv2.cvtColor(drawn, cv2.COLOR_BGRA2BGR)
    cv2.copyTo(drawn, mask, out[top : top + tall, left : left + wide])
    part = free[top : top + tall, left : left + wide]
    cv2.subtract(part, mask, part)


def _level(textures: Sequence[Image], points: Vector) -> Image:
    """Texture whose pixels are about as large as the picture's, so that it does not flicker."""
    x, y = points.T
    area = abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2
    pixels = textures[0].shape[0] * textures[0].shape[1]
    level = round(0.5 * float(np.log2(max(1.0, pixels / max(1.0, area)))))
    return textures[min(level, len(textures) - 1)]


def _clipped(corners: Sequence[Vector]) -> list[Vector]:
    """Part of a polygon in front of the camera."""
    found: list[Vector] = []
    for here, there in zip(corners, [*corners[1:], corners[0]], strict=True):
        if here[2] >= _NEAR:
            found.append(here)
        if (here[2] >= _NEAR) != (there[2] >= _NEAR):
            share = (_NEAR - here[2]) / (there[2] - here[2])
            found.append(here + share * (there - here))
    return found
