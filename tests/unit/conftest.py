"""What all unit tests may use."""

import gc
import os
import signal
from collections.abc import Iterator

import pytest

# Before anybody imports numpy: where cores are shared, OpenBLAS' threads spend more time on waiting for each other than
# small products take. Decoders' children do without them too.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_SECONDS = 30  # several times what each of these tests takes on a busy machine


def pytest_collection_finish() -> None:
    """What is imported by now stays: the garbage collector does not go through it again and again."""
    gc.freeze()


@pytest.fixture
def bounded() -> Iterator[None]:
    """A test that waits for what never comes is red, and does not hang."""

    def over(*_: object) -> None:
        raise TimeoutError(f"it waits for more than {_SECONDS} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
