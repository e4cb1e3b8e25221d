"""HTTPS API of the workers: authentication by pod token, work orders, reports."""
