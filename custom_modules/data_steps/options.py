"""What each data step can be told, with its defaults: plain values, as they are written in YAML.

A class for each step; each field is a key below ``data.steps.<step>``. Defaults of datatrove's filters are datatrove's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from custom_modules.data_steps.kinds import (
    Count,
    CountFromZero,
    CountOrOff,
    Device,
    File,
    Folder,
    From,
    Needed,
    Paths,
    Ratio,
    Seed,
    Share,
    ShareAboveZero,
    ShareBelowOne,
    ShareBetween,
    Texts,
    WordSplitter,
)

PAPER = From("the paper")
DATATROVE = From("datatrove 0.10")
ASSUMED = From("assumed: the paper does not say")

NGrams = tuple[tuple[Count, Share], ...]
"""Lengths in words, and the share of a text's characters that is too much."""


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """A step that has none."""


@dataclass(frozen=True, kw_only=True)
class UrlOptions:
    soft_word_threshold: Annotated[Count, DATATROVE] = 2
    extra_domains: Annotated[File | Texts | None, DATATROVE] = None
    extra_urls: Annotated[File | Texts | None, DATATROVE] = None
    banned_words: Annotated[File | Texts | None, DATATROVE] = None
    banned_subwords: Annotated[File | Texts | None, DATATROVE] = None
    soft_banned_words: Annotated[File | Texts | None, DATATROVE] = None
    use_integrated_lists: Annotated[bool, DATATROVE] = True


@dataclass(frozen=True, kw_only=True)
class LanguageOptions:
    model: Annotated[File | None, Needed()] = None
    languages: Annotated[Texts | None, DATATROVE] = None
    """By the model's labels; null: any."""
    language_threshold: Annotated[Share, From("FineWeb, section 3.2")] = 0.65
    backend: Literal["ft176", "glotlid"] = "ft176"


@dataclass(frozen=True, kw_only=True)
class GopherRepetitionOptions:
    words: Annotated[WordSplitter, DATATROVE] = "spacy"
    dup_line_frac: Annotated[Share | None, PAPER] = 0.3
    dup_para_frac: Annotated[Share | None, PAPER] = 0.3
    dup_line_char_frac: Annotated[Share | None, PAPER] = 0.2
    dup_para_char_frac: Annotated[Share | None, PAPER] = 0.2
    top_n_grams: Annotated[NGrams, PAPER] = ((2, 0.2), (3, 0.18), (4, 0.16))
    dup_n_grams: Annotated[NGrams, PAPER] = ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.1))


@dataclass(frozen=True, kw_only=True)
class GopherQualityOptions:
    words: Annotated[WordSplitter, DATATROVE] = "spacy"
    min_doc_words: Annotated[CountFromZero | None, PAPER] = 50
    max_doc_words: Annotated[CountFromZero | None, PAPER] = 100_000
    min_avg_word_length: Annotated[Ratio | None, PAPER] = 3
    """Characters."""
    max_avg_word_length: Annotated[Ratio | None, PAPER] = 10
    max_symbol_word_ratio: Annotated[Ratio | None, PAPER] = 0.1
    max_bullet_lines_ratio: Annotated[Share | None, PAPER] = 0.9
    max_ellipsis_lines_ratio: Annotated[Share | None, PAPER] = 0.3
    max_non_alpha_words_ratio: Annotated[Share | None, PAPER] = 0.8
    """A minimum: the share of words that have a letter."""
    min_stop_words: Annotated[CountFromZero | None, PAPER] = 2
    stop_words: Annotated[Texts | None, PAPER] = None


@dataclass(frozen=True, kw_only=True)
class C4QualityOptions:
    words: Annotated[WordSplitter, DATATROVE] = "spacy"
    split_paragraph: Annotated[bool, PAPER] = True
    remove_citations: Annotated[bool, DATATROVE] = True
    filter_no_terminal_punct: Annotated[bool, PAPER] = True
    min_num_sentences: Annotated[CountOrOff, From("datatrove 0.10; the paper says 3")] = 5
    min_words_per_line: Annotated[CountOrOff, From("datatrove 0.10; the paper says 5")] = 3
    max_word_length: Annotated[CountOrOff, DATATROVE] = 1000
    filter_lorem_ipsum: Annotated[bool, PAPER] = True
    filter_javascript: Annotated[bool, PAPER] = True
    filter_curly_bracket: Annotated[bool, PAPER] = True
    filter_policy: Annotated[bool, DATATROVE] = True


@dataclass(frozen=True, kw_only=True)
class C4ParagraphsOptions:
    min_paragraphs: Annotated[Count, PAPER] = 3
    min_paragraph_len: Annotated[Count, PAPER] = 200
    """Characters."""


@dataclass(frozen=True, kw_only=True)
class C4BadWordsOptions:
    words: Annotated[File | None, Needed()] = None


@dataclass(frozen=True, kw_only=True)
class FineWebQualityOptions:
    words: Annotated[WordSplitter, DATATROVE] = "spacy"
    line_punct_thr: Annotated[Share, PAPER] = 0.12
    line_punct_exclude_zero: Annotated[bool, DATATROVE] = False
    stop_chars: Annotated[Texts | None, DATATROVE] = None
    short_line_thr: Annotated[Share, PAPER] = 0.67
    short_line_length: Annotated[CountFromZero, PAPER] = 30
    """Characters."""
    char_duplicates_ratio: Annotated[Share, From("datatrove 0.10; the paper says 0.1")] = 0.01
    new_line_ratio: Annotated[Ratio, DATATROVE] = 0.3
    """Line breaks a word."""


@dataclass(frozen=True, kw_only=True)
class QualityStepOptions:
    """What both kinds of quality model take."""

    model: Annotated[Folder | None, Needed()] = None
    threshold: Annotated[Share | None, ASSUMED] = None
    keep_quantile: Annotated[ShareAboveZero | None, ASSUMED] = None
    device: Device = "cpu"


@dataclass(frozen=True, kw_only=True)
class GbmQualityOptions(QualityStepOptions):
    model: Annotated[Folder | None, Needed("danube train-quality gbm FOLDER --good DIR --raw DIR")] = None


@dataclass(frozen=True, kw_only=True)
class EncoderQualityOptions(QualityStepOptions):
    model: Annotated[Folder | None, Needed("danube train-quality encoder FOLDER --good DIR --raw DIR")] = None


@dataclass(frozen=True, kw_only=True)
class DecontaminateOptions:
    files: Annotated[Paths, Needed(yours="the texts of the benchmarks that the model will be scored on")]
    ngram: Annotated[Count, ASSUMED] = 13
    min_words: Annotated[Count, ASSUMED] = 8
    max_items: Annotated[Count, ASSUMED] = 10


@dataclass(frozen=True, kw_only=True)
class MinHashOptions:
    n_grams: Annotated[Count, PAPER] = 5
    num_buckets: Annotated[Count, PAPER] = 14
    hashes_per_bucket: Annotated[Count, PAPER] = 8
    seed: Annotated[int, Interval(ge=0, lt=2**32), DATATROVE] = 1


@dataclass(frozen=True, kw_only=True)
class SemanticOptions:
    """Options that both semantic steps have: the encoder's, and the clusters'."""

    encoder: Annotated[Folder, Needed(yours="a sentence encoder, as transformers or sentence-transformers saves it")]
    max_length: Annotated[int, Interval(gt=2)] | None = None
    """Tokens that are read of a text, from its beginning; None: as many as the encoder's folder says."""
    prefix: str = ""
    """Put before every text, such as E5's ``query: ``."""
    batch_size: Count = 32
    """Texts at a time; no vector depends on it but in rounding."""
    device: Device = "cpu"
    """For the encoder."""
    dtype: Literal["float32", "float16"] = "float32"
    """The type of the vectors on disk."""
    clusters: Annotated[Count | None, ASSUMED] = None
    """None: the square root of the number of documents, as `data_prep.semantic.clusters.cluster_count` says."""
    sample: Count = 200_000
    """Different vectors that the clusters are trained on, at most; in memory."""
    seed: Seed = 1234


@dataclass(frozen=True, kw_only=True)
class SemDedupOptions(SemanticOptions):
    """The LokiLM report gives no number; where a default is the SemDeDup paper's, its line says so."""

    max_cosine: Annotated[ShareBetween, ASSUMED] = 0.95
    """``1 - epsilon`` of the paper: two documents of a cluster with a cosine above it are copies."""
    keep: Annotated[Literal["hard", "easy", "random"], From("SemDeDup, section 3")] = "hard"
    """The copy of several that stays: the one least like its centroid (the paper's), the one most like it, or any."""
    rows_in_memory: Count = 250_000
    """Vectors of whole clusters that are read at a time; a cluster that is larger is read alone."""


@dataclass(frozen=True, kw_only=True)
class PrototypeOptions(SemanticOptions):
    drop_fraction: Annotated[ShareBelowOne, ASSUMED] = 0.2
    """The share of the documents that goes, over all shards."""
    keep: Annotated[Literal["hard", "easy"], ASSUMED] = "hard"
    """``hard``: the documents nearest to their prototype go; ``easy``: the farthest."""
