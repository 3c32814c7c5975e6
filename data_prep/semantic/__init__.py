"""What documents mean, as vectors: near-copies in meaning, and documents typical of their kind, taken out.

LokiLM technical report, section 2: SemDeDup (Abbas et al. 2023, arXiv:2303.09540), and "semantic density-based pruning
using Self-Supervised-Prototypes Pruning" (Sorscher et al. 2022, arXiv:2206.14486).
"""
