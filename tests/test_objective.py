"""Objectives against a plain scalar re-implementation of the contract's formulas."""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgym import ArchGymError, AtLeast, AtMost, Maximize, Minimize, Objective, Target
from archgym.simulator import Outcome

METRICS = ("latency_s", "energy_j", "area_mm2", "accuracy")
positive = st.floats(1e-6, 1e6)
weights = st.floats(0.1, 5.0)


def scalar(objective: Objective, m: dict[str, float]) -> tuple[float, bool]:
    """Reward and validity of one feasible design, written from the contract and not from the code."""

    def clip(value: float) -> float:
        return max(-10.0, value if objective.form == "archgym" else min(10.0, value))

    base = 1.0 if objective.form == "archgym" else 0.0
    for term in objective.terms:
        reference = objective.reference.get(term.metric, 1.0)
        x = m[term.metric]
        if objective.form == "archgym":
            base *= min(
                (term.value / abs(x - term.value)) ** term.weight if x != term.value else math.inf, 1e6
            )
        elif isinstance(term, Target):
            distance = math.log(x / term.value) if objective.form == "log" else (x - term.value) / term.value
            base -= term.weight * abs(distance)
        else:
            x = max(x, term.floor) if isinstance(term, Minimize) else x
            size = math.log(x / reference) if objective.form == "log" else x / reference
            base += term.weight * (size if isinstance(term, Maximize) else -size)
    valid, excess = True, 0.0
    for c in objective.constraints:
        x = m[c.metric]
        if x > c.limit if isinstance(c, AtMost) else x < c.limit:
            valid = False
            if objective.form == "log":
                over = math.log(x / c.limit if isinstance(c, AtMost) else c.limit / x)
            elif objective.form == "nasaic":
                bound = c.bound if c.bound is not None else 2 * c.limit if isinstance(c, AtMost) else 0.0
                over = 10 * (x - c.limit) / (bound - c.limit)
            else:
                over = abs(x - c.limit) / abs(c.limit)
            excess += c.weight * over
    if valid:
        return clip(base), True
    return (-10 - excess / (1 + excess) if objective.strict else clip(base - excess)), False


@st.composite
def objectives(draw: st.DrawFn) -> Objective:
    form = draw(st.sampled_from(["log", "linear", "nasaic", "archgym"]))
    targets = draw(
        st.lists(
            st.builds(Target, st.sampled_from(METRICS), positive, weights),
            min_size=1,
            max_size=2,
            unique_by=lambda t: t.metric,
        )
    )
    plain = st.one_of(
        st.builds(Minimize, st.sampled_from(METRICS), weights, st.just(0.0) | positive),
        st.builds(Maximize, st.sampled_from(METRICS), weights),
    )
    others = draw(st.lists(plain, max_size=3, unique_by=lambda t: t.metric))
    taken = {t.metric for t in others}
    terms = targets if form == "archgym" else [*others, *(t for t in targets if t.metric not in taken)]
    constraint = st.one_of(
        st.builds(AtMost, st.sampled_from(METRICS), positive, weights),
        st.builds(AtLeast, st.sampled_from(METRICS), positive, weights),
    )
    constraints = draw(st.lists(constraint, max_size=3, unique_by=lambda c: (type(c), c.metric)))
    reference = draw(st.dictionaries(st.sampled_from(METRICS), positive, max_size=3))
    return Objective(*terms, *constraints, reference=reference, form=form, strict=draw(st.booleans()))


@st.composite
def batches(draw: st.DrawFn) -> tuple[dict[str, np.ndarray], np.ndarray]:
    n = draw(st.integers(1, 6))
    columns = {name: np.array(draw(st.lists(positive, min_size=n, max_size=n))) for name in METRICS}
    feasible = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    for column in columns.values():
        column[~feasible] = np.nan
    return columns, feasible


@given(objectives(), batches())
def test_a_batch_is_rewarded_as_the_formulas_say_row_by_row(objective, batch):
    columns, feasible = batch
    before = {name: column.copy() for name, column in columns.items()}
    rewards = objective(columns, feasible)
    for i, exists in enumerate(feasible):
        if not exists:
            assert rewards.reward[i] == -11.0 and not rewards.valid[i]
            continue
        reward, valid = scalar(objective, {name: float(column[i]) for name, column in columns.items()})
        assert rewards.reward[i] == pytest.approx(reward, rel=1e-9, abs=1e-9) and rewards.valid[i] == valid
    for name, column in columns.items():
        assert np.array_equal(column, before[name], equal_nan=True)


@given(objectives(), batches())
def test_infeasible_is_below_everything_and_strict_puts_violating_below_valid(objective, batch):
    columns, feasible = batch
    reward, valid = objective(columns, feasible)
    assert (reward[feasible] > -11.0).all() and (reward[~feasible] == -11.0).all()
    if objective.strict:
        assert (reward[feasible & ~valid] < -10.0).all()
    assert (reward[valid] >= -10.0).all() and (objective.form == "archgym" or (reward[valid] <= 10.0).all())


@given(objectives())
def test_the_dictionary_form_gives_the_same_objective_back_also_through_json(objective):
    again = Objective.from_dict(json.loads(json.dumps(objective.to_dict())))
    kinds = (Minimize, Maximize, Target)
    ordered = [t for kind in kinds for t in objective.terms if isinstance(t, kind)]
    assert list(again.terms) == ordered and set(again.constraints) == set(objective.constraints)
    assert (again.reference, again.form, again.strict) == (
        objective.reference,
        objective.form,
        objective.strict,
    )
    assert Objective.from_dict(again.to_dict()) == again and hash(
        Objective.from_dict(again.to_dict())
    ) == hash(again)


def test_a_design_twice_as_good_as_the_reference_has_reward_log_2():
    objective = Objective(Minimize("latency_s"), reference={"latency_s": 1e-3})
    assert objective({"latency_s": np.array([5e-4])}, np.array([True])).reward[0] == pytest.approx(
        math.log(2)
    )


def test_the_study_file_form_is_understood():
    data = {
        "minimize": ["latency_s"],
        "weights": {"latency_s": 2.0},
        "at_most": {"area_mm2": 4.0, "energy_j": {"limit": 1.0, "weight": 3.0, "bound": 5.0}},
        "reference": {"latency_s": 1e-3},
        "form": "log",
    }
    expected = Objective(
        Minimize("latency_s", 2.0),
        AtMost("area_mm2", 4.0),
        AtMost("energy_j", 1.0, 3.0, 5.0),
        reference={"latency_s": 1e-3},
    )
    assert Objective.from_dict(data) == expected


def test_floors_stand_in_study_files_and_make_objectives_different():
    written = """
        minimize = ["error", "area"]
        weights = { area = 2.0 }
        floors = { error = 1e-7 }
    """
    objective = Objective(Minimize("error", floor=1e-7), Minimize("area", 2.0))
    assert Objective.from_dict(tomllib.loads(written)) == objective
    assert objective.to_dict()["floors"] == {"error": 1e-7}
    several = Objective(Minimize("error", 2.0, 0.5), Target("error", 3.0))
    assert Objective.from_dict(several.to_dict()) == several
    same = Objective(Minimize("error", floor=np.float64(1e-7)), Minimize("area", 2))
    assert same == objective and hash(same) == hash(objective) and same.to_dict() == objective.to_dict()
    other = Objective(Minimize("error"), Minimize("area", 2.0))
    assert other != objective and "floors" not in other.to_dict()
    assert Objective(Minimize("error", floor=0)) == Objective(Minimize("error"))
    assert "floor=1e-07" in repr(objective)


def test_differences_below_a_floor_do_not_count_and_negative_values_stand_at_it():
    given = [-3.0, -1e-16, 0.0, 1e-9, 1e-7, 1e-6, 1.0]
    objective = Objective(Minimize("error", 2.0, 1e-7), reference={"error": 1e-3})
    floor, one = 2 * math.log(1e4), [2 * math.log(1e3), 2 * math.log(1e-3)]
    reward, valid = rewards_of(objective, error=given)
    expected = [min(floor, 10.0)] * 5 + [min(one[0], 10.0), max(one[1], -10.0)]
    assert reward == pytest.approx(expected) and all(valid)
    linear = Objective(Minimize("error", floor=0.5), form="linear")
    assert rewards_of(linear, error=[-1, 0.2, 0.5, 2.0])[0] == [-0.5, -0.5, -0.5, -2.0]
    # a limit on the same metric keeps its own logarithm
    limited = Objective(Minimize("error", floor=0.5), AtMost("error", 1.0))
    assert rewards_of(limited, error=[-1, 2.0]) == (
        [pytest.approx(math.log(2)), pytest.approx(-math.log(4))],
        [True, False],
    )
    at_least = Objective(Minimize("error", floor=0.5), AtLeast("error", 0.1))
    assert rewards_of(at_least, error=[-1, 0.2])[0] == [-11.0, pytest.approx(math.log(2))]
    outcome = Outcome(np.array([[-1.0], [1.0]]), np.array([True, True]))
    limited.judge(outcome, ["error"])
    assert outcome.feasible.all() and not outcome.failures
    assert not objective.unbounded({"error": 0.0}) and Objective(Minimize("error")).unbounded({"error": 0.0})


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Objective(), "at least one"),
        (lambda: Objective(AtMost("area_mm2", 1.0)), "at least one"),
        (lambda: Objective("latency_s"), "latency_s"),
        (lambda: Objective(Minimize("latency_s"), form="lgo"), "log"),
        (lambda: Objective(Minimize("latency_s"), form="archgym"), "Target"),
        (lambda: Objective(Minimize("latency_s"), reference={"latency_s": 0.0}), "reference"),
        (lambda: Objective(Target("latency_s", -1.0)), "target"),
        (lambda: Objective(Minimize("latency_s"), AtMost("area_mm2", 0.0)), "limit"),
        (
            lambda: Objective(Minimize("latency_s"), AtMost("area_mm2", 1.0, bound=1.0), form="nasaic"),
            "bound",
        ),
        (lambda: Objective.from_dict({"minimise": ["latency_s"]}), "minimize"),
        (lambda: Objective.from_dict({"minimize": ["latency_s"], "weights": {"energy_j": 2.0}}), "energy_j"),
        (
            lambda: Objective(Minimize("latency_s", floor=-1e-9)),
            "floor of 'latency_s' of at least 0, got -1e-09",
        ),
        (
            lambda: Objective(Minimize("latency_s", floor=math.nan)),
            "finite number as the floor of 'latency_s'",
        ),
        (
            lambda: Objective(Minimize("latency_s", floor=math.inf)),
            "finite number as the floor of 'latency_s'",
        ),
        (lambda: Objective(Minimize("latency_s", floor="1")), "finite number as the floor of 'latency_s'"),
        (
            lambda: Objective(Minimize("m", floor=1.0), Minimize("m", floor=2.0)),
            "at most one Minimize of 'm'",
        ),
        *(
            (
                lambda data=data: Objective.from_dict({**data, "floors": {"m": 1.0}}),
                "floors of minimized metrics",
            )
            for data in (
                {"maximize": ["m"]},
                {"target": {"m": 1.0}},
                {"minimize": ["n"], "at_most": {"m": 1.0}},
            )
        ),
        (lambda: Objective.from_dict({"minimize": ["m"], "floors": 1.0}), "not an objective"),
        (lambda: Objective.from_dict({"minimize": ["m"], "floors": {"m": "x"}}), "not an objective"),
        (lambda: Objective.from_dict({"minimize": ["m"], "floor": {"m": 1.0}}), "floors"),
    ],
)
def test_wrong_objectives_are_refused_with_what_is_wrong(build, says):
    with pytest.raises(ArchGymError, match=says):
        build()


@pytest.mark.parametrize(
    "objective",
    [
        Objective(Minimize("latency")),
        Objective(Minimize("latency_s"), AtMost("latency", 1.0)),
        Objective(Minimize("latency_s"), reference={"latency": 1.0}),
    ],
)
def test_an_unknown_metric_is_refused_with_the_nearest_name(objective):
    with pytest.raises(ArchGymError, match="did you mean 'latency_s'"):
        objective.check(["latency_s", "energy_j"])


def rewards_of(objective: Objective, **columns: list[float]) -> tuple[list[float], list[bool]]:
    arrays = {name: np.array(column, float) for name, column in columns.items()}
    with np.errstate(all="raise"):
        reward, valid = objective(arrays, np.ones(len(next(iter(arrays.values()))), bool))
    return reward.tolist(), valid.tolist()


ZEROS = [0.0, -0.0]


@pytest.mark.parametrize(
    ("objective", "reward"), [(Minimize("m"), 10.0), (Maximize("m"), -10.0), (Target("m", 3.0), -10.0)]
)
def test_a_metric_of_0_is_the_best_or_the_worst_that_there_is_whatever_its_weight_and_reference(
    objective, reward
):
    for weight, reference in ((1.0, 1.0), (1e-3, 1e300), (5.0, 1e-300)):
        term = dataclasses.replace(objective, weight=weight)
        assert rewards_of(Objective(term, reference={"m": reference}), m=ZEROS) == ([reward] * 2, [True] * 2)


def test_a_metric_of_0_that_violates_has_the_largest_penalty_and_still_ranks_above_infeasible():
    at_least = AtLeast("m", 2.0)
    assert rewards_of(Objective(Minimize("x"), at_least), m=ZEROS, x=[1e-3, 1.0]) == (
        [-10.0] * 2,
        [False] * 2,
    )
    strict, valid = rewards_of(
        Objective(Minimize("x"), at_least, strict=True), m=[*ZEROS, 1e-300, 1.9], x=[1.0] * 4
    )
    assert -11 < strict[0] == strict[1] <= strict[2] < strict[3] < -10 and not any(valid)
    assert rewards_of(Objective(Minimize("x"), AtMost("m", 2.0)), m=[0.0, -5.0], x=[1.0, 1.0]) == (
        [0.0] * 2,
        [True] * 2,
    )


def test_where_a_perfect_part_meets_the_worst_of_another_the_worst_counts():
    both = Objective(Minimize("x"), Maximize("m"))
    assert rewards_of(both, x=[0, 0, 1], m=[0, 1, 0]) == ([-10, 10, -10], [True] * 3)
    assert rewards_of(Objective(Minimize("x"), AtLeast("m", 2.0)), x=[0, 0], m=[0, 1]) == (
        [-10, 10],
        [False] * 2,
    )
    assert rewards_of(Objective(Minimize("x"), Maximize("m", weight=0.0)), x=[0, 1], m=[0, 0]) == (
        [10, 0],
        [True] * 2,
    )


@pytest.mark.parametrize("value", [5e-324, 1e-310, 1.7e308])
def test_the_smallest_and_largest_numbers_are_rewarded(value):
    sign = 1 if value < 1 else -1
    for reference in (1.0, 1e300, 1e-300):
        assert rewards_of(Objective(Minimize("m"), reference={"m": reference}), m=[value])[0] == [10.0 * sign]


@pytest.mark.parametrize(
    "objective",
    [
        Objective(Minimize("energy_j")),
        Objective(Target("energy_j", 1.0)),
        Objective(Minimize("latency_s"), AtLeast("energy_j", 1.0)),
    ],
)
def test_a_metric_below_0_under_a_logarithm_makes_its_design_infeasible_with_the_reason(objective):
    columns = {"energy_j": np.array([1.0, -1.5, -2.0]), "latency_s": np.ones(3)}
    reward, valid = objective(columns, np.array([True, True, False]))
    assert reward.tolist() == [0.0, -11.0, -11.0] and valid.tolist() == [True, False, False]
    outcome = Outcome(
        np.stack([columns["energy_j"], columns["latency_s"]], axis=1),
        np.array([True, True, False]),
        failures={2: "no"},
    )
    judged = objective.judge(outcome, ["energy_j", "latency_s"])
    assert judged.reward.tolist() == reward.tolist() and judged.valid.tolist() == valid.tolist()
    assert (
        outcome.feasible.tolist() == [True, False, False]
        and np.isnan(outcome.values[1]).all()
        and outcome.failures[2] == ("no")
    )
    assert all(word in outcome.failures[1] for word in ("energy_j = -1.5", "form='linear'"))


def test_forms_without_logarithms_take_any_number():
    for form in ("linear", "nasaic"):
        assert (
            Objective(Minimize("energy_j"), form=form)(
                {"energy_j": np.array([-2.0])}, np.array([True])
            ).reward[0]
            == 2.0
        )


def test_one_metric_in_several_terms_keeps_their_weights_in_the_dictionary_form():
    objective = Objective(
        Target("a", 2.0, 4.0),
        Maximize("a", 3.0),
        Minimize("b"),
        Minimize("a", 2.0),
        AtLeast("a", 1),
        AtMost("a", 9),
    )
    assert Objective.from_dict(json.loads(json.dumps(objective.to_dict()))) == objective


def test_terms_that_differ_in_their_weights_alone_are_one_term():
    assert Objective(Minimize("a"), Minimize("b"), Minimize("a", 0.5)) == Objective(
        Minimize("a", 1.5), Minimize("b")
    )


def test_the_order_of_parts_of_different_kinds_changes_no_bit_of_a_reward():
    parts = [Maximize("a", 0.1), Minimize("b", 0.7), Target("c", 3.0, 0.3)]
    metrics = {name: np.geomspace(0.1, 7.0, 50) for name in "abc"}
    one, other = (Objective(*each)(metrics, np.ones(50, bool)).reward for each in (parts, parts[::-1]))
    assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([Target("a", 1.0), Target("a", 2.0)], "at most one Target of 'a'"),
        ([Minimize("a"), AtMost("b", 1), AtMost("b", 2)], "at most one AtMost of 'b'"),
        ([Minimize("a", float("nan"))], "a finite number as the weight of 'a', got nan"),
        ([Minimize("a", None)], "a finite number as the weight of 'a', got None"),
        ([Minimize("a"), AtMost("b", "4")], "a finite number as the limit of 'b', got '4'"),
        ([Target("a", float("inf"))], "a finite number as the value of 'a', got inf"),
    ],
)
def test_parts_that_a_specification_could_not_state_are_refused(parts, says):
    with pytest.raises(ArchGymError, match=says):
        Objective(*parts)


def test_numbers_of_an_objective_are_plain():
    objective = Objective(Minimize("a", np.float32(0.5)), AtMost("b", np.int64(3)))
    assert (
        json.dumps(objective.to_dict()) == '{"minimize": ["a"], "weights": {"a": 0.5}, "at_most": {"b": 3}}'
    )
    with pytest.raises(ArchGymError, match="references as a dictionary"):
        Objective(Minimize("a"), reference={"a": "x"})
