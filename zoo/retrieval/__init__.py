"""Search with sentence embeddings."""

from zoo.retrieval.exact import top_k

__all__ = ["top_k"]
