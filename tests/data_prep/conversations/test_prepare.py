"""What `danube prepare` leaves of conversations and pairs, and when it does so again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from custom_modules.data.chat_manifest import load_chat_manifest
from custom_modules.data.check import check_data
from custom_modules.data.conversations import Conversations
from custom_modules.data.inspect import inspect
from custom_modules.data.preferences import Preferences
from custom_modules.data.users import record_digests, record_of
from custom_modules.errors import UserError
from custom_modules.folder_lock import folder_lock
from data_prep.output.removed import read_removed
from tests.support.conversation_sets import Row, formatted, pairs_of, rendered, source, turns, write_array, write_lines

PrepareSft = Callable[..., Conversations]
PrepareDpo = Callable[..., Preferences]


def talks(first: int, last: int) -> list[Row]:
    return [{"messages": turns(f"why {number}?", f"so {number}")} for number in range(first, last)]


def openorca(first: int, last: int) -> list[Row]:
    return [{"system_prompt": "", "question": f"why {n}?", "response": f"so {n}"} for n in range(first, last)]


def prompts(prepared: Conversations) -> tuple[set[str], set[str]]:
    """First questions that are trained on, and that are held out."""
    found = rendered(prepared)
    assert len(found) == len(prepared.train) + len(prepared.validation), "one of them is there twice"
    lines = [list(inspect(prepared.path / split, 0, 10_000)) for split in ("train", "validation")]
    train, held = ({line for line in some if "<|prompt|>" in line} for some in lines)
    return train, held


def test_copies_go_wherever_they_are_and_the_first_one_stays(tmp_path: Path, prepare_sft: PrepareSft) -> None:
    write_lines(tmp_path / "a.jsonl", [*talks(0, 6), *talks(3, 8)])
    write_lines(tmp_path / "b.jsonl", openorca(5, 12))
    prepared = prepare_sft(*source("one", tmp_path / "a.jsonl"), *source("two", tmp_path / "b.jsonl"))
    assert rendered(prepared) == {formatted(row["messages"]) for row in talks(0, 12)}
    first, second = prepared.manifest.sources
    assert (first["removed"], second["removed"]) == ({"copies": {"a copy": 3}}, {"copies": {"a copy": 3}})
    assert [one["line"] for one in read_removed(prepared.path / "removed")] == [7, 8, 9, 1, 2, 3]


def test_max_samples_counts_what_is_trained_on(tmp_path: Path, prepare_sft: PrepareSft) -> None:
    """Drawn by the seed; a tenth more is held out, and no question is on both sides."""
    path = write_lines(tmp_path / "a.jsonl", talks(0, 400))
    drawn = [
        prepare_sft(
            *source("mine", path, max_samples=100),
            "data.validation_fraction=0.1",
            f"data.seed={seed}",
            directory=tmp_path / str(number),
        )
        for number, seed in enumerate((1, 1, 2))
    ]
    assert {(len(one.train), len(one.validation)) for one in drawn} == {(100, 10)}
    assert drawn[0].digest() == drawn[1].digest() != drawn[2].digest()
    train, held = prompts(drawn[0])
    assert not train & held
    assert drawn[0].manifest.sources[0]["removed"] == {"drawing": {"not drawn": 290}}
    assert not list(read_removed(drawn[0].path / "removed"))


def test_a_source_with_fewer_says_so(
    tmp_path: Path, prepare_sft: PrepareSft, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare_sft(*source("mine", write_lines(tmp_path / "a.jsonl", talks(0, 40)), max_samples=100))
    assert "data.sources.mine.max_samples=100: it has 20 only" in capsys.readouterr().err


def test_answers_to_one_question_are_all_trained_on_or_all_held_out(tmp_path: Path, prepare_sft: PrepareSft) -> None:
    rows = [{"messages": turns(f"why {number % 20}?", f"so {number}")} for number in range(200)]
    train, held = prompts(prepare_sft(*source("mine", write_lines(tmp_path / "a.jsonl", rows))))
    assert len(train) + len(held) == 20 and not train & held


def test_megatron_core_opens_the_samples(tmp_path: Path, prepare_sft: PrepareSft) -> None:
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    rows = [{"messages": turns(f"why {n}?", f"so {n}", "and?", "no " * n)} for n in range(30)]
    prepared = prepare_sft(*source("mine", write_lines(tmp_path / "a.jsonl", rows)))
    for split in (prepared.train, prepared.validation):
        tokens, answers = (IndexedDataset(str(split.folder / name)) for name in ("tokens", "answers"))
        assert len(tokens) == len(answers) == len(split)
        for number in range(len(split)):
            ids, mask = split[number]
            assert ids.dtype == np.int64 and mask.dtype == np.bool_
            assert np.array_equal(tokens[number], ids) and np.array_equal(answers[number], mask)
            assert split.lengths[number] == len(ids) and split.answer_tokens[number] == mask.sum() > 0
            assert not mask[0] and mask[-1] and ids[-1] == prepared.eos_id
        with pytest.raises(IndexError):
            split[len(split)]


def test_long_ones_are_cut_and_counted(tmp_path: Path, prepare_sft: PrepareSft) -> None:
    rows = [*talks(0, 6), {"messages": turns("old", "new", "q " * 40, "a")}, {"messages": turns("q", "a " * 200)}]
    words = (*source("mine", write_lines(tmp_path / "a.jsonl", rows)), "model.encoder_seq_length=48")
    prepared = prepare_sft(*words)
    assert prepared.manifest.sources[0]["cuts"] == {
        "a prompt cut at its beginning": 2,
        "an answer cut at its end": 1,
        "turns left out at the front": 1,
    }
    lengths = np.concatenate([prepared.train.lengths, prepared.validation.lengths])
    assert lengths.max() == 48
    assert "| mine | an answer cut at its end | 1 |" in (prepared.path / "data_card.md").read_text()
    with pytest.raises(UserError, match=r"model\.encoder_seq_length=64: the samples .* are cut to 48"):
        load_chat_manifest(str(prepared.path), "conversations", 64)
    with pytest.raises(UserError, match="holds conversations, and this run reads pairs"):
        load_chat_manifest(str(prepared.path), "pairs", 48)


RECORDS = st.lists(
    st.one_of(
        st.builds(lambda texts: {"messages": turns(*texts)}, st.lists(st.text("ab ", max_size=3), max_size=5)),
        st.builds(lambda value: {"messages": value}, st.none() | st.text(max_size=2) | st.lists(st.integers())),
        st.sampled_from(["{", "[1, 2]", '{"messages": [{"role": "user", "content": "\\ud800"}]}', '{"x": NaN}']),
    ),
    max_size=25,
)


@given(RECORDS, st.booleans())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_read_is_kept_and_dropped_whatever_comes(
    tmp_path_factory: pytest.TempPathFactory, prepare_sft: PrepareSft, records: list[Row | str], limit: bool
) -> None:
    folder = tmp_path_factory.mktemp("any")
    path = write_lines(folder / "a.jsonl", [*talks(0, 8), *records])
    more = {"max_samples": 2} if limit else {}
    prepared = prepare_sft(*source("mine", path, **more), directory=folder / "data")
    [account] = prepared.manifest.sources
    removed = sum(sum(reasons.values()) for reasons in account["removed"].values())
    assert account["read"] == 8 + len(records)
    assert account["read"] == account["kept"] + removed + account["skipped"]
    assert account["kept"] == len(prepared.train) + len(prepared.validation)
    stored = len(list(read_removed(prepared.path / "removed")))
    assert stored == removed - account["removed"].get("drawing", {}).get("not drawn", 0)


def test_pairs_lie_as_messages(tmp_path: Path, prepare_dpo: PrepareDpo) -> None:
    rows = [{"prompt": f"why {number}?", "chosen": "good", "rejected": "bad"} for number in range(10)]
    prepared = prepare_dpo(*source("mine", write_array(tmp_path / "a.json", rows)))
    assert prepared.train_pairs + prepared.validation_pairs == len(pairs_of(prepared)) == 10
    assert list(check_data(prepared.path)) == []
    shown = "\n".join(inspect(prepared.path / "train", 0, 1))
    assert "user" in shown and "CHOSEN" in shown and " | REJECTED" in shown and "good" in shown


def test_the_second_time_it_is_up_to_date(
    tmp_path: Path, prepare_sft: PrepareSft, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_lines(tmp_path / "a.jsonl", talks(0, 20))
    first = prepare_sft(*source("mine", path))
    before = first.manifest.path.stat().st_mtime_ns
    capsys.readouterr()
    prepare_sft(*source("mine", path))
    assert "is up to date with 1 source file" in capsys.readouterr().err
    assert first.manifest.path.stat().st_mtime_ns == before
    (first.path / "train" / "tokens.bin").write_bytes(b"x")
    assert prepare_sft(*source("mine", path)).digest() == first.digest()
    assert "preparing again, since" in capsys.readouterr().err
    write_lines(path, talks(0, 21))
    assert prepare_sft(*source("mine", path)).digest() != first.digest()
    assert not (first.path / "prepare.work").exists()


def test_a_run_does_not_lose_its_data_unasked(tmp_path: Path, prepare_sft: PrepareSft) -> None:
    """But the same data may be made again, where it was damaged or its sources were copied."""
    path = write_lines(tmp_path / "a.jsonl", talks(0, 20))
    prepared = prepare_sft(*source("mine", path))
    run = tmp_path / "run"
    run.mkdir()
    record_digests(prepared.path, run, {"sft": prepared.digest()})
    (prepared.path / "train" / "tokens.bin").unlink()
    assert prepare_sft(*source("mine", path)).digest() == prepared.digest()
    for more in ([], ["data.seed=5", "data.validation_fraction=0.4"]):
        write_lines(path, talks(0, 21))
        with pytest.raises(UserError, match=r"was started on the data there.*--replace"):
            prepare_sft(*source("mine", path), *more)
        prepared.verify()
    prepare_sft(*source("mine", path), "data.seed=5", replace=True)
    assert not record_of(prepared.path, run).exists()


def test_other_data_in_its_place(tmp_path: Path, prepare_sft: PrepareSft, prepare_dpo: PrepareDpo) -> None:
    """Pairs take the place of conversations; a stranger's file is never written over, nor a folder that is in use."""
    prepared = prepare_sft(*source("mine", write_lines(tmp_path / "a.jsonl", talks(0, 20))))
    rows = [{"prompt": f"why {number}?", "chosen": "good", "rejected": "bad"} for number in range(10)]
    pairs = prepare_dpo(*source("mine", write_lines(tmp_path / "b.jsonl", rows)))
    assert not (prepared.path / "train" / "tokens.bin").exists() and list(check_data(pairs.path)) == []
    with folder_lock(prepared.path, "data.dir"), pytest.raises(UserError, match="is in use by"):
        prepare_dpo(*source("mine", tmp_path / "b.jsonl"))
    other = tmp_path / "other"
    (other / "train").mkdir(parents=True)
    (other / "train" / "pairs.parquet").write_text("mine")
    with pytest.raises(UserError, match="would be written over"):
        prepare_dpo(*source("mine", tmp_path / "b.jsonl"), directory=other)


def test_a_damaged_file_ends_it_or_is_named(tmp_path: Path, prepare_sft: PrepareSft) -> None:
    path = write_lines(tmp_path / "set" / "a.jsonl.gz", talks(0, 3000))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"data\.on_damaged_file=fail: 1 file cannot be read.*a\.jsonl\.gz: cut short"):
        prepare_sft(*source("mine", tmp_path / "set"))
    prepared = prepare_sft(*source("mine", tmp_path / "set"), "data.on_damaged_file=skip")
    assert 0 < len(prepared.train) + len(prepared.validation) < 3000
    assert prepared.manifest.damaged["files"] == 1 and "Damaged files" in (prepared.path / "data_card.md").read_text()


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_check_data_finds_what_was_altered(
    kind: str, tmp_path: Path, prepare_sft: PrepareSft, prepare_dpo: PrepareDpo
) -> None:
    rows = [{"prompt": f"why {number}?", "chosen": "good", "rejected": "bad"} for number in range(10)]
    prepared: Conversations | Preferences
    if kind == "sft":
        prepared = prepare_sft(*source("mine", write_lines(tmp_path / "a.jsonl", talks(0, 20))))
    else:
        prepared = prepare_dpo(*source("mine", write_lines(tmp_path / "b.jsonl", rows)))
    assert list(check_data(prepared.path)) == []
    prepared.verify()
    for name in prepared.manifest.entries():
        file = prepared.path / name
        before = file.read_bytes()
        altered = bytearray(before)
        altered[len(altered) // 2] ^= 1
        for content, fault in (
            (bytes(altered), "altered"),
            (before[:-1], "bytes, but the manifest says"),
            (None, "missing"),
        ):
            file.unlink() if content is None else file.write_bytes(content)
            found = [str(problem) for problem in check_data(prepared.path)]
            assert any(problem.startswith(f"{file}: ") and fault in problem for problem in found), found
            with pytest.raises(UserError, match=name.rpartition("/")[2]):
                prepared.verify()
        file.write_bytes(before)
    (prepared.path / "train" / "extra").write_text("x")
    [problem] = check_data(prepared.path)
    assert "not named by the manifest" in str(problem)
