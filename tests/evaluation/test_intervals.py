"""Intervals over few runs: measured coverage, p-values that agree with them, corrections for many comparisons."""

from math import inf, isnan, nan

import numpy as np
import pytest
import torch
from scipy.stats import trim_mean, ttest_1samp

from robustgames.errors import GameError
from robustgames.evaluation.intervals import holm, of_means, of_returns
from robustgames.evaluation.metrics import METRICS, metric_of
from robustgames.evaluation.reliability import bootstrap, iqm, mean_over_runs, paired, probability_of_improvement
from robustgames.evaluation.robustness import Sweep, compare
from robustgames.evaluation.rounding import cell, mean_of_runs
from robustgames.evaluation.statistics import summarize
from robustgames.sweeps.comparison import Method, against_first
from robustgames.sweeps.table import Row

TABLES = 20_000


def coverage(intervals, truth):
    low, high = np.array([(found.low, found.high) for found in intervals]).T
    return np.mean((low <= truth) & (truth <= high))


@pytest.mark.parametrize("runs", [5, 6, 8, 10, 15, 20])
def test_95_percent_intervals_of_normal_returns_cover_95_percent(runs):
    returns = np.random.default_rng(runs).normal(-140, 30, (runs, TABLES))
    assert 0.93 < coverage(bootstrap(returns), -140) < 0.97


@pytest.mark.parametrize(
    ("runs", "exponential", "lognormal", "failures"),  # docs/explain/control.md prints these
    [(5, 0.92, 0.88, 0.84), (8, 0.93, 0.90, 0.87), (10, 0.94, 0.90, 0.90), (20, 0.95, 0.92, 0.97)],
)
def test_skewed_returns_are_covered_as_often_as_the_docs_print(runs, exponential, lognormal, failures):
    rng = np.random.default_rng(runs)
    shape = (runs, TABLES)
    assert coverage(bootstrap(rng.exponential(size=shape)), 1) == pytest.approx(exponential, abs=0.012)
    assert coverage(bootstrap(rng.lognormal(size=shape)), np.exp(0.5)) == pytest.approx(lognormal, abs=0.012)
    fails = np.where(rng.random(shape) < 0.2, rng.normal(-6, 1, shape), rng.normal(size=shape))  # one run in five
    assert coverage(bootstrap(fails), -1.2) == pytest.approx(failures, abs=0.012)


@pytest.mark.parametrize("runs", [5, 10])
def test_intervals_over_runs_and_shared_starts_cover_the_mean_over_both(runs):
    rng = np.random.default_rng(runs)
    found = []
    for _ in range(3000):
        start, run = 3 * rng.normal(size=(1, 10)), rng.normal(size=(runs, 1))
        found += of_returns(start + run + 0.5 * rng.normal(size=(runs, 10))).intervals()
    assert 0.93 < coverage(found, 0) < 0.975


def test_means_of_runs_alone_are_too_narrow_where_starts_are_shared():
    rng = np.random.default_rng(0)
    alone = [bootstrap((3 * rng.normal(size=(1, 10)) + rng.normal(size=(8, 10))).mean(1))[0] for _ in range(500)]
    assert coverage(alone, 0) < 0.6


@pytest.mark.parametrize("runs", [5, 8, 20])
def test_interquartile_means_are_covered(runs):
    values = np.random.default_rng(runs).normal(size=(runs, 600))
    found = bootstrap(values, statistic=lambda scores: trim_mean(scores, 0.25, axis=0))
    assert 0.93 < coverage(found, 0) < 0.98
    assert found[0] == pytest.approx(iqm(values[:, :1]))


@pytest.mark.parametrize("runs", [5, 20])
def test_probabilities_of_improvement_are_covered(runs, monkeypatch):
    monkeypatch.setattr("robustgames.evaluation.reliability.REPETITIONS", 100)
    x, y = np.random.default_rng(runs).normal(size=(2, 120, runs, 1))
    better = [probability_of_improvement(*pair) for pair in zip(x, y, strict=True)]
    assert coverage(better, 0.5) > 0.93 and all(0 <= b.low <= b.estimate <= b.high <= 1 for b in better)


def test_one_method_above_the_other_in_all_runs_is_not_certain_to_be_better():
    found = probability_of_improvement(np.arange(5.0)[:, None] + 10, np.arange(5.0)[:, None])
    assert found.estimate == found.high == 1 and 0.3 < found.low < 0.5
    assert probability_of_improvement(np.zeros((8, 1)), np.ones((8, 1))).high == pytest.approx(
        1 - 8 / (8 + 2.3646**2), 1e-4
    )


@pytest.mark.parametrize("runs", [1, 2, 3, 4])
def test_fewer_than_five_runs_have_no_interval(runs):
    values = np.arange(float(runs))
    few, many = values[:, None], np.arange(6.0)[:, None]
    found = [
        bootstrap(values)[0],
        iqm(few),
        probability_of_improvement(few, many),
        paired(values, values + 1).difference,
    ]
    assert all(np.isnan([one.low, one.high]).all() and np.isfinite(one.estimate) for one in found)
    assert "nan" not in "".join(map(str, found)) and "[" not in "".join(map(str, found))
    assert "nan" not in str(paired(values, values))


def test_symmetric_runs_have_students_interval_and_mirrored_runs_the_mirrored_one():
    values = np.array([-3.0, -1, 0, 1, 3, 5, -5])
    [found] = bootstrap(values)
    expected = ttest_1samp(values, 0).confidence_interval()
    assert [found.low, found.high] == pytest.approx([expected.low, expected.high])
    skewed = np.exp(np.linspace(-1, 2, 8))
    [one], [other] = bootstrap(skewed), bootstrap(-skewed)
    assert [one.low, one.high] == pytest.approx([-other.high, -other.low])
    assert one.high - one.estimate > one.estimate - one.low  # the long side is where the rare returns are
    assert bootstrap(1e6 * skewed)[0].low == pytest.approx(1e6 * one.low)


def test_equal_runs_have_a_point_whatever_rounding_does():
    [found] = bootstrap(np.full(7, 0.1))
    assert found == (pytest.approx(0.1), found.estimate, found.estimate)


def test_equal_differences_have_no_p_value():
    found = paired(np.full(5, 25.0), np.full(5, 24.0))  # e.g. modes: p = 0 would be certainty after five runs
    assert found.difference == (1, 1, 1) and found.wins == 5 and isnan(found.p_value)
    assert paired(np.full(5, 25.0), np.full(5, 25.0)).p_value == 1
    assert holm(np.array([found.p_value, 0.03])).tolist()[1] == 0.03


def test_a_p_value_is_below_5_percent_where_the_interval_excludes_zero():
    values = np.random.default_rng(0).exponential(size=(9, 4000)) - 1.6
    spread = of_means(values)
    low, high = np.array([(one.low, one.high) for one in spread.intervals()]).T
    assert 0.02 < np.mean((low > 0) | (high < 0)) < 0.98
    excluded = (low > 0) | (high < 0)
    assert excluded[spread.p_values() < 0.05].all() and (spread.p_values() < 0.05).sum() > 0.5 * excluded.sum()
    assert paired(np.arange(6.0), np.arange(6.0)).p_value == 1
    assert paired(np.array([-2.0, -1, 0, 1, 2]) + 1, np.zeros(5)).p_value == pytest.approx(
        ttest_1samp(np.array([-1.0, 0, 1, 2, 3]), 0).pvalue
    )


def test_holm_by_hand_and_its_share_of_false_tables():
    p = np.array([[0.01, 0.04], [np.nan, 0.03]])
    np.testing.assert_allclose(holm(p), [[0.03, 0.06], [np.nan, 0.06]])
    assert holm(np.array([])).size == 0 and holm(np.array([0.9, 0.8])).tolist() == [1, 1]
    tables = of_means(np.random.default_rng(1).normal(size=(8, 28 * 2000))).p_values().reshape(2000, 28)
    assert (tables.min(1) < 0.05).mean() > 0.6  # some of 28 true hypotheses is rejected in most tables
    assert 0.02 < np.mean([(holm(row) < 0.05).any() for row in tables]) < 0.06


def test_pairs_on_the_same_starts_are_compared_over_runs_and_starts():
    rng = np.random.default_rng(0)
    axes = {"mass": (0.5, 1.0)}
    start, run = rng.normal(size=(1, 1, 10)), rng.normal(size=(6, 1, 1))
    first = Sweep("Toy-v0", axes, 100 * start + 10 * run + rng.normal(size=(6, 2, 10)) + 5)
    second = Sweep("Toy-v0", axes, 100 * start + 10 * run + rng.normal(size=(6, 2, 10)))
    found = compare(first, second)["mean"]
    assert 3 < found.difference.low < 5 < found.difference.high < 7 and found.p_value < 1e-3  # starts cancel
    shifted = Sweep("Toy-v0", axes, first.returns + 50 * rng.normal(size=(1, 1, 10)))
    assert compare(shifted, second)["mean"].p_value > 0.05  # one start decides
    assert first.summary()["mean"].high - first.summary()["mean"].low > 50  # ± t of 10 starts with std 100
    single = Sweep("Toy-v0", axes, first.returns[..., :1])
    assert single.summary()["mean"] == bootstrap(single.cells.mean(1))[0]
    assert first.iqm().low < first.iqm().estimate < first.iqm().high


def test_scores_that_do_not_fit_are_named():
    with pytest.raises(GameError, match="without a statistic give one array"):
        bootstrap(np.ones(5), np.ones(5))


# -- ranges --------------------------------------------------------------------------------------------------------
LOST = [17.0, 17.0, 16.0, 16.0, 7.0, 1.0]  # modes of six runs


def test_an_interval_stays_in_the_range_of_its_metric():
    free = mean_over_runs(LOST)
    assert free.low < 0 < free.high < 25
    assert mean_over_runs(LOST, *metric_of("modes").range) == (free.estimate, 0, free.high)
    assert mean_over_runs(LOST, 0, 13) == (free.estimate, 0, 13)
    high = [0.99, 1.0, 1.0, 0.98, 0.9]
    for name in ("clean_accuracy", "last_high_quality"):
        free, found = mean_over_runs(high), mean_over_runs(high, *metric_of(name).range)
        assert found == (free.estimate, free.low, 1) and free.high > 1 > free.low > 0.7
    assert mean_over_runs(LOST, *metric_of("return").range) == mean_over_runs(LOST)  # which has no range


def test_an_interval_of_a_constant_or_rounded_estimate_keeps_its_estimate():
    assert mean_over_runs([25.0] * 6, 0, 25) == (25, 25, 25)
    rounded = mean_over_runs([-1e-9] * 6, 0, 1)
    assert rounded.low == rounded.high == rounded.estimate < 0
    few = mean_over_runs([0.5, 0.75], 0, 1)
    assert few.estimate == 0.625 and np.isnan([few.low, few.high]).all()


def test_ranges_of_the_metrics_of_the_package():
    for metric in METRICS.values():
        least, most = metric.range
        assert least < most and (metric.unit != "share" or (least, most) == (0, 1))
    assert metric_of("accuracy").range_of_differences == (-1, 1)
    assert metric_of("modes").range_of_differences == (-np.inf, np.inf)
    assert metric_of("my_loss").range == (-np.inf, np.inf)


def test_clipping_does_not_change_how_often_the_truth_is_covered():
    scores = np.random.default_rng(1).beta(20, 1, (6, 4000))
    free = bootstrap(scores)
    clipped = [found.within(0, 1) for found in free]
    assert coverage(clipped, 20 / 21) == coverage(free, 20 / 21)
    assert sum(found.high > 1 for found in free) > 40 and max(found.high for found in clipped) <= 1


def test_tables_of_sweeps_and_comparisons_are_in_range():
    runs = {(seed, 0): value for seed, value in enumerate([1.0, 1.0, 1.0, 1.0, 0.55, 0.3])}
    other = {(seed, 0): value for seed, value in enumerate([0.0, 0.0, 0.1, 0.0, 0.9, 0.0])}
    first, second = (Method({}, values={"clean_accuracy": values}) for values in (runs, other))
    assert mean_over_runs([*runs.values()]).low < 0 or mean_over_runs([*runs.values()]).high > 1
    found = first.interval("clean_accuracy")
    assert 0 <= found.low < found.high <= 1
    _, apart = against_first([first, second], "clean_accuracy")
    free = paired(np.array([*other.values()]), np.array([*runs.values()])).difference
    assert free.low < -1 <= apart.difference.low == apart.paired.difference.low
    row = Row({}, values=[*runs.values()], metric="clean_accuracy")
    assert row.interval == found
    assert "-" not in mean_of_runs(metric_of("clean_accuracy"), [*other.values()])


@pytest.mark.parametrize(
    ("runs", "text"),
    [
        ([1.25, 1.75], "1.50 ± 0.35 nats"),
        ([1.25, inf, 1.75], "1.50 ± 0.35 nats, not finite in 1"),
        ([nan, 1.5], "1.5 ± 0 nats, not finite in 1"),
        ([inf, inf], "not finite"),
        ([inf], "not finite"),
        ([1.5], "1.5 nats"),
    ],
)
def test_a_cell_counts_the_runs_that_its_mean_leaves_out(runs, text):
    summary = summarize({"reverse_kl": torch.tensor(runs, dtype=torch.float64)})
    assert cell(metric_of("reverse_kl"), summary["reverse_kl"], len(runs)) == text
