"""Downloads from addresses that users gave: guarded connections, ranges, budgets and resumption."""
