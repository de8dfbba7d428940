"""What to do with the levels before anything is chosen."""


def low_level_first(ratio: float, threshold: float) -> bool:
    """Whether the pool is labelled at the low level before anything is chosen."""
    return ratio > threshold
