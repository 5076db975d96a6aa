"""L-BFGS: known minima, its line search, its memory laid down and taken up again."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.lbfgs import CURVATURE, DECREASE, LBFGS, MEMORY, Evaluation


def rosenbrock(x):
    """The banana valley in pairs of variables; its minimum is 0 at (1, 1, ...)."""
    a, b = x[::2], x[1::2]
    gradient = np.empty_like(x)
    gradient[::2] = -2.0 * (1.0 - a) - 400.0 * a * (b - a * a)
    gradient[1::2] = 200.0 * (b - a * a)
    return Evaluation(
        float(((1.0 - a) ** 2 + 100.0 * (b - a * a) ** 2).sum()), gradient, {"first": float(x[0])}
    )


def quadratic(n, condition, seed=0):
    """1/2 x'Hx - c'x with eigenvalues from 1 to `condition`, and its minimum."""
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(rng.normal(size=(n, n)))
    H = (axes * np.geomspace(1.0, condition, n)) @ axes.T
    c = rng.normal(size=n)
    return lambda x: Evaluation(float(0.5 * x @ H @ x - c @ x), H @ x - c), np.linalg.solve(H, c)


def searched(objective, start, *, tolerance=1e-9, limit=2000):
    """The search after as many steps as the gradient needs to vanish, and how many those were."""
    search = LBFGS.begin(objective, np.array(start, dtype=np.float64))
    count = 0
    while search.steepness > tolerance and not search.stalled and count < limit:
        search.step(objective)
        count += 1
    return search, count


@pytest.mark.parametrize("start", [[-1.2, 1.0], [3.0, -4.0], [-1.2, 1.0, 0.0, 0.0, 5.0, 5.0]])
def test_it_walks_down_rosenbrocks_valley(start):
    """To (1, 1, ...), in some hundred steps at most."""
    search, count = searched(rosenbrock, start)

    assert np.allclose(search.position, 1.0, atol=1e-7)
    assert search.at.value < 1e-14
    assert count < 150


@pytest.mark.parametrize(("n", "condition"), [(1, 1.0), (5, 10.0), (40, 1e4), (200, 100.0)])
def test_a_quadratic_ends_at_its_closed_form(n, condition):
    """H^-1 c, to half the digits of float64: closer by, values no longer differ."""
    objective, minimum = quadratic(n, condition)
    search, _ = searched(objective, np.zeros(n))

    assert np.allclose(search.position, minimum, atol=1e-6)


def test_the_minimum_is_that_of_a_brute_search():
    """A valley with two variables that has no closed form, against a grid that is refined nine times."""

    def objective(x):
        a, b = x
        e = np.exp(a + 2.0 * b)
        gradient = np.array([e - 2.0 * np.exp(-2.0 * a), 2.0 * e - 1.0 + 0.2 * b])
        return Evaluation(float(e + np.exp(-2.0 * a) - b + 0.1 * b * b), gradient)

    centre, width = np.zeros(2), 4.0
    for _ in range(9):
        grid = [
            np.array([a, b]) for a in np.linspace(-width, width, 21) for b in np.linspace(-width, width, 21)
        ]
        centre = min((centre + one for one in grid), key=lambda x: objective(x).value)
        width /= 6.0
    search, _ = searched(objective, [0.0, 0.0])

    assert np.allclose(search.position, centre, atol=1e-5)
    assert search.at.value <= objective(centre).value


def test_every_step_meets_the_weak_wolfe_conditions():
    """The value falls by its share of the slope, and the slope that remains is smaller."""
    search = LBFGS.begin(rosenbrock, np.array([-1.2, 1.0]))
    for _ in range(30):
        before, at = search.position, search.at
        search.step(rosenbrock)
        step = search.position - before
        slope = float(at.gradient @ step)
        assert search.at.value <= at.value + DECREASE * slope
        assert float(search.at.gradient @ step) >= CURVATURE * slope


def test_a_search_that_is_laid_down_goes_on_to_the_same_bits():
    """After any number of steps, through npz and JSON."""
    for laid in (0, 1, 5, MEMORY + 3):
        search = LBFGS.begin(rosenbrock, np.array([-1.2, 1.0, 2.0, 2.0]))
        for _ in range(laid):
            search.step(rosenbrock)
        file = io.BytesIO()
        np.savez(file, **search.arrays())
        file.seek(0)
        other = LBFGS.restore(dict(np.load(file)), json.loads(json.dumps(search.describe())), 4)
        for _ in range(6):
            search.step(rosenbrock)
            other.step(rosenbrock)

        assert other.position.tobytes() == search.position.tobytes()
        assert other.describe() == search.describe()
        assert all(np.array_equal(one, other.arrays()[name]) for name, one in search.arrays().items())


def test_the_memory_is_of_the_last_steps():
    """At most ten, the newest last; what was handed out does not change any more."""
    objective, _ = quadratic(30, 1e3)
    search = LBFGS.begin(objective, np.zeros(30))
    kept = []
    for _ in range(MEMORY + 4):
        before = search.position
        search.step(objective)
        kept.append(search.position - before)
    given = search.arrays()
    search.step(objective)

    assert np.array_equal(given["steps"], np.stack(kept[-MEMORY:]))


def test_a_search_without_a_way_down_is_stalled():
    """Where the gradient is wrong, and at the minimum itself; nothing moves from then on."""
    liar = LBFGS.begin(lambda x: Evaluation(float(x @ x), -2.0 * x), np.array([1.0, 2.0]))
    liar.step(lambda x: Evaluation(float(x @ x), -2.0 * x))
    objective, minimum = quadratic(3, 2.0)
    there = LBFGS.begin(lambda x: Evaluation(objective(x).value, np.zeros(3)), minimum)
    there.step(objective)

    assert liar.stalled
    assert there.stalled
    assert np.array_equal(liar.position, [1.0, 2.0])
    assert LBFGS.restore(liar.arrays(), liar.describe(), 2).stalled


def test_what_is_not_finite_is_too_far():
    """A wall in the way is not stepped into; a start inside of it is refused."""

    def objective(x):
        with np.errstate(invalid="ignore", divide="ignore"):
            return Evaluation(float(x[0] - np.log(x[0])), 1.0 - 1.0 / x)

    search, _ = searched(objective, [0.01])

    assert search.position == pytest.approx([1.0])
    with pytest.raises(MLModelError, match="not finite") as caught:
        LBFGS.begin(objective, np.array([-1.0]))
    assert caught.value.code is MLModelErrorCode.UPDATE


@pytest.mark.parametrize("name", ["position", "gradient", "steps", "changes"])
def test_arrays_that_do_not_fit_are_refused(name):
    """With an IO error that names the array."""
    search, _ = searched(rosenbrock, [-1.2, 1.0], limit=3)
    with pytest.raises(MLModelError, match=name) as caught:
        LBFGS.restore({**search.arrays(), name: np.zeros((2, 5))}, search.describe(), 2)
    assert caught.value.code is MLModelErrorCode.IO
