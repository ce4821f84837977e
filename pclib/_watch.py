"""What work took: seconds in each stage, and the most memory held meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import psutil

LOOKS = 0.02  # seconds between looks at the memory


def held_by_this_process() -> int:
    """Bytes of memory."""
    return psutil.Process().memory_info().rss


class Watch:
    """Entered around some work: `seconds` by stage, and `most`, the most bytes that were held while it ran.

    `held` says how many are, and is asked every `looks` seconds; by default it is what this process holds.
    """

    def __init__(self, held: Callable[[], int] = held_by_this_process, looks: float = LOOKS) -> None:
        self.seconds: dict[str, float] = {}
        self._held, self._looks = held, looks
        self.most = 0

    def __enter__(self) -> Self:
        self._done = threading.Event()
        self._look()
        self._watcher = threading.Thread(target=self._keep_looking, daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()
        self._look()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time spent within under this name."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    def _keep_looking(self) -> None:
        while not self._done.wait(self._looks):
            self._look()

    def _look(self) -> None:
        self.most = max(self.most, self._held())
