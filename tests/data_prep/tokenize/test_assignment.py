from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from custom_modules.data.manifest import Split
from data_prep.tokenize.assignment import Assignment

RECIPE = {"stage1": 700, "stage2": 100, "stage3": 100, "stage4": 100}


def test_documents_are_shared_out_in_proportion_to_the_budgets() -> None:
    assignment = Assignment({"text": RECIPE}, validation_fraction=0.1, seed=1234)
    counts = Counter(assignment.destinations[assignment.destination(f"document {n}", "text")] for n in range(50_000))
    for stage, budget in RECIPE.items():
        fractions: dict[Split, float] = {"train": 0.9, "validation": 0.1}
        for split, fraction in fractions.items():
            expected = 50_000 * budget / 1000 * fraction
            assert abs(counts[stage, "text", split] - expected) < 5 * expected**0.5


@settings(max_examples=200)
@given(
    text=st.text(),
    budgets=st.dictionaries(st.text(min_size=1), st.integers(1, 10**13), min_size=1, max_size=6),
    fraction=st.floats(1e-6, 1, exclude_max=True),
    seed=st.integers(0, 2**31 - 1),
)
def test_a_text_has_one_place_whoever_asks(text: str, budgets: dict[str, int], fraction: float, seed: int) -> None:
    one, other = Assignment({"text": budgets}, fraction, seed), Assignment({"text": dict(budgets)}, fraction, seed)
    assert one.destination(text, "text") == other.destination(text, "text")
    assert one.destinations[one.destination(text, "text")][0] in budgets


def test_more_validation_only_moves_documents_into_validation() -> None:
    few, many = (Assignment({"text": RECIPE}, fraction, seed=1) for fraction in (0.01, 0.5))
    for number in range(2_000):
        stage, _, split = few.destinations[few.destination(str(number), "text")]
        wider = many.destinations[many.destination(str(number), "text")]
        assert wider[0] == stage
        assert split == "train" or wider[2] == "validation"


def test_another_seed_is_another_assignment() -> None:
    one, other = (Assignment({"text": RECIPE}, 0.5, seed) for seed in (1, 2))
    same = sum(
        one.destination(str(number), "text") == other.destination(str(number), "text") for number in range(1_000)
    )
    assert same < 400


def test_a_fourth_of_what_is_trained_on_is_distilled_and_nothing_else_moves() -> None:
    plain, streams = (Assignment({"web": RECIPE, "books": {"stage1": 1}}, 0.1, 1, every) for every in (None, 4))
    counts = Counter[str]()
    for number in range(20_000):
        source = "web" if number % 3 else "books"
        stage, _, before = plain.destinations[plain.destination(str(number), source)]
        place = streams.destinations[streams.destination(str(number), source)]
        assert place[:2] == (stage, source)
        assert place[2] == before or (before, place[2]) == ("train", "distilled")
        counts[place[2]] += 1
    trained = counts["train"] + counts["distilled"]
    assert abs(counts["distilled"] - trained / 4) < 5 * trained**0.5 / 2
