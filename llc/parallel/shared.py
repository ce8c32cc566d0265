"""What a process and its workers share: a flag that asks them to stop, and a line on which they report.

Neither has a lock. A worker may be killed at any instant, and a lock that it held would be held for ever:
`multiprocessing`'s Event and Queue can hang the processes that are left.
"""

import contextlib
import pickle
import select
import threading
from collections.abc import Iterator
from multiprocessing.context import BaseContext
from typing import Any

from llc.parallel.units import Progress


class Flag:
    """Once set, seen by all who hold it; it crosses into a process only as the process is started."""

    def __init__(self, context: BaseContext) -> None:
        self._byte = context.RawValue("b", 0)

    def set(self) -> None:
        """Raise it, for good."""
        self._byte.value = 1

    def is_set(self) -> bool:
        """Whether anyone has set it."""
        return bool(self._byte.value)


class Line:
    """The workers' end of a line of reports.

    A message goes in one write to a pipe and is no longer than the system writes at once: of a worker killed half-way,
    all of it arrives or nothing. Longer notes are cut.
    """

    # Where a system does not say, POSIX's least.
    _LONGEST = getattr(select, "PIPE_BUF", 512) - 4  # a connection puts four bytes of length before it

    def __init__(self, end: Any) -> None:
        self._end = end

    def send(self, unit: str, done: int, total: int, note: str) -> None:
        """Say how far a unit of work is."""
        message = pickle.dumps((unit, done, total, note))
        if (excess := len(message) - self._LONGEST) > 0:
            kept = note.encode()[: -excess - 8].decode(errors="ignore")
            message = pickle.dumps((unit, done, total, f"{kept}…"))
        self._end.send_bytes(message)


@contextlib.contextmanager
def listening(context: BaseContext, progress: Progress) -> Iterator[Line]:
    """Pass on to `progress`, in a thread, what workers send on the line, until the end of the block.

    Raises:
        BaseException: what `progress` raised, at the end of the block; the line is read to its end all the same, for no
            worker may wait on it.
    """
    receiver, sender = context.Pipe(duplex=False)
    failures: list[BaseException] = []

    def listen() -> None:
        while message := receiver.recv_bytes():
            if not failures:
                try:
                    progress(*pickle.loads(message))
                except BaseException as error:
                    failures.append(error)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield Line(sender)
    finally:
        sender.send_bytes(b"")  # nobody reports an empty message
        listener.join()
        sender.close()
        receiver.close()
    if failures:
        raise failures[0]
