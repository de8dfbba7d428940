"""SIGTERM and SIGINT, heard by the thread that may."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread


@contextmanager
def on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """In the block SIGTERM and SIGINT call `stop` instead of ending the process.

    In any thread but the main one nothing changes: only that one is told of signals.
    """
    if current_thread() is not main_thread():
        yield
        return
    before = {
        number: signal.signal(number, lambda *_: stop())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
