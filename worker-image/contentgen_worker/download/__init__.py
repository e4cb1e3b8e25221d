"""Downloads from untrusted URLs: address checks, byte ranges, budgets and resumption."""
