"""Threads of torch where many small operations follow each other."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(number: int | None = 1) -> Iterator[None]:
    """So many threads of torch inside, as many as before afterwards; `None`: as it is.

    Also a decorator. What is done structure by structure is made of operations of
    microseconds: two threads that sleep while they wait (as mfal asks of OpenMP) take 1.6
    to 2.7 times as long there as one (`benchmarks/scaling`). A switch takes less than a
    microsecond.

    Raises:
        ValueError: fewer than one thread.
    """
    if number is not None and number < 1:
        raise ValueError(f"there is at least one thread, got {number}")
    before = torch.get_num_threads()
    torch.set_num_threads(before if number is None else number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
