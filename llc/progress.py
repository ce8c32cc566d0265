"""Progress of long work: bars with rate and time left on a terminal, by `rich`, quiet lines elsewhere."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from llc.extras import installed
from llc.parallel import Progress

# Where there is no terminal: seconds between two lines about the same unit of work.
_LINE_EVERY_SECONDS = 30.0


@contextmanager
def show_progress(unit: str) -> Iterator[Progress]:
    """What to hand to long work; `unit` names what is counted, such as `steps`."""
    if sys.stderr.isatty() and installed("rich"):
        with _bars(unit) as progress:
            yield progress
    else:
        yield _lines(unit)


@contextmanager
def patient_progress(unit: str, seconds: float = 10.0) -> Iterator[Progress]:
    """The same for work that may be short: nothing is shown of what has ended after so many seconds."""
    with ExitStack() as stack:
        shown, last, lock = list[Progress](), list[tuple[str, int, int, str]](), threading.Lock()

        def begin() -> None:
            """With what was said last, for the work may not say anything else for long."""
            with lock:
                shown.append(stack.enter_context(show_progress(unit)))
                if last:
                    shown[0](*last[0])

        def progress(name: str, done: int, total: int, note: str) -> None:
            with lock:
                last[:] = [(name, done, total, note)]
                if shown:
                    shown[0](name, done, total, note)

        patience = threading.Timer(seconds, begin)
        patience.daemon = True
        patience.start()
        if seconds <= 0:
            patience.join()
        try:
            yield progress
        finally:
            patience.cancel()
            patience.join()


def _lines(unit: str) -> Progress:
    started: dict[str, tuple[float, int]] = {}
    said: dict[str, float] = {}
    lock = threading.Lock()

    def progress(name: str, done: int, total: int, note: str) -> None:
        if not total:  # nothing to count, only something to say
            print(note, file=sys.stderr, flush=True)
            return
        with lock:
            now = time.monotonic()
            began, first = started.setdefault(name, (now, done))
            beginning = not done and note and name not in said  # with what it begins with, which may take long
            if done < total and now - said.get(name, began) < _LINE_EVERY_SECONDS and not beginning:
                return
            said[name] = now
            rate = (done - first) / (now - began) if now > began else 0.0
            left = f", {(total - done) / rate:.0f} s left" if rate > 0 and done < total else ""
            line = f"{name}: {done}/{total} {unit}" + (f" at {rate:.3g}/s{left}" if rate > 0 else "")
            print(f"{line}; {note}" if note else line, file=sys.stderr, flush=True)

    return progress


@contextmanager
def _bars(unit: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Task, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars
    from rich.text import Text

    class Rate(TextColumn):
        def __init__(self) -> None:
            super().__init__("")

        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.3g} {unit}/s" if task.speed else "")

    bars: dict[str, TaskID] = {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    with Bars(*columns, console=Console(stderr=True)) as shown:

        def progress(name: str, done: int, total: int, note: str) -> None:
            if not total:  # nothing to count, only something to say
                shown.console.print(note)
                return
            if name not in bars:
                bars[name] = shown.add_task(name, total=total, note=note)
            shown.update(bars[name], completed=done, total=total, note=note)

        yield progress
