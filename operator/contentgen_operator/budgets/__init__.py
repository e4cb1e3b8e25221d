"""ContentBudgets: a run is paid only if each budget that counts it has room for its upper bound (docs/decisions/0032).

In the order of a run: `cluster` lists the budgets, `feature` reads the usage of their windows, `gate` holds the run,
`claims` says what its purchase reserves, `store` reserves it, and `keeper` sums what is spent and shows the usage.
"""
