"""The data steps, in the order in which they run: first those that judge a document alone, then the others."""

from __future__ import annotations

from dataclasses import replace

from custom_modules.data_steps.step import DataStep, Option

_DATATROVE = "datatrove 0.10"
_PAPER = "the paper"
_ASSUMED = "assumed: the paper does not say"


def _from(source: str, *options: Option) -> tuple[Option, ...]:
    """Options whose defaults are all from one place."""
    return tuple(replace(option, source=source) for option in options)


_WORDS = Option("words", "spacy | regex", "spacy", _DATATROVE)

_QUALITY = (
    *_from(_ASSUMED, Option("threshold", "float | null", None), Option("keep_quantile", "float | null", None)),
    Option("device", "str", "cpu"),
)

_SEMANTIC = (
    Option("encoder", "folder"),
    Option("max_length", "int | null", None),
    Option("prefix", "str", ""),
    Option("batch_size", "int", 32),
    Option("device", "str", "cpu"),
    Option("dtype", "float32 | float16", "float32"),
    Option("clusters", "int | null", None, _ASSUMED),
    Option("sample", "int", 200_000),
    Option("seed", "int", 1234),
)

DATA_STEPS: tuple[DataStep, ...] = (
    DataStep(
        "url",
        "document",
        "removes documents by their address: lists of domains, addresses and words",
        f"FineWeb, arXiv:2406.17557, section 3.2; {_DATATROVE}",
        _from(
            _DATATROVE,
            Option("soft_word_threshold", "int", 2),
            Option("extra_domains", "file | list | null", None),
            Option("extra_urls", "file | list | null", None),
            Option("banned_words", "file | list | null", None),
            Option("banned_subwords", "file | list | null", None),
            Option("soft_banned_words", "file | list | null", None),
            Option("use_integrated_lists", "bool", True),
        ),
    ),
    DataStep(
        "language",
        "document",
        "keeps documents that are in one of some languages",
        f"fastText's lid.176 or GlotLID; {_DATATROVE}",
        (
            Option("model", "file"),
            Option("languages", "list | null", None, _DATATROVE),
            Option("language_threshold", "float", 0.65, "FineWeb, section 3.2"),
            Option("backend", "ft176 | glotlid", "ft176"),
        ),
    ),
    DataStep(
        "gopher_repetition",
        "document",
        "removes documents that repeat lines, paragraphs or runs of words",
        f"Gopher, arXiv:2112.11446, section A.1; {_DATATROVE}",
        (
            _WORDS,
            *_from(
                _PAPER,
                Option("dup_line_frac", "float | null", 0.3),
                Option("dup_para_frac", "float | null", 0.3),
                Option("dup_line_char_frac", "float | null", 0.2),
                Option("dup_para_char_frac", "float | null", 0.2),
                Option("top_n_grams", "list of [int, float]", [[2, 0.2], [3, 0.18], [4, 0.16]]),
                Option(
                    "dup_n_grams",
                    "list of [int, float]",
                    [[5, 0.15], [6, 0.14], [7, 0.13], [8, 0.12], [9, 0.11], [10, 0.1]],
                ),
            ),
        ),
    ),
    DataStep(
        "gopher_quality",
        "document",
        "removes documents whose words and lines are not those of prose",
        f"Gopher, arXiv:2112.11446, section A.1; {_DATATROVE}",
        (
            _WORDS,
            *_from(
                _PAPER,
                Option("min_doc_words", "int | null", 50),
                Option("max_doc_words", "int | null", 100_000),
                Option("min_avg_word_length", "int | null", 3),
                Option("max_avg_word_length", "int | null", 10),
                Option("max_symbol_word_ratio", "float | null", 0.1),
                Option("max_bullet_lines_ratio", "float | null", 0.9),
                Option("max_ellipsis_lines_ratio", "float | null", 0.3),
                Option("max_non_alpha_words_ratio", "float | null", 0.8),
                Option("min_stop_words", "int | null", 2),
                Option("stop_words", "list | null", None),
            ),
        ),
    ),
    DataStep(
        "c4_quality",
        "document",
        "takes out lines that are no sentences, and documents that too few sentences are left of",
        f"C4, jmlr.org/papers/v21/20-074.html, section 2.2; {_DATATROVE}",
        (
            _WORDS,
            Option("split_paragraph", "bool", True, _PAPER),
            Option("remove_citations", "bool", True, _DATATROVE),
            Option("filter_no_terminal_punct", "bool", True, _PAPER),
            Option("min_num_sentences", "int", 5, f"{_DATATROVE}; the paper says 3"),
            Option("min_words_per_line", "int", 3, f"{_DATATROVE}; the paper says 5"),
            Option("max_word_length", "int", 1000, _DATATROVE),
            Option("filter_lorem_ipsum", "bool", True, _PAPER),
            Option("filter_javascript", "bool", True, _PAPER),
            Option("filter_curly_bracket", "bool", True, _PAPER),
            Option("filter_policy", "bool", True, _DATATROVE),
        ),
    ),
    DataStep(
        "c4_paragraphs",
        "document",
        "removes documents without enough long paragraphs",
        f"mC4, arXiv:2010.11934, section 3.1; {_DATATROVE}",
        _from(_PAPER, Option("min_paragraphs", "int", 3), Option("min_paragraph_len", "int", 200)),
    ),
    DataStep(
        "c4_badwords",
        "document",
        "removes documents with any of a list of words",
        f"C4, jmlr.org/papers/v21/20-074.html, section 2.2; {_DATATROVE}",
        (Option("words", "file"),),
    ),
    DataStep(
        "fineweb_quality",
        "document",
        "removes documents whose lines are short, unfinished or repeated",
        f"FineWeb, arXiv:2406.17557, section 3.6; {_DATATROVE}",
        (
            _WORDS,
            Option("line_punct_thr", "float", 0.12, _PAPER),
            Option("line_punct_exclude_zero", "bool", False, _DATATROVE),
            Option("stop_chars", "list | null", None, _DATATROVE),
            Option("short_line_thr", "float", 0.67, _PAPER),
            Option("short_line_length", "int", 30, _PAPER),
            Option("char_duplicates_ratio", "float", 0.01, f"{_DATATROVE}; the paper says 0.1"),
            Option("new_line_ratio", "float", 0.3, _DATATROVE),
        ),
    ),
    DataStep(
        "gbm_quality",
        "document",
        "scores documents with a gradient boosting machine, and removes those of low scores",
        "H2O-Danube2, technical report, section 7",
        (
            Option("model", "folder", made_by="danube train-quality gbm FOLDER --good DIR --raw DIR"),
            *_QUALITY,
        ),
    ),
    DataStep(
        "encoder_quality",
        "document",
        "scores documents with a BERT-class encoder, and removes those of low scores",
        "H2O-Danube2, technical report, section 7",
        (
            Option("model", "folder", made_by="danube train-quality encoder FOLDER --good DIR --raw DIR"),
            *_QUALITY,
        ),
    ),
    DataStep(
        "facts",
        "document",
        "takes out sentences of bare dates and statistics",
        "LokiLM, technical report, section 3.3",
    ),
    DataStep(
        "decontaminate",
        "document",
        "removes documents that share a run of words with a benchmark",
        "LokiLM, technical report, sections 2.2 and 3.1",
        (
            Option("files", "list of files and folders"),
            *_from(_ASSUMED, Option("ngram", "int", 13), Option("min_words", "int", 8), Option("max_items", "int", 10)),
        ),
    ),
    DataStep(
        "exact",
        "corpus",
        "removes all but the first of documents of the same words",
        "Danube's own",
    ),
    DataStep(
        "minhash",
        "corpus",
        "removes all but one of documents that are nearly the same",
        f"FineWeb, arXiv:2406.17557, section 3.4; {_DATATROVE}",
        (
            Option("n_grams", "int", 5, _PAPER),
            Option("num_buckets", "int", 14, _PAPER),
            Option("hashes_per_bucket", "int", 8, _PAPER),
            Option("seed", "int", 1, _DATATROVE),
        ),
    ),
    DataStep(
        "semdedup",
        "corpus",
        "removes all but one of documents that mean nearly the same",
        "LokiLM, technical report, section 2; SemDeDup, arXiv:2303.09540, section 3",
        (
            *_SEMANTIC,
            Option("max_cosine", "float", 0.95, _ASSUMED),
            Option("keep", "hard | easy | random", "hard", "SemDeDup, section 3"),
            Option("rows_in_memory", "int", 250_000),
        ),
    ),
    DataStep(
        "prototypes",
        "corpus",
        "removes the documents that are most like others of their kind",
        "LokiLM, technical report, section 2; arXiv:2206.14486",
        (*_SEMANTIC, *_from(_ASSUMED, Option("drop_fraction", "float", 0.2), Option("keep", "hard | easy", "hard"))),
    ),
)
