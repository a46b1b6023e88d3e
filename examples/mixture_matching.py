"""Train one matcher on several labelled sets at once: binary pairs, inference labels, similarity scores.

    python examples/mixture_matching.py --preset=roformer_v2_mini_zh --output=my_matcher \\
        --data=lcqmc=matching/lcqmc/train.tsv.gz:pair --data=stsb=matching/stsb-zh/train.tsv.gz:sts \\
        --data=ocnli=matching/ocnli/train.tsv.gz:nli --data=afqmc=matching/afqmc/train.tsv.gz:pair \\
        --dev=lcqmc=matching/lcqmc/dev.tsv.gz:pair --dev=stsb=matching/stsb-zh/dev.tsv.gz:sts \\
        --exclude=matching/atec/dev.tsv.gz:pair --info_nce=0.1 --epochs=8 --steps_per_epoch=1000
    python examples/mixture_matching.py --matches=matches.txt ... the same sets, then --matcher=interaction --preset=...

A kind is pair (0, 1), nli (contradiction < neutral < entailment), rel (0, 1, 2), sts (column score, 0 .. 5) or unit (column
score, 0 .. 1, as silver_pairs.py writes them). Labels are compared within a set only (CoSENT), so each batch is of one set.
Pairs of --dev and --exclude are taken out of the training sets. The epoch with the best mean Spearman on --dev is kept in
--output, its threshold fitted on the first dev set of labels 0 and 1; history/log.csv has every epoch. Killed, the same command
goes on after the last whole epoch, from state/. An interaction matcher starts better from a model that has learned to look
from one text to the other: --matches writes the matching pairs as a corpus for `pretrain_mlm.py --preset`.
"""

import os

import keras
from absl import app, flags

import zoo
from zoo.callbacks import BestPreset, LearningLog, Resume
from zoo.data import joined, read_graded, without_pairs_of, write_matches

F = flags.FLAGS
flags.DEFINE_string("preset", "roformer_v2_mini_zh", "Name or folder of a pretrained backbone or matcher.")
flags.DEFINE_enum("matcher", "representation", ["representation", "interaction"], "What to train.")
flags.DEFINE_multi_string("data", None, "A training set, name=path:kind; may be repeated.", required=True)
flags.DEFINE_multi_string("dev", None, "A set that chooses the epoch, name=path:kind; may be repeated.", required=True)
flags.DEFINE_multi_string("exclude", [], "A set, path:kind, whose pairs are not trained on; may be repeated.")
flags.DEFINE_float("alpha", 0.5, "A set of N rows comes about N^alpha often: 1 is as its size, 0 all sets alike.")
flags.DEFINE_enum("loss", "cosent", ["cosent", "cross_entropy"], "Interaction can take labels for chances of a match.")
flags.DEFINE_float("info_nce", 0.0, "Weight of in-batch negatives beside CoSENT (representation).")
flags.DEFINE_string("pooling", None, "cls, mean, max, first_last_mean, attention or (interaction) comparison.")
flags.DEFINE_integer("limit", None, "Rows of each set, for a try.")
flags.DEFINE_integer("epochs", 5, "Evaluations on dev.", lower_bound=1)
flags.DEFINE_integer(
    "steps_per_epoch", None, "Batches between them; default: as many as hold every row once.", lower_bound=1
)
flags.DEFINE_integer("batch_size", 256, "Pairs a step.", lower_bound=1)
flags.DEFINE_integer("micro_batch_size", None, "Compute the same big batches in parts of this size.", lower_bound=1)
flags.DEFINE_float("learning_rate", 5e-4, "Peak, after a warm-up of 10 %; 2e-5 suits base-size models.")
flags.DEFINE_float("dropout", None, "Of the backbone; default: as pretrained.")
flags.DEFINE_string("dtype", "float32", "float32, mixed_bfloat16 or mixed_float16.")
flags.DEFINE_integer("max_length", 64, "Tokens of a text; a packed pair has twice as many.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Seed of everything.")
flags.DEFINE_string("matches", None, "File that gets the matching pairs of --data, a text a line; nothing is trained.")
flags.DEFINE_string("output", "mixture", "Folder of the preset.")


def read(entries):
    """Name to (pairs with labels from 0 to 1, kind)."""
    sets = {}
    for entry in entries:
        name, _, rest = entry.rpartition("=")
        path, _, kind = rest.rpartition(":")
        if (name or path) in sets:
            raise app.UsageError(f"two sets are named {name or path}: say another name for {path}, name=path:kind")
        sets[name or path] = read_graded(path, kind)[: F.limit], kind
    return sets


def chosen_loss(matcher):
    if F.matcher == "interaction":
        return matcher.default_loss() if F.loss == "cross_entropy" else zoo.losses.CoSENT(scale=1.0)
    return zoo.losses.CoSENTInfoNCE(F.info_nce, positive=0.8) if F.info_nce else zoo.losses.CoSENT()


def main(_):
    if F.loss == "cross_entropy" and F.matcher == "representation":
        raise app.UsageError("--loss=cross_entropy is of the interaction matcher's free score; cosines take cosent")
    if F.info_nce and F.matcher == "interaction":
        raise app.UsageError("--info_nce compares vectors of texts, which --matcher=interaction has not; leave it out")
    keras.utils.set_random_seed(F.seed)
    dev = read(F.dev)
    judged = [pairs for pairs, _ in (*dev.values(), *read(F.exclude).values())]
    sets = {name: without_pairs_of(pairs, judged) for name, (pairs, _) in read(F.data).items()}
    if F.matches:
        return print(f"{write_matches(joined(sets), F.matches, seed=F.seed):,} pairs in {F.matches}")
    representation = F.matcher == "representation"
    options = {"dtype": F.dtype, "max_length": F.max_length * (1 if representation else 2)}
    options |= {"pooling": F.pooling} if F.pooling else {}
    options |= {} if F.dropout is None else {"dropout": F.dropout, "attention_dropout": F.dropout}
    matcher = (zoo.RepresentationMatcher if representation else zoo.InteractionMatcher).from_preset(F.preset, **options)
    mixture = zoo.training.Mixture(alpha=F.alpha, steps=F.steps_per_epoch)
    batches = mixture.batches({name: len(pairs) for name, pairs in sets.items()}, F.batch_size)
    for name, count in batches.items():
        print(f"{name}: {len(sets[name]):,} pairs, {count:,} of {sum(batches.values()):,} batches an epoch", flush=True)
    steps = F.epochs * sum(batches.values())
    rate = zoo.optimizers.WarmupDecay(F.learning_rate, steps, end=0.02 * F.learning_rate, shape="cosine")
    matcher.compile(zoo.optimizers.FusedAdamW(rate, weight_decay=0.01, global_clipnorm=1.0), chosen_loss(matcher))
    resume = Resume(os.path.join(F.output, "state"))
    epoch = resume.restore(matcher)
    log = LearningLog(os.path.join(F.output, "history", "log.csv"), initial_epoch=epoch)
    matcher.fit(
        sets, mixture=mixture, validation_data={name: pairs for name, (pairs, _) in dev.items()}, seed=F.seed,
        batch_size=F.batch_size, micro_batch_size=F.micro_batch_size, epochs=F.epochs, initial_epoch=epoch,
        callbacks=[log, BestPreset(F.output, "val_spearman"), resume], verbose=2,
    )  # fmt: skip
    for row in log.rows:
        values = (f"{name} {float(row[f'val_{name}_spearman']):.4f}" for name in dev)
        print(f"epoch {int(row['epoch']) + 1}: mean {float(row['val_spearman']):.4f},", *values)


if __name__ == "__main__":
    zoo.command_line.run(main)
