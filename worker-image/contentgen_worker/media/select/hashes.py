"""Perceptual hash, the `hash` of a picture in dataset.json. `similarity.py` decides which pictures are duplicates."""

import cv2
import numpy as np

from contentgen_worker.media.decode.planes import Plane


def perceptual_hash(y: Plane) -> int:
    """64 bits: which of the 8 x 8 lowest frequencies of luma exceed their median (imagehash's `phash`, but faster).

    The picture is scaled to 32 x 32, whatever its shape. The first bit is the mean, always 1 except for a picture
    without detail.
    """
    small = cv2.resize(y, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:8, :8].ravel()
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")
