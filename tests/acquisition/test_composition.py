"""Sums, products and schedules are what their names say of their parts."""

import pytest
from criteria import KERNEL, Problem, candidates, positions, targets

from mfal.acquisition import (
    Coverage,
    MaximumVariance,
    MinimumDistance,
    ParameterInformation,
    Product,
    Schedule,
    WeightedSum,
    select_batch,
)

PICKS = ([], [3], [3, 1])


def conditioned(acquisition, picks):
    for pick in picks:
        acquisition.condition_on(pick)
    return acquisition


def information(p):
    return ParameterInformation(p.pool)


def coverage(p):
    return Coverage(p.descriptors, KERNEL)


@pytest.mark.parametrize("picks", PICKS)
@pytest.mark.parametrize("blocks", [[0], [2, 5]])
def test_sums_and_products_are_those_of_their_parts(picks, blocks):
    p = Problem(0)
    one, other = (
        conditioned(m(p), picks).value(blocks) for m in (information, coverage)
    )
    total = WeightedSum([information(p), coverage(p)], [0.5, 3.0])
    product = Product([information(p), coverage(p)])
    assert conditioned(total, picks).value(blocks) == pytest.approx(
        0.5 * one + 3 * other
    )
    assert conditioned(product, picks).value(blocks) == pytest.approx(one * other)


def test_what_parts_promise_of_labels_their_sum_and_product_promise():
    p = Problem(0)
    good, fair, none = information, lambda p: MaximumVariance(p.pool), targets
    promises = {
        (good, coverage): ((True, True), (True, False)),
        (good, fair): ((True, False), (True, False)),
        (fair, none): ((False, False), (False, False)),
    }
    for makers, (of_sum, of_product) in promises.items():
        total = WeightedSum([m(p) for m in makers], [1.0, 1.0])
        product = Product([m(p) for m in makers])
        assert (total.diminishing, total.submodular) == of_sum
        assert (product.diminishing, product.submodular) == of_product


def test_a_schedule_hands_over_after_its_numbers_of_picks():
    p = Problem(1)
    schedule = Schedule([coverage(p), information(p), targets(p)], [1, 3])
    made = [coverage, information, information, targets]
    taken = []
    for make in made:
        expected = conditioned(make(p), taken).values(range(8))
        assert schedule.values(range(8)).tolist() == pytest.approx(expected.tolist())
        assert schedule.value([2, 6]) == pytest.approx(
            conditioned(make(p), taken).value([2, 6])
        )
        taken.append(len(taken))
        schedule.condition_on(taken[-1])
    schedule.keep(0)
    assert schedule.values([0]).tolist() == coverage(p).values([0]).tolist()


def test_a_schedule_of_a_campaign_counts_what_was_bought_before():
    p = Problem(1)
    parts = [coverage(p), MinimumDistance(p.descriptors)]
    schedule = Schedule(parts, [10], start=9)
    batch = select_batch(schedule, candidates(), 3)
    first = positions(select_batch(coverage(p), candidates(), 1))
    rest = select_batch(MinimumDistance(p.descriptors), candidates(), 2, pending=first)
    assert positions(batch) == [*first, *positions(rest)]


def test_what_makes_no_sense_is_refused():
    p = Problem(0)
    one = information(p)
    with pytest.raises(ValueError, match="each of the 2 parts of a sum has a positive"):
        WeightedSum([information(p), coverage(p)], [1.0, -1.0])
    with pytest.raises(ValueError, match="a memory of its own, got 2 parts"):
        Product([one, one])
    with pytest.raises(ValueError, match="got 0 parts"):
        Product([])
    with pytest.raises(ValueError, match="1 numbers of picks that rise"):
        Schedule([information(p), coverage(p)], [0])
    with pytest.raises(ValueError, match="start without picks"):
        Product([conditioned(information(p), [1]), coverage(p)])
