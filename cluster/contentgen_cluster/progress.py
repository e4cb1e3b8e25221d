"""Progress display of the steps: live on a terminal, one line each elsewhere."""

from types import TracebackType

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class Display:
    """Step observer that prints progress."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self.done: set[str] = set()

    def __enter__(self) -> "Display":
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def started(self, name: str) -> None:
        self._tasks[name] = self._live.add_task(name, total=None)

    def finished(self, name: str, seconds: float, note: str) -> None:
        self.done.add(name)
        self._line("[green]✓[/]", name, seconds, note)

    def failed(self, name: str, seconds: float, error: BaseException) -> None:
        self._line("[red]✗[/]", name, seconds, str(error).splitlines()[0] if str(error) else type(error).__name__)

    def _line(self, mark: str, name: str, seconds: float, note: str) -> None:
        self._live.remove_task(self._tasks.pop(name))
        self._console.print(f"{mark} {name:<24} {seconds:7.1f} s  [dim]{note}[/]", soft_wrap=True, highlight=False)
