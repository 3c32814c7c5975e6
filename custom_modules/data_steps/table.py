"""The data steps, in the order in which they run: first those that judge a document alone, then the others."""

from __future__ import annotations

from custom_modules.data_steps.options import (
    DATATROVE,
    C4BadWordsOptions,
    C4ParagraphsOptions,
    C4QualityOptions,
    DecontaminateOptions,
    EncoderQualityOptions,
    FineWebQualityOptions,
    GbmQualityOptions,
    GopherQualityOptions,
    GopherRepetitionOptions,
    LanguageOptions,
    MinHashOptions,
    PrototypeOptions,
    SemDedupOptions,
    UrlOptions,
)
from custom_modules.data_steps.step import DataStep

_DATATROVE = DATATROVE.source

DATA_STEPS: tuple[DataStep, ...] = (
    DataStep(
        "url",
        "document",
        "removes documents by their address: lists of domains, addresses and words",
        f"FineWeb, arXiv:2406.17557, section 3.2; {_DATATROVE}",
        UrlOptions,
    ),
    DataStep(
        "language",
        "document",
        "keeps documents that are in one of some languages",
        f"fastText's lid.176 or GlotLID; {_DATATROVE}",
        LanguageOptions,
    ),
    DataStep(
        "gopher_repetition",
        "document",
        "removes documents that repeat lines, paragraphs or runs of words",
        f"Gopher, arXiv:2112.11446, section A.1; {_DATATROVE}",
        GopherRepetitionOptions,
    ),
    DataStep(
        "gopher_quality",
        "document",
        "removes documents whose words and lines are not those of prose",
        f"Gopher, arXiv:2112.11446, section A.1; {_DATATROVE}",
        GopherQualityOptions,
    ),
    DataStep(
        "c4_quality",
        "document",
        "takes out lines that are no sentences, and documents that too few sentences are left of",
        f"C4, jmlr.org/papers/v21/20-074.html, section 2.2; {_DATATROVE}",
        C4QualityOptions,
    ),
    DataStep(
        "c4_paragraphs",
        "document",
        "removes documents without enough long paragraphs",
        f"mC4, arXiv:2010.11934, section 3.1; {_DATATROVE}",
        C4ParagraphsOptions,
    ),
    DataStep(
        "c4_badwords",
        "document",
        "removes documents with any of a list of words",
        f"C4, jmlr.org/papers/v21/20-074.html, section 2.2; {_DATATROVE}",
        C4BadWordsOptions,
    ),
    DataStep(
        "fineweb_quality",
        "document",
        "removes documents whose lines are short, unfinished or repeated",
        f"FineWeb, arXiv:2406.17557, section 3.6; {_DATATROVE}",
        FineWebQualityOptions,
    ),
    DataStep(
        "gbm_quality",
        "document",
        "scores documents with a gradient boosting machine, and removes those of low scores",
        "H2O-Danube2, technical report, section 7",
        GbmQualityOptions,
    ),
    DataStep(
        "encoder_quality",
        "document",
        "scores documents with a BERT-class encoder, and removes those of low scores",
        "H2O-Danube2, technical report, section 7",
        EncoderQualityOptions,
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
        DecontaminateOptions,
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
        MinHashOptions,
    ),
    DataStep(
        "semdedup",
        "corpus",
        "removes all but one of documents that mean nearly the same",
        "LokiLM, technical report, section 2; SemDeDup, arXiv:2303.09540, section 3",
        SemDedupOptions,
    ),
    DataStep(
        "prototypes",
        "corpus",
        "removes the documents that are most like others of their kind",
        "LokiLM, technical report, section 2; arXiv:2206.14486",
        PrototypeOptions,
    ),
)
