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

NGrams = tuple[tuple[Count, Share], ...]
"""Lengths in words, and the share of a text's characters that is too much."""


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """A step that has none."""


@dataclass(frozen=True, kw_only=True)
class UrlOptions:
    soft_word_threshold: Count = 2
    extra_domains: File | Texts | None = None
    extra_urls: File | Texts | None = None
    banned_words: File | Texts | None = None
    banned_subwords: File | Texts | None = None
    soft_banned_words: File | Texts | None = None
    use_integrated_lists: bool = True


@dataclass(frozen=True, kw_only=True)
class LanguageOptions:
    model: Annotated[File | None, Needed()] = None
    languages: Texts | None = None
    """By the model's labels; null: any."""
    language_threshold: Share = 0.65
    backend: Literal["ft176", "glotlid"] = "ft176"


@dataclass(frozen=True, kw_only=True)
class GopherRepetitionOptions:
    words: WordSplitter = "spacy"
    dup_line_frac: Share | None = 0.3
    dup_para_frac: Share | None = 0.3
    dup_line_char_frac: Share | None = 0.2
    dup_para_char_frac: Share | None = 0.2
    top_n_grams: NGrams = ((2, 0.2), (3, 0.18), (4, 0.16))
    dup_n_grams: NGrams = ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.1))


@dataclass(frozen=True, kw_only=True)
class GopherQualityOptions:
    words: WordSplitter = "spacy"
    min_doc_words: CountFromZero | None = 50
    max_doc_words: CountFromZero | None = 100_000
    min_avg_word_length: Ratio | None = 3
    """Characters."""
    max_avg_word_length: Ratio | None = 10
    max_symbol_word_ratio: Ratio | None = 0.1
    max_bullet_lines_ratio: Share | None = 0.9
    max_ellipsis_lines_ratio: Share | None = 0.3
    max_non_alpha_words_ratio: Share | None = 0.8
    """A minimum: the share of words that have a letter."""
    min_stop_words: CountFromZero | None = 2
    stop_words: Texts | None = None


@dataclass(frozen=True, kw_only=True)
class C4QualityOptions:
    words: WordSplitter = "spacy"
    split_paragraph: bool = True
    remove_citations: bool = True
    filter_no_terminal_punct: bool = True
    min_num_sentences: CountOrOff = 5
    min_words_per_line: CountOrOff = 3
    max_word_length: CountOrOff = 1000
    filter_lorem_ipsum: bool = True
    filter_javascript: bool = True
    filter_curly_bracket: bool = True
    filter_policy: bool = True


@dataclass(frozen=True, kw_only=True)
class C4ParagraphsOptions:
    min_paragraphs: Count = 3
    min_paragraph_len: Count = 200
    """Characters."""


@dataclass(frozen=True, kw_only=True)
class C4BadWordsOptions:
    words: Annotated[File | None, Needed()] = None


@dataclass(frozen=True, kw_only=True)
class FineWebQualityOptions:
    words: WordSplitter = "spacy"
    line_punct_thr: Share = 0.12
    line_punct_exclude_zero: bool = False
    stop_chars: Texts | None = None
    short_line_thr: Share = 0.67
    short_line_length: CountFromZero = 30
    """Characters."""
    char_duplicates_ratio: Share = 0.01
    new_line_ratio: Ratio = 0.3
    """Line breaks a word."""


@dataclass(frozen=True, kw_only=True)
class QualityStepOptions:
    """Of both kinds of quality model."""

    model: Annotated[Folder | None, Needed()] = None
    threshold: Share | None = None
    keep_quantile: ShareAboveZero | None = None
    device: Device = "cpu"


@dataclass(frozen=True, kw_only=True)
class DecontaminateOptions:
    files: Paths
    ngram: Count = 13
    min_words: Count = 8
    max_items: Count = 10


@dataclass(frozen=True, kw_only=True)
class MinHashOptions:
    n_grams: Count = 5
    num_buckets: Count = 14
    hashes_per_bucket: Count = 8
    seed: Annotated[int, Interval(ge=0, lt=2**32)] = 1


@dataclass(frozen=True, kw_only=True)
class SemanticOptions:
    """Options that both semantic steps have: the encoder's, and the clusters'."""

    encoder: Folder
    """A local folder: a transformers encoder, or one that sentence-transformers saved."""
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
    clusters: Count | None = None
    """None: the square root of the number of documents, as `data_prep.semantic.clusters.cluster_count` says."""
    sample: Count = 200_000
    """Different vectors that the clusters are trained on, at most; in memory."""
    seed: Seed = 1234


@dataclass(frozen=True, kw_only=True)
class SemDedupOptions(SemanticOptions):
    """The LokiLM report gives no number; where a default is the SemDeDup paper's, its line says so."""

    max_cosine: ShareBetween = 0.95
    """``1 - epsilon`` of the paper: two documents of a cluster with a cosine above it are copies."""
    keep: Literal["hard", "easy", "random"] = "hard"
    """The copy of several that stays: the one least like its centroid (the paper's), the one most like it, or any."""
    rows_in_memory: Count = 250_000
    """Vectors of whole clusters that are read at a time; a cluster that is larger is read alone."""


@dataclass(frozen=True, kw_only=True)
class PrototypeOptions(SemanticOptions):
    drop_fraction: ShareBelowOne = 0.2
    """The share of the documents that goes, over all shards."""
    keep: Literal["hard", "easy"] = "hard"
    """``hard``: the documents nearest to their prototype go; ``easy``: the farthest."""
