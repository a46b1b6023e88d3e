"""The losses of sentence-transformers beside ours, on the same embeddings: values and gradients."""

import keras
import numpy as np
import pytest

import zoo
from zoo.losses.similarity import cosine_similarity

if keras.backend.backend() != "torch":
    pytest.skip("sentence-transformers computes with torch", allow_module_level=True)

import torch

theirs = pytest.importorskip("sentence_transformers.sentence_transformer.losses")

GRADED, BINARY = np.array([0.2, 0.9, 0.2, 0.5, 1.0, 0.0], "float32"), np.array([1, 0, 0, 1, 1, 0])
BOTH_WAYS = {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}
DISTANCE = theirs.TripletDistanceMetric
CASES = {  # name -> ours, theirs, its arguments, labels, texts of a row
    "CoSENT": (zoo.losses.CoSENT(), theirs.CoSENTLoss, {}, GRADED, 2),
    "AnglE": (zoo.losses.AnglE(), theirs.AnglELoss, {}, GRADED, 2),
    "regression": (zoo.losses.CosineRegression(), theirs.CosineSimilarityLoss, {}, GRADED, 2),
    "contrastive": (zoo.losses.Contrastive(), theirs.ContrastiveLoss, {}, BINARY, 2),
    "InfoNCE": (zoo.losses.InfoNCE(), theirs.MultipleNegativesRankingLoss, {}, BINARY, 4),
    "symmetric": (zoo.losses.InfoNCE(symmetric=True), theirs.MultipleNegativesRankingLoss, BOTH_WAYS, BINARY, 2),
    "triplet": (
        zoo.losses.Triplet(distance="cosine"),
        theirs.TripletLoss,
        {"distance_metric": DISTANCE.COSINE, "triplet_margin": 0.5},
        BINARY,
        3,
    ),
    "euclidean": (zoo.losses.Triplet(margin=5.0, distance="euclidean"), theirs.TripletLoss, {}, BINARY, 3),
}


class Given(torch.nn.Module):
    """A model whose embeddings are its inputs."""

    def forward(self, features):
        return {"sentence_embedding": features["embeddings"]}


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient(name):
    ours, cls, arguments, labels, texts = CASES[name]
    embeddings = np.random.default_rng(1).normal(size=(len(labels), texts, 8)).astype("float32")
    embeddings[:, 1] += 0.5 * embeddings[:, 0]
    mine, other = (torch.tensor(embeddings, requires_grad=True) for _ in range(2))
    scores = mine if ours.inputs == "embeddings" else cosine_similarity(mine[:, 0], mine[:, 1])
    value = ours(labels, scores)
    columns = [{"embeddings": other[:, i]} for i in range(texts)]
    expected = cls(Given(), **arguments)(columns, torch.tensor(labels))
    value.backward()
    expected.backward()
    assert expected.item() > 0.01 and np.abs(other.grad.numpy()).max() > 0.01  # the case says something
    np.testing.assert_allclose(value.item(), expected.item(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-5, atol=1e-6)
