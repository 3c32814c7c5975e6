from __future__ import annotations

import pickle
import random
import socket
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any, NoReturn

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from custom_modules.data_steps.kinds import WordSplitter
from custom_modules.errors import UserError
from data_prep.clean.build import build_steps
from data_prep.input.documents import Document, Removal
from data_prep.steps.heuristics import C4Quality, FineWebQuality, GopherQuality, GopherRepetition
from data_prep.steps.language import Language
from data_prep.steps.library_filter import LibraryFilter
from data_prep.steps.url import Url
from data_prep.text import spacy_tokens
from tests.support.library_filters import decision, library_decision

pytest.importorskip("datatrove")
pytest.importorskip("spacy")

STEPS = (GopherRepetition, GopherQuality, C4Quality, FineWebQuality)
PROSE = [" ".join(topic.split()) for topic in topics.values() if 400 < len(topic) < 2500]
SENTENCES = [sentence.strip() + "." for text in PROSE for sentence in text.split(". ") if 40 < len(sentence) < 200]
SMILEYS = "Drawn by draw : (:class:`Canvas`, float) and :( :) (optional): see above :-) :(( x:D he's e.g. p.m. (Mr. X):"


def _corpus() -> list[str]:
    source = random.Random(7)

    def prose(sentences: int, between: str = " ") -> str:
        return between.join(source.sample(SENTENCES, sentences))

    texts = [*PROSE[:30], *(topics[name][:2500] for name in sorted(topics)[:15])]
    texts += [prose(source.randint(5, 14), source.choice((" ", "\n", "\n\n", "  "))) for _ in range(40)]
    texts += [prose(1), prose(2), "Short.", "", " ", "\n\n\n", "\t \u3000", "…", "a" * 1200, "1", "-\n-\n-"]
    texts += ["\n".join([prose(1)] * 12), prose(4, "\n\n") * 3, "spam and eggs " * 60, "\n\n".join([prose(2)] * 5)]
    texts += [f"{prose(3)} {phrase} {prose(3)}" for phrase in ("Lorem ipsum dolor", "if (x) { y(); }", "IS_ALPHA")]
    texts += [
        f"{prose(5, nl)}{nl}Please enable JavaScript to see this page.{nl}{prose(5, nl)}" for nl in ("\n", "\n\n")
    ]
    texts += [f"{prose(6, chr(10))}\nThis site uses cookies. Read our privacy policy.\n{prose(1)}"]
    texts += [f"{prose(6)} [1] as said before.[citation needed]\n{prose(4)}[edit]"]
    texts += ["\n".join(f"- {prose(1)}" for _ in range(8)), "\n".join(f"• item {n}" for n in range(40))]
    texts += ["\n".join(f"{word}" for word in prose(8).split()), "\n".join(f"{prose(1)[:-1]}..." for _ in range(9))]
    texts += [prose(6).replace(" ", " # "), prose(6).replace(" ", " ... "), "$%&/()=? " * 80, "12 345 6,789.00 " * 40]
    texts += ["Die Donau entspringt im Schwarzwald und mündet ins Schwarze Meer. " * 2 + "Sie ist lang! Wie lang?" * 9]
    texts += ["多瑙河是欧洲第二长河。它流经十个国家。" * 12, "Дунай течёт через десять стран Европы. Он длинный! " * 5]
    texts += [f"{SMILEYS}\n{prose(7)}\n{SMILEYS}", f"{prose(5)} {SMILEYS} {prose(5)}", SMILEYS * 4]
    texts += [Path(module.__file__ or "").read_text()[:3000] for module in (random, types, socket, spacy_tokens)]
    odd = ["don't", "U.S.", "https://a.b/c?d=1", "well-known", "3.5km", "(x)", '"Yes."', "\n", "the", "of"]
    texts += [" ".join(source.choices(odd, k=90)) for _ in range(12)]
    return texts + [prose(source.randint(3, 9)) + source.choice((" ", "\x1c", "\x85", "\u2028")) for _ in range(12)]


CORPUS = _corpus()


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> NoReturn:
        raise AssertionError("asks the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("step_class", STEPS)
def test_decides_as_the_library(step_class: type[LibraryFilter]) -> None:
    step = step_class()
    decisions = [decision(step(Document(text, 1))) for text in CORPUS]
    assert decisions == [library_decision(step, text) for text in CORPUS]
    assert {what for what, _ in decisions} == {"kept", "removed"}
    assert len({reason for what, reason in decisions if what == "removed"}) >= 3


@pytest.mark.parametrize(
    ("step_class", "options"),
    [
        (GopherRepetition, {"top_n_grams": [[2, 0.05]], "dup_n_grams": [[5, 0.02], [3, 0.1]], "dup_line_frac": None}),
        (GopherQuality, {"min_doc_words": 120, "max_doc_words": 150, "min_stop_words": 1, "stop_words": ["eggs"]}),
        (C4Quality, {"split_paragraph": False, "min_num_sentences": 3, "filter_curly_bracket": False}),
        (C4Quality, {"filter_no_terminal_punct": False, "min_words_per_line": 9, "max_word_length": 12}),
        (FineWebQuality, {"stop_chars": [".", "!"], "line_punct_thr": 0.8, "short_line_length": 80}),
    ],
)
def test_thresholds_are_the_librarys(step_class: type[LibraryFilter], options: dict[str, Any]) -> None:
    step = step_class(**options)
    arguments = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    some = CORPUS[::3]
    decisions = [decision(step(Document(text, 1))) for text in some]
    assert decisions == [library_decision(step, text, **arguments) for text in some]
    assert decisions != [decision(step_class()(Document(text, 1))) for text in some]


_PIECES = st.sampled_from(
    [*SMILEYS.split(), *":;()-/.!?…。\"'*_=>@", "He", "word", "isn't", "10", "km", "IS_ALPHA", "\n", "\t"]
)
_GAPS = st.sampled_from(["", "", " ", " ", "  ", "\u00a0"])


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(_GAPS, _PIECES), max_size=14), _GAPS)
@example([("", ":"), (" ", "(:class:`Canvas`,")], "")
@example([("  ", "e.g."), (" ", ")!"), ("  ", '"'), ("\t ", "He")], " ")
@example([], "  ")
def test_spacys_words_and_sentences_to_the_letter(pieces: list[tuple[str, str]], end: str) -> None:
    from datatrove.utils.word_tokenizers import load_word_tokenizer

    from data_prep.steps.library_words import splitter

    # With this word the library's outcome depends on whether it has met it before.
    text = "".join(gap + piece for gap, piece in pieces).replace("IS_ALPHA", "") + end
    library, ours = load_word_tokenizer("eng"), splitter("spacy")
    assert ours.word_tokenize(text) == library.word_tokenize(text)
    assert ours.span_tokenize(text) == library.span_tokenize(text)
    assert ours.sent_tokenize(text) == library.sent_tokenize(text)


def test_what_is_forgotten_is_split_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from data_prep.steps.library_words import splitter

    monkeypatch.setattr(spacy_tokens, "_REMEMBERED_CHARACTERS", 500)
    forgetful = spacy_tokens.SpacyTokens()
    for text in CORPUS[:20] * 2:
        assert forgetful.words(text) == splitter("spacy").word_tokenize(text)
        assert sum(map(len, forgetful._known)) <= 500 + len(text)


def test_the_word_that_spacy_fails_on_does_not_stop_a_step() -> None:
    text = f"{PROSE[0]} See IS_ALPHA and token.IS_ALPHA. {PROSE[1]}"
    assert all(isinstance(step_class()(Document(text, 1)), Document | Removal) for step_class in STEPS)


@pytest.mark.parametrize("step_class", STEPS)
def test_regex_decides_nearly_as_spacy(step_class: type[LibraryFilter]) -> None:
    spacy, regex = step_class(), step_class(words="regex")
    pairs = [(spacy(Document(text, 1)), regex(Document(text, 1))) for text in CORPUS]
    assert sum(isinstance(one, Removal) == isinstance(other, Removal) for one, other in pairs) > 0.95 * len(pairs)


def test_regex_words_and_sentences() -> None:
    from data_prep.steps.library_words import splitter

    text = "It isn't 12:30, e.g. in the U.S. (see numpy.array): \"O'Brien\u2019s 1,000 dogs...\" Ask! Why-not? http://a.b/c."
    expected = (
        "It is n't 12:30 , e.g. in the U.S. ( see numpy.array ): \" O'Brien \u2019s 1,000 dogs ... \" Ask ! Why - not "
        "? http://a.b/c ."
    )
    words = splitter("regex")
    assert words.word_tokenize(text) == expected.split()
    assert [sentence[-4:] for sentence in words.sent_tokenize(text)] == ["Ask!", "not?", "b/c."]
    assert words.sent_tokenize(" ") == words.word_tokenize("\n") == []


def test_c4_changes_the_text_and_nothing_else() -> None:
    kept = [f"{sentence} It goes on." for sentence in SENTENCES[:6]]
    document = Document("\n".join(["Menu", *kept, "Home | About us"]), 7, "https://a.b", {"gbm": 0.5})
    assert C4Quality()(document) == Document("\n".join(kept), 7, "https://a.b", {"gbm": 0.5})
    unchanged = Document("\n".join(kept), 8)
    assert C4Quality()(unchanged) is unchanged


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
@pytest.mark.parametrize("words", ["spacy", "regex"])
@pytest.mark.parametrize("text", ["", " \n"])
def test_a_text_without_words_is_empty_where_no_minimum_says_so(text: str, words: WordSplitter) -> None:
    assert GopherQuality(words=words, min_doc_words=0)(Document(text, 1)) == Removal("gopher_quality", "empty")


@pytest.mark.parametrize(
    ("step_class", "options", "message"),
    [
        (
            GopherQuality,
            {"min_words": 3},
            "data.steps.gopher_quality.min_words=3: no such option; did you mean min_doc",
        ),
        (GopherQuality, {"word": "regex"}, "data.steps.gopher_quality.word=regex: no such option; did you mean words?"),
        (GopherQuality, {"language": "deu"}, "data.steps.gopher_quality.language=deu: no such option"),
        (FineWebQuality, {"zzz": 1}, "data.steps.fineweb_quality.zzz=1: no such option; use words, line_punct_thr, "),
        (FineWebQuality, {"words": "nltk"}, "data.steps.fineweb_quality.words=nltk: must be spacy or regex"),
        (GopherQuality, {"min_doc_words": "many"}, "min_doc_words=many: must be int from 0 or null"),
        (GopherQuality, {"min_doc_words": True}, "min_doc_words=true: must be int from 0 or null"),
        (GopherQuality, {"min_doc_words": float("nan")}, "min_doc_words=nan: must be int from 0 or null"),
        (GopherQuality, {"stop_words": "the"}, "stop_words=the: must be list of text or null"),
        (FineWebQuality, {"line_punct_thr": None}, "line_punct_thr=null: must be float from 0 to 1"),
        (C4Quality, {"filter_policy": 1}, "filter_policy=1: must be true or false"),
        (GopherQuality, {"min_doc_words": 9, "max_doc_words": 8}, "min_doc_words=9: more than max_doc_words=8, so"),
        (GopherQuality, {"min_avg_word_length": 11}, "min_avg_word_length=11: more than max_avg_word_length=10, so"),
        (GopherRepetition, {"top_n_grams": [2, 0.2]}, "must be list of [int from 1, float from 0 to 1]"),
        (GopherRepetition, {"dup_n_grams": [[0, 0.2]]}, "must be list of [int from 1, float from 0 to 1]"),
    ],
)
def test_wrong_options_are_refused(step_class: type[LibraryFilter], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        build_steps({step_class.name: options})
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("step_class", STEPS)
def test_options_are_plain_and_all_there(step_class: type[LibraryFilter]) -> None:
    options = dict(step_class().options)
    assert orjson.loads(orjson.dumps(options)) == options
    versions = options.pop("versions")
    assert isinstance(versions, dict) and set(versions) == {"datatrove", "spacy"}
    assert options.pop("words") == "spacy"
    name, value = next((name, value) for name, value in options.items() if isinstance(value, float | int))
    assert step_class(**{name: value}).options == step_class().options
    assert step_class(words="regex").options["versions"] == {"datatrove": versions["datatrove"], "regex words": "1"}


@pytest.mark.parametrize("step_class", STEPS)
def test_pickles_small_and_shares_a_filter(step_class: type[LibraryFilter]) -> None:
    step = step_class()
    step(Document(PROSE[0], 1))
    pickled = pickle.dumps(step)
    assert len(pickled) < 1500
    again = pickle.loads(pickled)
    assert again.options == step.options and again.library_filter is step.library_filter


FakePackage = Callable[..., None]


@pytest.fixture
def fake_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePackage]:
    """Packages in place of those that are not installed, so that the library finds and imports them."""
    from datatrove.utils import _import_utils as checks

    folder = tmp_path / "packages"
    made: list[str] = []

    def forget() -> None:
        checks._is_package_available.cache_clear()
        checks._is_distribution_available.cache_clear()
        for module in [name for name in sys.modules if name.split(".")[0] in made]:
            del sys.modules[module]

    def make(distribution: str, package: str, **modules: str) -> None:
        for module, source in modules.items():
            path = folder / package / f"{module}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        information = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        made.append(package)
        forget()

    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    yield make
    forget()


_FASTTEXT = """
import numpy
class _FastText:
    def __init__(self, path):
        if open(path).read() != "a model":
            raise ValueError(f"{path} has wrong file format!")
    def get_labels(self):
        return ["__label__en", "__label__de"]
    def predict(self, text, k):
        assert text.strip() and "\\n" not in text
        english = sum(word in ("the", "of", "and") for word in text.split()) / len(text.split())
        pairs = sorted([(english, "__label__en"), (1 - english, "__label__de")], reverse=True)
        return tuple(label for _, label in pairs), numpy.array([score for score, _ in pairs])
"""


@pytest.fixture
def model(tmp_path: Path, fake_package: FakePackage) -> Path:
    fake_package("fasttext-numpy2-wheel", "fasttext", __init__="", FastText=_FASTTEXT)
    fake_package("fasteners", "fasteners", __init__="")
    (tmp_path / "lid.bin").write_text("a model")
    return tmp_path / "lid.bin"


def test_language(model: Path) -> None:
    step = pickle.loads(pickle.dumps(Language(model=str(model), languages=["en"])))
    english = Document("the\nof and the", 1)
    assert step(english) is english
    assert step(Document("the von und", 1)) == Removal("language", "language", "de 0.67")
    assert step(Document(" \n", 1)) == Removal("language", "empty")
    assert isinstance(
        Language(model=model, languages=["en"], language_threshold=0.3)(Document("the von und", 1)), Document
    )
    assert isinstance(Language(model=model)(Document("a von und", 1)), Document)
    assert str(model) not in str(step.options) and step.options["versions"]["fasttext-numpy2-wheel"] == "1.0"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {},
            "data.steps.language.model=null: download https://dl.fbaipublicfiles.com/fasttext/supervised-models/lid.176.b",
        ),
        (
            {"model": "/no/lid.bin"},
            "data.steps.language.model=/no/lid.bin: no such file; download https://dl.fbaipublicfil",
        ),
        ({"model": "/no/x", "backend": "glotlid"}, "no such file; download hf://cis-lmu/glotlid/model_v3.bin and name"),
        ({"backend": "cld3"}, "data.steps.language.backend=cld3: must be ft176 or glotlid"),
        ({"threshold": 0.5}, "data.steps.language.threshold=0.5: no such option; did you mean language_threshold?"),
        ({"label_only": True}, "data.steps.language.label_only=true: no such option"),
    ],
)
def test_language_refuses(model: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        build_steps({"language": options})
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_language_refuses_what_the_model_is_not(model: Path) -> None:
    text = Document("the of", 1)
    with pytest.raises(UserError, match=r"languages=eng: the model has no such language; did you mean en\?"):
        Language(model=model, languages=["eng"])(text)
    changed = Language(model=model, language_threshold=0.1)
    model.write_text("no model")
    with pytest.raises(UserError, match="changed since the command began"):
        changed(text)
    with pytest.raises(UserError, match=r"wrong file format!; download it again"):
        Language(model=model, language_threshold=0.2)(text)
    model.unlink()
    with pytest.raises(UserError, match="no longer there"):
        changed(text)


_TLDEXTRACT = """
class TLDExtract:
    def __init__(self, cache_dir="~", suffix_list_urls=("https://publicsuffix.org",)):
        self.offline = cache_dir is None and not suffix_list_urls
    def __call__(self, url):
        assert self.offline, "fetches"
        class Parts:
            fqdn = url.split("/")[2]
            registered_domain = ".".join(fqdn.split(".")[-2:])
        return Parts
"""
_AHOCORASICK = """
STORE_INTS = 1
class Automaton(dict):
    def __init__(self, kind): pass
    add_word = dict.__setitem__
    def make_automaton(self): pass
    def iter(self, text): return iter([(text.find(word), number) for word, number in self.items() if word in text])
"""


@pytest.fixture
def url_packages(fake_package: FakePackage) -> None:
    fake_package("tldextract", "tldextract", __init__=_TLDEXTRACT)
    fake_package("pyahocorasick", "ahocorasick", __init__=_AHOCORASICK)
    fake_package("fasteners", "fasteners", __init__="")


def test_url(url_packages: None, tmp_path: Path) -> None:
    domains = tmp_path / "domains.txt"
    domains.write_text("# bad ones\n\nbad.org\nads.fine.org\n")
    step = Url(
        use_integrated_lists=False,
        extra_domains=str(domains),
        extra_urls=["https://fine.org/this"],
        banned_words=["casino", ""],
        banned_subwords=["spam"],
        soft_banned_words=["buy", "now"],
    )
    step = pickle.loads(pickle.dumps(step))
    reasons = {
        "https://www.bad.org/": "domain",
        "https://ads.fine.org/x": "subdomain",
        "https://fine.org/this": "url",
        "https://fine.org/casino/": "hard_blacklisted",
        "https://fine.org/buy-it-now": "soft_blacklisted",
        "https://fine.org/nospamhere": "blacklisted_subword",
    }
    assert {url: step(Document("x", 1, url)) for url in reasons} == {
        url: Removal("url", reason) for url, reason in reasons.items()
    }
    for url in ("https://fine.org/buy/", "https://www.fine.org/", None):
        kept = Document("x", 1, url)
        assert step(kept) is kept
    assert str(domains) not in str(step.options) and orjson.dumps(step.options)
    domains.write_text("fine.org")
    assert Url(use_integrated_lists=False, extra_domains=str(domains)).options != step.options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"extra_domains": "/no/list"}, "data.steps.url.extra_domains=/no/list: no such file; name a text file with"),
        (
            {"extra_domain": "/no/list"},
            "data.steps.url.extra_domain=/no/list: no such option; did you mean extra_domains?",
        ),
        ({"soft_word_threshold": "two"}, "data.steps.url.soft_word_threshold=two: must be int from 1"),
        ({"banned_words": ["казино"]}, "data.steps.url.banned_words: казино has no letter of a to z"),
        ({"banned_words": 3}, "data.steps.url.banned_words=3: must be file or list of text or null"),
    ],
)
def test_url_refuses(url_packages: None, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        build_steps({"url": options})
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_url_refuses_a_list_that_is_not_utf8(url_packages: None, tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"caf\xe9")
    with pytest.raises(UserError, match="list: not UTF-8; convert it"):
        Url(extra_urls=tmp_path / "list")


@pytest.mark.parametrize("step_class", [Url, Language])
def test_a_missing_package_is_named(step_class: type[LibraryFilter], monkeypatch: pytest.MonkeyPatch) -> None:
    from datatrove.utils import _import_utils as checks

    monkeypatch.setattr(checks, "_is_package_available", lambda name: False)
    with pytest.raises(UserError, match=rf"data.steps.{step_class.name}: Please install .*pip install ") as caught:
        step_class()
    assert "\n" not in str(caught.value)
