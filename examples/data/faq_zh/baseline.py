"""What shared characters alone achieve on this set: the floor every model has to clear.

    python examples/data/faq_zh/baseline.py

Scores are Jaccard and TF-IDF cosine over character bigrams (document frequencies from train.tsv). The
threshold comes from dev.tsv; the best one test.tsv allows is shown beside it. The last line guesses
the label from ONE text of the pair (naive Bayes on its bigrams): 50 % means that only comparing helps.
"""

import collections
import math
import re

from build import WRITTEN, assign, read


def bigrams(text):
    text = re.sub(r"\W", "", text.lower())
    return {text[i : i + 2] for i in range(max(1, len(text) - 1))}


def jaccard(pair):
    a, b = map(bigrams, pair)
    return len(a & b) / len(a | b)


def inverse_frequencies(texts):
    counts = collections.Counter(gram for text in texts for gram in bigrams(text))
    return collections.defaultdict(
        lambda: math.log(1 + len(texts)),
        {gram: math.log((1 + len(texts)) / (1 + n)) for gram, n in counts.items()},
    )


def cosine(a, b, idf):
    a, b = bigrams(a), bigrams(b)
    norm = math.sqrt(math.fsum(idf[g] ** 2 for g in a) * math.fsum(idf[g] ** 2 for g in b))
    return math.fsum(idf[g] ** 2 for g in a & b) / norm if norm else 0.0


def accuracy(scores, labels, threshold):
    return sum((score >= threshold) == label for score, label in zip(scores, labels)) / len(labels)


def best_threshold(scores, labels):
    return max([*sorted(set(scores)), math.inf], key=lambda threshold: accuracy(scores, labels, threshold))


def auc(scores, labels):
    positive = [s for s, label in zip(scores, labels) if label]
    negative = [s for s, label in zip(scores, labels) if not label]
    return sum((p > n) + (p == n) / 2 for p in positive for n in negative) / (len(positive) * len(negative))


def load(split):
    rows = read(f"{split}.tsv")
    return [row[:2] for row in rows], [row[2] == "1" for row in rows]


def one_text_guess(train, test):
    """Test accuracy of naive Bayes that sees text_b only."""
    counts = {label: collections.Counter() for label in (True, False)}
    for (_, text), label in zip(*train):
        counts[label].update(bigrams(text))
    kinds = len(counts[True] | counts[False])

    def likelihood(text, label):
        total = sum(counts[label].values()) + kinds
        return math.fsum(math.log((counts[label][gram] + 1) / total) for gram in bigrams(text))

    return accuracy([likelihood(text, True) - likelihood(text, False) for _, text in test[0]], test[1], 0.0)


def search(idf):
    corpus = {row[0]: row[2] for row in read("questions.tsv")}
    ranks = []
    for text, key in read("queries.tsv"):
        scores = {other: cosine(text, question, idf) for other, question in corpus.items()}
        ranks.append(sum(score >= scores[key] for score in scores.values()))  # ties count against
    recall = [sum(rank <= k for rank in ranks) / len(ranks) for k in (1, 5)]
    return recall, math.fsum(1 / rank for rank in ranks) / len(ranks)


def main():
    splits = {split: load(split) for split in ("train", "dev", "test")}
    idf = inverse_frequencies(sorted({text for pair in splits["train"][0] for text in pair}))
    questions, paraphrases, hard_positives, hard_negatives, _ = map(read, WRITTEN)
    parts, held_out = assign(questions, paraphrases, hard_positives)
    unseen = {text for key, group in parts["test"].items() if key in held_out for text in group}
    pairs, labels = splits["test"]
    slices = {
        "all": range(len(pairs)),
        "unseen questions": [i for i, pair in enumerate(pairs) if unseen & set(pair)],
    }
    hard = {frozenset(pair) for pair in hard_negatives}
    print(f"{len(pairs)} test pairs, {len(slices['unseen questions'])} of them with an unseen question")
    for name, score in (("Jaccard", jaccard), ("TF-IDF cosine", lambda pair: cosine(*pair, idf))):
        threshold = best_threshold([score(pair) for pair in splits["dev"][0]], splits["dev"][1])
        scores = [score(pair) for pair in pairs]
        best = accuracy(scores, labels, best_threshold(scores, labels))
        print(f"{name}: AUC {auc(scores, labels):.4f}, threshold {threshold:.4f} from dev")
        for part, rows in slices.items():
            reached = accuracy([scores[i] for i in rows], [labels[i] for i in rows], threshold)
            print(f"  accuracy, {part}: {reached:.4f}")
        print(f"  accuracy with the best threshold test allows: {best:.4f}")
        missed = [scores[i] >= threshold for i, pair in enumerate(pairs) if frozenset(pair) in hard]
        print(f"  written hard negatives taken for the same: {sum(missed)} of {len(missed)}")
    recall, mrr = search(idf)
    print(f"search with TF-IDF: recall@1 {recall[0]:.4f}, recall@5 {recall[1]:.4f}, MRR {mrr:.4f}")
    print(f"label guessed from text_b alone: {one_text_guess(splits['train'], splits['test']):.4f}")


if __name__ == "__main__":
    main()
