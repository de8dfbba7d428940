"""What to do with the levels before anything is chosen."""

from mfal.acquisition import low_level_first


def test_the_low_level_comes_first_above_the_ratio():
    assert low_level_first(31.0, 30.0)
    assert not low_level_first(30.0, 30.0)
    assert not low_level_first(3.0, 30.0)
