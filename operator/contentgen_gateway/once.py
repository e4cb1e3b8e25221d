"""A parameter is given once: of `?userId=ann&userId=bob` one would be taken, and nobody could say which."""

from collections import Counter

from fastapi import Request

from contentgen_gateway.problems import Problem

_SEVERAL = frozenset({"users", "namespaces"})
"""Of whom there may be several."""


async def each_once(request: Request) -> None:
    """Raises Problem 422."""
    counted = Counter(name for name, _ in request.query_params.multi_items() if name not in _SEVERAL)
    twice = next((name for name, number in counted.items() if number > 1), None)
    if twice is not None:
        shown = twice[:64]
        errors = [{"loc": ["query", shown], "msg": "given more than once"}]
        raise Problem(422, f"{shown}: the parameter is given more than once; give it once", errors=errors)
