"""Fixtures and settings of all unit tests."""

import gc
import os
import signal
from collections.abc import Iterator

import pytest

# Before anybody imports numpy: where cores are shared, OpenBLAS' threads spend more time on waiting for each other than
# small products take. Decoders' children do without them too.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_SECONDS = 120  # only reached by a test that hangs


def pytest_collection_finish() -> None:
    """Exempt imported modules from garbage collection, which would traverse them repeatedly."""
    gc.freeze()


@pytest.fixture
def bounded() -> Iterator[None]:
    """Fail a test after 120 s instead of hanging."""

    def over(*_: object) -> None:
        raise TimeoutError(f"it waits for more than {_SECONDS} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
