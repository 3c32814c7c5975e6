"""Another order of what is left to read: of each part, epoch by epoch, and nothing else."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custom_modules.config.load import load_config
from custom_modules.config.stages import Curriculum
from custom_modules.data.dataset import training_dataset
from custom_modules.data.manifest import load_manifest
from custom_modules.data.reordering import Cut, PartCuts, open_order, places_in_parts, publish_orders
from tests.support.taught import EVERY_4TH, TAUGHT, TOP_K, ids_beside, prepare_taught
from tests.support.tiny import TINY

RAMP = "model.rampup_batch_tokens=[128,128,5000]"


@st.composite
def parts(draw: st.DrawFn) -> list[PartCuts]:
    """Parts of one or more epochs, with as many cuts each, whose places rise or fall as rollbacks have them."""
    seeds = draw(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3, unique=True))
    found = []
    for _ in range(draw(st.integers(1, 3))):
        lengths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=3))
        starts = tuple(int(start) for start in np.cumsum([0, *lengths]))
        found.append(PartCuts(starts, tuple(Cut(draw(st.integers(0, starts[-1])), seed) for seed in seeds)))
    return found


@settings(deadline=None, max_examples=40)
@given(parts())
def test_each_sample_once_an_epoch_and_none_before_the_cut_elsewhere(
    tmp_path_factory: pytest.TempPathFactory, parts: list[PartCuts]
) -> None:
    cache = tmp_path_factory.mktemp("cache")
    for count in range(1, len(parts[0].cuts) + 1):
        sofar = [PartCuts(starts, cuts[:count]) for starts, cuts in parts]
        folder = publish_orders(cache, sofar)
        before = publish_orders(cache, [PartCuts(starts, cuts[:-1]) for starts, cuts in sofar]) if count > 1 else None
        for number, (starts, cuts) in enumerate(sofar):
            order = open_order(folder, number)
            for begin, end in pairwise(starts):
                assert sorted(order[begin:end]) == list(range(begin, end))
            earlier = np.arange(starts[-1]) if before is None else open_order(before, number)
            place = cuts[-1].place
            assert np.array_equal(order[:place], earlier[:place])
            for begin, end in pairwise(starts):
                begin = max(begin, place)
                if begin < end:
                    assert sorted(order[begin:end]) == sorted(earlier[begin:end])


def test_it_is_another_order_for_each_seed_part_and_epoch(tmp_path: Path) -> None:
    starts = (0, 500, 1000)
    folder = publish_orders(tmp_path, [PartCuts(starts, (Cut(100, 1),))] * 2)
    other = publish_orders(tmp_path, [PartCuts(starts, (Cut(100, 2),))] * 2)
    one, two, three = open_order(folder, 0), open_order(folder, 1), open_order(other, 0)
    assert (one[100:500] == np.arange(100, 500)).mean() < 0.05
    for left, right in ((one, two), (one, three), (one[500:] - 500, one[:500])):
        assert (left[100:500] == right[100:500]).mean() < 0.05


def test_it_is_the_same_wherever_it_is_made(tmp_path: Path) -> None:
    """From nothing or from the file of an earlier rollback; a damaged file is made again."""
    cuts = (Cut(10, 5), Cut(4, 6), Cut(30, 7))
    step_by_step = [publish_orders(tmp_path / "one", [PartCuts((0, 25, 60), cuts[:n])]) for n in (1, 2, 3)][-1]
    at_once = publish_orders(tmp_path / "two", [PartCuts((0, 25, 60), cuts)])
    whole = open_order(step_by_step, 0)
    assert np.array_equal(whole, open_order(at_once, 0))
    (at_once / "order_0.npy").write_bytes(b"")
    assert np.array_equal(whole, open_order(publish_orders(tmp_path / "two", [PartCuts((0, 25, 60), cuts)]), 0))


def test_places_in_parts() -> None:
    chosen = np.random.default_rng(0).integers(0, 3, 1000).astype(np.int16)
    for samples in (0, 1, 500, 1000):
        counted = Counter(int(part) for part in chosen[:samples])
        assert places_in_parts(chosen, 4, samples) == [counted[part] for part in range(4)]


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_taught(tmp_path_factory.mktemp("taught"))


@pytest.mark.parametrize("distillation", [EVERY_4TH, TAUGHT], ids=["a mix of two parts", "two streams"])
def test_a_stage_keeps_its_pattern(distillation: list[str], single_process: None, taught: Path, tmp_path: Path) -> None:
    """Where a sample comes from stays, what is before a cut stays, each sample comes as often; rows follow tokens."""
    words = [*TINY, *distillation, RAMP, f"data.dir={taught}", "trainer.devices=1", "data.max_epochs=2"]
    config = load_config("danube_rehearsal", words)
    stage, manifest = Curriculum.from_config(config).stage("stage1"), load_manifest(config)
    ends = [0, *(stage.consumed_samples(phase.end_tokens) for phase in stage.phases)]
    cuts = [Cut(ends[1], 7), Cut(ends[1], 8), Cut(ends[2], 9)]

    def read(count: int) -> list[tuple[bytes, object]]:
        dataset: Any = training_dataset(config, manifest, stage, tmp_path, cuts[:count])
        items = [dataset[index] for index in range(stage.num_samples)]
        for item in items:
            if "teacher_ids" in item:
                said = (item["teacher_probabilities"] > 0).any(dim=-1).numpy()
                tokens = item["tokens"].numpy()
                for number in range(2):
                    expected = ids_beside(tokens, number).reshape(len(tokens), TOP_K)
                    assert (item["teacher_ids"][:, number].numpy()[said[:, number]] == expected[said[:, number]]).all()
        return [(item["tokens"].numpy().tobytes(), item.get("dataset_id", "teacher_ids" in item)) for item in items]

    orders = [read(count) for count in range(len(cuts) + 1)]
    for cut, before, after in zip(cuts, orders, orders[1:], strict=False):
        assert [source for _, source in after] == [source for _, source in before]
        assert after[: cut.place] == before[: cut.place]
        assert after[cut.place :] != before[cut.place :]
    often = {source: max(Counter(one for one in orders[0] if one[1] == source).values()) for _, source in orders[0]}
    assert len(often) == 2
    assert all(count <= often[source] for order in orders for (_, source), count in Counter(order).items())
