"""Sound of one track as the format of speech recognition: 16 kHz, mono, 16 bits."""

from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame

from contentgen_worker.errors import Unsupported
from contentgen_worker.media.audio.loudness import WINDOW
from contentgen_worker.media.audio.mix import Block, Samples, bounded, equal_weights, gains, mixed, stated_weights

RATE = 16_000  # samples a second
_BLOCK = int(RATE * WINDOW)  # samples per block
_MAX_CHANNELS = 64  # of FFmpeg's resampler
_STEREO = 2  # channels; without a stated layout they get the same weights as with one


class MonoMixer:
    """Conversion of decoded frames to blocks of mono; rate, format and layout may change on the way.

    `cancelled`: seconds in which channels cancelled each other; `unstated`: number of channels without a stated layout.
    """

    def __init__(self, context: AudioCodecContext) -> None:
        self.cancelled = 0.0
        self.unstated = 0
        self._stated = _take_layout(context)
        self._shape: tuple[Any, ...] = ()
        self._resampler: av.AudioResampler | None = None
        self._weights: Samples = np.ones(1, np.float32)
        self._gains: Samples | None = None

    def add(self, frame: AudioFrame) -> Iterator[Block]:
        """Blocks that this frame completes. Raises Unsupported for too many channels."""
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or shape != self._shape:
            yield from self.flush()
            self._weights, self._gains = self._weigh(frame), None
            # Packed: PyAV 18.1.0 crashes on planar frames of 8 channels or more.
            self._resampler = av.AudioResampler(format="flt", rate=RATE, frame_size=_BLOCK)
            self._shape = shape
        frame.pts = None
        yield from map(self._mix, self._resampler.resample(frame))

    def flush(self) -> Iterator[Block]:
        """The last, incomplete block."""
        if self._resampler is not None:
            yield from map(self._mix, self._resampler.resample(None))
        self._resampler = None

    def _weigh(self, frame: AudioFrame) -> Samples:
        channels = frame.layout.nb_channels
        if channels > _MAX_CHANNELS:
            raise Unsupported(f"its sound has {channels} channels, at most {_MAX_CHANNELS} are read; split it")
        weights = stated_weights(self._stated or [channel.name for channel in frame.layout.channels])
        if weights is not None and len(weights) == channels:
            return weights
        if channels > _STEREO:
            self.unstated = max(self.unstated, channels)
        return equal_weights(channels)

    def _mix(self, frame: AudioFrame) -> Block:
        window, loud = bounded(np.ascontiguousarray(frame.to_ndarray().reshape(-1, len(self._weights)).T))
        before = self._weights if self._gains is None else self._gains
        now, cancelled = gains(window, self._weights, before, loud=loud)
        if cancelled:
            self.cancelled += window.shape[1] / RATE
        mix = mixed(window, now if self._gains is None else self._gains, now)
        self._gains = now
        return mix


def _take_layout(context: AudioCodecContext) -> list[str]:
    """Names of the channels that the container states, for a codec that has no layout of its own; else none.

    PyAV 18.1.0 frees a layout with an own order of channels (in MOV, CAF) twice, once for each copy of it.
    The decoder is given their number alone, so its frames have no such layout.
    """
    if not context.name.startswith(("pcm_", "adpcm_")):
        return []
    layout = context.layout
    context.layout = f"{layout.nb_channels} channels"
    return [channel.name for channel in layout.channels]
