"""Queue: runs wait for a place before their prepare Job and before their payment; namespaces take turns (0033).

In the order of a run: `gate` says what asks for a place and holds the run, `preparation_queue` and `payment_queue`
have the places, `fair_turns` the order, `circuit_breaker` the endpoints that get no request, and `collect_line` the
paid results that wait for room in a quota. `open_places` says which paid requests take a place.
"""
