"""Judging beside the decoding: verifiers at work in threads, so that no other sequence waits for a slow one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Final, Generic, TypeVar

Found = TypeVar("Found")

_MOST: Final = 4
"""Threads: what judges for long does so in a process of its own, and the decoding wants the cores as well."""


class Judges(Generic[Found]):
    """Threads that judge, used as a context: at its end none is at work any more.

    `cancelled`: whether nobody waits for a verdict any more. Its methods belong to one thread; what a judgement raises
    is raised where its verdict is taken.
    """

    def __init__(self, cancelled: Callable[[], bool]) -> None:
        self._cancelled = cancelled
        self._left = threading.Event()
        self._pool = ThreadPoolExecutor(min(_MOST, os.cpu_count() or 1), thread_name_prefix="judge")
        self._at_work: dict[Future[Found], int] = {}

    def __enter__(self) -> Judges[Found]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def stopped(self) -> bool:
        """For those who judge, in their thread: whether they should come to an end."""
        return self._left.is_set() or self._cancelled()

    def begin(self, number: int, judgement: Callable[[], Found]) -> None:
        """Have something judged; its verdict is told by this number."""
        self._at_work[self._pool.submit(judgement)] = number

    def ready(self) -> Iterator[tuple[int, Found]]:
        """The verdicts that are there, without waiting: numbers and verdicts, in the order in which they were begun."""
        for future in [one for one in self._at_work if one.done()]:
            yield self._at_work.pop(future), future.result()

    def rest(self) -> Iterator[tuple[int, Found]]:
        """All verdicts that were not taken yet, as they come."""
        while self._at_work:
            wait(self._at_work, return_when=FIRST_COMPLETED)
            yield from self.ready()
