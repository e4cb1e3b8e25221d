"""What all unit tests may use."""

import signal
from collections.abc import Iterator

import pytest

_SECONDS = 30  # several times what each of these tests takes on a busy machine


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
