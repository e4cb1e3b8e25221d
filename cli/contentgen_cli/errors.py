"""Errors with advice for the user, which `main` prints without a traceback.

CliError
├── ResourceNotFound  no such resource
├── NotPermitted      the user lacks the permission
├── Waiting           the container has not started and has no log
├── ApiUnreachable    the API server or the gateway does not respond; transient
└── ResourceChanged   the resource was changed concurrently
"""


class CliError(Exception):
    """An error that the user can resolve."""


class ResourceNotFound(CliError):
    """The resource does not exist."""


class NotPermitted(CliError):
    """The user lacks the permission."""


class Waiting(CliError):
    """The container has not started."""


class ApiUnreachable(CliError):
    """The API server or the gateway does not respond."""


class ResourceChanged(CliError):
    """The resource was changed after it was read."""
