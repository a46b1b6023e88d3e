"""Search with sentence embeddings."""

from zoo.retrieval.exact import top_k
from zoo.retrieval.hubs import HubCorrection

__all__ = ["HubCorrection", "top_k"]
