"""The length lab's model, its training and its tests: a causal GAU that predicts the next token."""

import os
from dataclasses import dataclass

import keras
import numpy as np

import zoo
from zoo.callbacks import LearningLog, Resume
from zoo.data import NumberedBatches, PackedRows
from zoo.data.dataset import digest


@dataclass(frozen=True)
class Setting:
    """Everything that decides the numbers, beside text, seed and backend.

    Args:
        layers, width, key_dim: int, of the GAU.
        length: int, N, tokens a row in training.
        batch_size: int, rows a step. steps: int. steps_per_epoch: int, steps between two saved states.
        learning_rate: float, peak. dtype: str, policy of training and test.
        factor: float, k of the frequency scalings, the same at every tested length.
        test_tokens: int, tokens of held-out text that are predicted at each length.
    """

    layers: int = 8
    width: int = 256
    key_dim: int = 64
    length: int = 128
    batch_size: int = 16
    steps: int = 2400
    steps_per_epoch: int = 100
    learning_rate: float = 7e-4
    dtype: str = "mixed_bfloat16"
    factor: float = 8.0
    test_tokens: int = 16384

    def __post_init__(self):
        if self.steps % self.steps_per_epoch:
            raise ValueError(f"steps={self.steps} is no multiple of steps_per_epoch={self.steps_per_epoch}")


class NextTokens(NumberedBatches):
    """Rows that begin with [CLS], and for each place the token after it; batch i of epoch e depends on the seed alone.

    Args:
        stream: `TokenStream`. setting: `Setting`. tokenizer: `zoo.Tokenizer`. seed: int.

    Batches are ({token_ids `[B, N]`}, labels `[B, N]`), N tokens of text predicted in each row.
    """

    def __init__(self, stream, setting, tokenizer, seed):
        super().__init__(setting.steps_per_epoch)
        # The rows end with a [SEP] that the text has not: as a label it would teach to end at place N.
        self.rows = PackedRows(stream, setting.length + 2, tokenizer.cls_token_id, tokenizer.sep_token_id, seed)
        self.setting = setting

    def numbered_batch(self, number):
        ids, _ = self.rows.batch(number, self.setting.batch_size)
        return {"token_ids": ids[:, :-2]}, ids[:, 1:-1]

    def identity(self):
        """What tells this data from other data, JSON values."""
        first, _ = self.rows.batch(0, self.setting.batch_size)
        return {"batches": self.num_batches, "seed": self.rows.seed, "content": digest(first)[:16]}


def language_model(setting, vocabulary_size, layer_attention):
    """Logits of the next token through the tied token embedding; compiled, ready for training and test.

    No dropout: the text is seen less than once.
    """
    backbone = zoo.GAUAlpha(
        vocabulary_size=vocabulary_size, num_layers=setting.layers, hidden_dim=setting.width, key_dim=setting.key_dim,
        num_segments=0, max_sequence_length=setting.length, position="rotary", normalization="softmax",
        attention_mask="causal", layer_attention=layer_attention, dropout=0.0, attention_dropout=0.0,
        dtype=setting.dtype,
    )  # fmt: skip
    model = zoo.MaskedLM(backbone)  # its head is this tied softmax; which tokens are predicted is up to the labels
    # Where the rate rises faster, units that normalise after their residual learn the frequencies of the tokens and then
    # nothing for hundreds of steps: with 7e-4 after 400 steps they are out at step 200, after 250 steps at step 400.
    decay = {"warmup_steps": setting.steps // 6, "end": 0.02 * setting.learning_rate, "shape": "cosine"}
    rate = zoo.optimizers.WarmupDecay(setting.learning_rate, setting.steps, **decay)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=0.01, beta_2=0.98, global_clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(optimizer, zoo.losses.TokenCrossEntropy(), metrics=["accuracy"])
    return model


def trained(setting, layer_attention, tokenizer, stream, seed, folder):
    """The model after all its steps; a training that was stopped goes on from `folder`, a finished one is only read."""
    keras.utils.set_random_seed(seed)
    model = language_model(setting, tokenizer.vocabulary_size, layer_attention)
    state = os.path.join(folder, "state")
    done, epochs = Resume(state).restore(model), setting.steps // setting.steps_per_epoch
    if done < epochs:
        data = NextTokens(stream, setting, tokenizer, seed)
        log = LearningLog(os.path.join(folder, "log.csv"), setting.batch_size * setting.length, done)
        resume = Resume(state, callbacks=[data.epoch_callback(), log], data=data)
        model.fit(data, epochs=epochs, initial_epoch=done, callbacks=[resume], shuffle=False, verbose=2)
    return model


def reread(model, setting, layer_attention):
    """A model with the same weights and other options of attention."""
    other = language_model(setting, model.backbone.vocabulary_size, layer_attention)
    other.set_weights(model.get_weights())
    return other


def cells(setting, lengths):
    """(length, repeated) of each test: repeated text begins where it is longer than a row of training."""
    return [(n, repeated) for repeated in (False, True) for n in lengths if n > setting.length or not repeated]


def cell_name(length, repeated):
    return f"{length} repeated" if repeated else str(length)


def held_out_rows(ids, setting, length, repeated, cls_token_id):
    """Inputs and labels, both int32 `[rows, length]`, of the first `test_tokens` of held-out ids.

    Every length cuts the same text. Repeated: of each row its first N tokens, again and again, as in the posts.
    """
    count = setting.test_tokens // length
    if count < 1 or len(ids) < count * length:
        raise ValueError(f"{setting.test_tokens} of {len(ids)} held-out tokens do not fill a row of {length}")
    labels = ids[: count * length].reshape(count, length).astype("int32")
    if repeated:
        labels = np.tile(labels[:, : setting.length], -(-length // setting.length))[:, :length]
    first = np.full((count, 1), cls_token_id, "int32")
    return np.concatenate([first, labels[:, :-1]], axis=1), labels


def tested(model, setting, ids, length, repeated, cls_token_id):
    """Mean loss in nats and accuracy in percent of the next token, over all tokens as in the posts."""
    inputs, labels = held_out_rows(ids, setting, length, repeated, cls_token_id)
    rows = max(1, setting.batch_size * setting.length // (2 * length))
    found = model.evaluate({"token_ids": inputs}, labels, batch_size=rows, return_dict=True, verbose=0)
    return {"loss": float(found["loss"]), "accuracy": 100 * float(found["accuracy"])}
