"""What work took: seconds in each stage, and the most memory held meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import psutil

LOOKS = 0.02  # seconds between looks at the memory


class Watch:
    """Entered around some work: `seconds` by stage, and `most`, the most bytes that the process held while it ran."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.most = 0

    def __enter__(self) -> Self:
        self._process, self._done = psutil.Process(), threading.Event()
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
        while not self._done.wait(LOOKS):
            self._look()

    def _look(self) -> None:
        self.most = max(self.most, self._process.memory_info().rss)
