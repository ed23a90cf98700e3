"""Types under a limit of bytes: the rule against trying everything, and what is told where nothing fits."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from models.errors import CannotMeetError
from quantize.recipe.recipe import Choice, choose, least_bytes

Choices = dict[str, list[Choice]]


def _random_choices(seed: int) -> Choices:
    drawn = random.Random(seed)
    return {
        f"t{number}": [
            Choice(f"k{kind}", (kind + 2) * size, weight * 4.0**-kind * drawn.uniform(0.5, 1.5)) for kind in range(4)
        ]
        for number, size, weight in ((n, drawn.choice((3, 10, 17)), drawn.expovariate(1.0)) for n in range(5))
    }


def _loss(found: dict[str, Choice]) -> float:
    return math.fsum(one.loss for one in found.values())


def _bytes(found: dict[str, Choice]) -> int:
    return sum(one.bytes for one in found.values())


def _best(choices: Choices, limit: int) -> float:
    every = itertools.product(*choices.values())
    return min(math.fsum(one.loss for one in own) for own in every if sum(one.bytes for one in own) <= limit)


@pytest.mark.parametrize("seed", range(40))
def test_the_sum_is_the_least_or_within_one_step_of_it(seed: int) -> None:
    choices = _random_choices(seed)
    least, most = least_bytes(choices), sum(max(one.bytes for one in own) for own in choices.values())
    for share in (0.0, 0.2, 0.5, 0.8, 1.0):
        limit = least + int(share * (most - least))
        found = choose(choices, limit)
        assert _bytes(found) <= limit
        step = max(max(one.loss for one in own) - min(one.loss for one in own) for own in choices.values())
        assert _best(choices, limit) - 1e-12 <= _loss(found) <= _best(choices, limit) + step
    assert _loss(choose(choices, most)) == pytest.approx(_best(choices, most))


def test_over_many_cases_little_is_lost_to_trying_everything() -> None:
    shares = []
    for seed in range(40):
        choices = _random_choices(seed)
        limit = int(1.6 * least_bytes(choices))
        shares.append(_loss(choose(choices, limit)) / _best(choices, limit))
    assert sum(shares) / len(shares) < 1.1


def test_bytes_go_where_they_save_most() -> None:
    choices = {
        "dear": [Choice("Q2_K", 10, 9.0), Choice("Q8_0", 40, 0.1)],
        "cheap": [Choice("Q2_K", 10, 0.2), Choice("Q8_0", 40, 0.1)],
    }
    found = choose(choices, 50)
    assert (found["dear"].type, found["cheap"].type) == ("Q8_0", "Q2_K")


def test_of_equal_gains_per_byte_the_larger_step_is_taken() -> None:
    choices = {
        "small": [Choice("Q2_K", 10, 2.0), Choice("Q4_K", 20, 1.0)],
        "large": [Choice("Q2_K", 10, 4.0), Choice("Q8_0", 40, 1.0)],
    }
    found = choose(choices, 55)
    assert (found["small"].type, found["large"].type) == ("Q2_K", "Q8_0")


def test_a_type_that_costs_bytes_and_saves_nothing_is_never_taken() -> None:
    choices = {"t": [Choice("Q2_K", 10, 1.0), Choice("Q3_K", 20, 1.5), Choice("Q4_K", 30, 0.5)]}
    assert choose(choices, 25)["t"].type == "Q2_K"
    assert choose(choices, 30)["t"].type == "Q4_K"


def test_what_cannot_fit_is_refused() -> None:
    choices = {"t": [Choice("Q2_K", 10, 1.0)], "u": [Choice("Q2_K", 15, 1.0)]}
    assert choose(choices, 25)
    with pytest.raises(CannotMeetError, match="25") as refused:
        choose(choices, 24)
    assert refused.value.exit_code == 7
