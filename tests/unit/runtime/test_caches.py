"""In-memory caches."""

from contentgen_runtime.caches import BoundedDict


def test_the_entries_that_were_assigned_last_are_kept() -> None:
    cache: BoundedDict[str, int] = BoundedDict(2)
    cache["a"], cache["b"] = 1, 2
    cache["a"] = 3
    cache["c"] = 4
    assert list(cache.items()) == [("a", 3), ("c", 4)]
