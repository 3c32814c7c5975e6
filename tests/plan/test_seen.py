"""What attention sees inside documents, against counts pair by pair."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from custom_modules.data.index import open_index
from custom_modules.plan.seen import seen_pairs
from tests.plan.test_prepared import TRAINED, plan_of, write_manifest
from tests.support.tiny import TINY


def count_pairs(tokens: int, window: int | None) -> int:
    """Count the pairs of tokens of one document in one sequence, one by one."""
    return sum(1 for query in range(tokens) for key in range(query + 1) if window is None or query - key < window)


def cut(length: int, begin: int, seq_length: int) -> list[int]:
    """Return the tokens in each sequence of a document that begins at a place of one."""
    places = np.arange(begin, begin + length) // seq_length
    return np.unique(places, return_counts=True)[1].tolist()


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60), st.integers(1, 24), st.none() | st.integers(1, 30))
def test_a_document_that_begins_anywhere(length: int, seq_length: int, window: int | None) -> None:
    pieces = [piece for begin in range(seq_length) for piece in cut(length, begin, seq_length)]
    pairs = sum(count_pairs(piece, window) for piece in pieces) / seq_length
    assert seen_pairs(((1, length),), seq_length, window) == pytest.approx(pairs * seq_length / length, rel=1e-12)


def drawn_lengths() -> NDArray[np.int64]:
    return np.ceil(np.random.default_rng(0).lognormal(4, 1, 100_000)).astype(np.int64)


@pytest.mark.parametrize(("seq_length", "window"), [(128, None), (128, 48), (32, 48), (256, 100)])
def test_a_packed_stream(seq_length: int, window: int | None) -> None:
    lengths = drawn_lengths()
    documents = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(documents)) // seq_length
    begins = np.flatnonzero(np.diff(documents, prepend=-1) | np.diff(place, prepend=-1))
    pieces = np.diff(begins, append=len(documents))
    pairs = np.array([0, *(count_pairs(tokens, window) for tokens in range(1, seq_length + 1))])[pieces].sum()
    each = tuple((1, int(length)) for length in lengths)
    assert seen_pairs(each, seq_length, window) == pytest.approx(pairs / (place[-1] + 1), rel=2e-3)


MASKED = "data.reset_attention_mask=true"


def planned(danube: Callable[..., subprocess.CompletedProcess[str]], data: Path, *overrides: str) -> dict[str, Any]:
    """Return the plan of the small run as JSON."""
    done = danube("plan", "--json", "--config-name", "danube_rehearsal", *TINY, f"data.dir={data}", *overrides)
    assert done.returncode == 0, done.stderr
    plan: dict[str, Any] = json.loads(done.stdout)
    return plan


def test_the_plan_counts_what_the_windows_of_prepared_data_have(danube: Any, prepared: Path) -> None:
    """The windows of stage2's documents in many orders, their pairs counted one by one."""
    masked, plain = (planned(danube, prepared, *overrides) for overrides in ((MASKED, "data.eod_mask_loss=true"), ()))
    index = open_index(prepared / "stage2/text_train.idx")
    source, counted, documents = np.random.default_rng(0), [], []
    for _ in range(20):
        lengths = source.permutation(index.lengths)
        stream = np.repeat(np.arange(len(lengths)), lengths)
        for window in stream[: len(stream) // 64 * 64].reshape(-1, 64):
            _, pieces = np.unique(window, return_counts=True)
            documents.append(len(pieces))
            counted.append(sum(count_pairs(int(piece), 48) for piece in pieces))
    stage = masked["stages"][1]
    assert stage["mean_visible_tokens"] == pytest.approx(np.mean(counted) / 64, rel=0.01)
    assert stage["seen"]["documents"] == pytest.approx(np.mean(documents), rel=0.01)
    assert stage["seen"]["ends"] == index.documents / index.tokens
    whole = plain["stages"][1]
    assert stage["seen"]["share"] == stage["mean_visible_tokens"] / whole["mean_visible_tokens"] < 0.9
    # Two layers, 32 query features: 12 FLOPs each and pair.
    fewer = 12 * 2 * 32 * (whole["mean_visible_tokens"] - stage["mean_visible_tokens"])
    assert whole["flops_per_token"] - stage["flops_per_token"] == pytest.approx(fewer)
    assert masked["flops"] == sum(one["flops"] for one in masked["stages"]) < plain["flops"]
    assert plain["stages"][0]["seen"] is None


def test_a_mix_draws_from_each_source_by_its_share(tmp_path: Path) -> None:
    """Sources of short and of long documents: what a stage sees is between them as the mix is."""
    write_manifest(tmp_path, {name: 2 * tokens + 4096 for name, tokens in TRAINED.items()}, sources=("web", "books"))
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    for stage in manifest["stages"].values():
        for part in stage["train"]:
            length = {"web": 40, "books": 900}[part["source"]]
            part["documents"] = part["tokens"] // length
            part["tokens"] = part["documents"] * length
            part["lengths"] = [[part["documents"], part["tokens"]]]
    path.write_text(json.dumps(manifest))
    mixes = [f"++curriculum.stages.{name}.mix={{web: 0.75, books: 0.25}}" for name in TRAINED]
    plan = plan_of(tmp_path, MASKED, "data.input=null", *mixes)
    for stage in plan.stages:
        web, books = (seen_pairs(((1, length),), stage.seq_length, 256) for length in (40, 900))
        assert stage.seen is not None and stage.seen.pairs == pytest.approx(0.75 * web + 0.25 * books)
        assert stage.seen.documents == pytest.approx(1 + (stage.seq_length - 1) * (0.75 / 40 + 0.25 / 900))


def test_without_prepared_data_it_is_said_that_documents_are_not_counted(danube: Any, tmp_path: Path) -> None:
    plain, masked = (planned(danube, tmp_path, *overrides) for overrides in ((), (MASKED,)))
    assert (masked["flops"], masked["device_hours"]) == (plain["flops"], plain["device_hours"])
    said = danube("plan", "--config-name", "danube_rehearsal", *TINY, f"data.dir={tmp_path}", MASKED).stdout
    assert "documents do not see each other (data.reset_attention_mask)" in said
    assert "stage1, stage2: no prepared data says how long documents are; FLOPs are counted as if they saw each" in said
