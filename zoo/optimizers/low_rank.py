"""Optimizer-side LoRA: any optimizer trains small factors, the model keeps its kernels."""

import contextlib
import dataclasses
import math

import keras
import numpy as np
from keras import ops

from zoo.backend import add_product, outside_graph, snapshot
from zoo.backend.variables import named_by, to_numpy
from zoo.optimizers.low_rank_delta import LowRankDelta, base_sha256, fingerprint
from zoo.optimizers.low_rank_forms import Form, LoRA
from zoo.optimizers.wrapper import HALF, OptimizerWrapper, chain


@keras.saving.register_keras_serializable(package="zoo")
class LowRank(OptimizerWrapper):
    """Trains kernels by low-rank factors that only the optimizer knows: LoRA without LoRA layers.

        model.compile(zoo.optimizers.LowRank(keras.optimizers.AdamW(1e-3), rank=8))

    For each chosen kernel W the inner optimizer trains factors A and B, by gradients that follow from that of W, and W
    moves along: W <- W + s (A' B' - A B). This trains the same W as layers that compute x (W₀ + s A B), and leaves
    layers, graph, and saved models and presets as they are. The inner optimizer's slots are those of A and B.

    What the inner optimizer does it does to A and B:
    - Clipping and gradient accumulation act on their gradients, in buffers of their size; a norm is taken over A and B
      one by one (`clipnorm`), or over all factors and all variables of `full_rank` (`global_clipnorm`).
    - Weight decay pulls A and B towards zero, hence W towards W₀, or W₀ - s A₀ B₀ where A₀ B₀ is not zero. Excluding
      goes by name: the factors of a variable `kernel` are called `kernel_a` and `kernel_b`.
    - Averages (`use_ema`) are those of A and B, and W becomes W₀ + s A B of the averages.
    - An optimizer that corrects steps goes inside: LowRank(LayerwiseLearningRate(...)). Paths of factors start with
      that of the layer. Outside it moves W away from the factors, and `extract` refuses.

    A kernel of more than two axes is taken as the matrix of leading axes by trailing axes, in their order, that has the
    fewest factors: query kernels `[d, H, s]` as `[d, H s]`, output kernels `[H, s, d]` as `[H s, d]`, most convolutions
    `[h, w, in, out]` as `[h w in, out]`. Gradients are computed of all trainable variables; `zoo.freeze` those that are
    not trained, and torch saves their time too.

    Factors are float32, also beside a float64 W. So is the running copy of W: W itself, except under pure half precision,
    where the optimizer stores beside W what W lacks of it; what is trained at full rank is as coarse there as under any
    optimizer. The hash of the base is taken at the build, which is at the first `fit`: load weights before that, or compile
    anew.

    Args:
        optimizer: `keras.optimizers.Optimizer` not yet built, another wrapper, or a name.
        rank: int, r. A matrix with a side of at most r, such as the kernel of a small head, is trained at full rank.
        pattern: regular expression, searched in the paths of trainable variables: which kernels get factors.
        full_rank: regular expression or None: which variables the inner optimizer trains as they are, also where
            `pattern` matches (`"classifier|bias|gamma"`). All others stay as they are, bit by bit.
        form: None for `LoRA()`, which has alpha, initialisers and the ratio of learning rates, or another of
            `LoRA`, `AdditiveLoRA`, `RandomProjection` and `GaLore`.
        seed: int, of the factors' initialisers and of `RandomProjection`.

    Raises:
        ValueError: the inner optimizer is built, or remembers factors (`use_ema`, `Lookahead`) whose earlier values mean
            nothing later; at the build: a pattern matches no trainable variable, or a chosen kernel has a constraint.

    Source: kexue.fm/archives/9590.
    """

    follows_averages = True

    def __init__(self, optimizer, rank=8, pattern="kernel$", full_rank=None, form=None, seed=0, name="low_rank"):
        super().__init__(optimizer, name=name)
        if isinstance(form, dict):
            form = keras.saving.deserialize_keras_object(form)
        self.rank, self.pattern, self.full_rank, self.seed = rank, pattern, full_rank, seed
        self.form = LoRA() if form is None else form
        if not isinstance(self.form, Form):
            made = f"{form.__name__}()" if isinstance(form, type) else "LoRA()"
            raise TypeError(f"LowRank: form={form!r:.60}; expected an object such as zoo.optimizers.{made}")
        if not isinstance(rank, int) or rank < 1:
            raise ValueError(f"rank={rank!r}; expected a whole number of at least 1")
        if self.inner.built:
            raise ValueError(f"{type(self.inner).__name__} is built for other variables; give LowRank a new one")
        for one in [] if self.form.is_average else chain(self.inner):
            if one.use_ema or getattr(one, "remembers_weights", False):
                around = "ExponentialMovingAverage" if one.use_ema else type(one).__name__
                raise ValueError(
                    f"LowRank got {type(one).__name__}{' (use_ema)' * one.use_ema}, which mixes factors of several steps, "
                    f"and a mean of the factors of {type(self.form).__name__} with these options is not that of a model; "
                    f"mix the weights instead: {around}(LowRank(...))"
                )

    def build(self, variables):
        if self.built:
            return
        chosen, full = self._chosen(variables)
        with outside_graph():
            matrices = [self._matrix(variable, index) for index, variable in enumerate(chosen)]
            seeds = keras.random.SeedGenerator(self.seed, name="seeds") if self.form.is_random else None
            if seeds is not None:
                self._track_variable(seeds.state)
            # Of the base as it is now; a variable, so that it is saved and resumed with the factors.
            digest = self.add_variable((32,), dtype="uint8", name="base_sha256")
            digest.assign(np.frombuffer(base_sha256((m.variable.path, m.variable) for m in matrices), "uint8"))
            self.inner.build([*(factor for matrix in matrices for factor in matrix.trained), *full])
            keras.optimizers.Optimizer.build(self, variables)
        self._parts = _Parts(matrices, full, seeds, digest)

    def _chosen(self, variables):
        """(variables that get factors, variables that are trained as they are)"""
        chosen, full = [], []
        for variable in variables:
            matched = len(variable.shape) > 1 and named_by(self.pattern, variable.path)
            whole = self.full_rank is not None and named_by(self.full_rank, variable.path)
            if whole or (matched and min(matrix_shape(variable.shape)) <= self.rank):
                full.append(variable)
            elif matched:
                chosen.append(variable)
                if variable.constraint is not None:
                    raise ValueError(
                        f"LowRank: {variable.path} has the constraint {type(variable.constraint).__name__}, which its "
                        "factors could not follow; leave it out of `pattern` or put it into `full_rank`"
                    )
        if not chosen and not full:
            paths = ", ".join(variable.path for variable in variables[:3])
            raise ValueError(f"LowRank: no trainable variable matches {self.pattern!r}; paths look like {paths}, ...")
        return chosen, full

    def rounded(self, variables):
        return self._chosen(variables)[1]

    def _matrix(self, variable, index):
        n, m = matrix_shape(variable.shape)

        def factors(described):
            return [
                self._factor(variable, name, shape, _seeded(initializer, self.seed + 2 * index + number))
                for number, (name, shape, initializer) in enumerate(described)
            ]

        base = self._factor(variable, "base", (8,), "zeros")
        base.assign(fingerprint(to_numpy(variable).reshape(n, m)))
        is_half = keras.backend.standardize_dtype(variable.dtype) in HALF
        return _Matrix(
            variable,
            (n, m),
            base,
            trained=factors(self.form.trained_variables(n, m, self.rank)),
            kept=factors(self.form.kept_variables(n, m, self.rank)),
            rest=self._factor(variable, "rest", variable.shape, "zeros") if is_half else None,
        )

    def _factor(self, variable, name, shape, initializer):
        with contextlib.ExitStack() as scopes:  # for what goes by path
            for part in variable.path.split("/")[:-1]:
                scopes.enter_context(keras.name_scope(part))
            return self.add_variable(shape, initializer, "float32", name=f"{variable.name}_{name}")

    def step(self, gradients, variables):
        of_variable = {self._var_key(v): gradient for v, gradient in zip(variables, gradients, strict=True)}
        due, trained, projected, moved = self._is_refresh_due(), [], [], []
        for matrix in self._parts.matrices:
            gradient = of_variable.get(self._var_key(matrix.variable))
            trained += matrix.trained
            if gradient is None:
                projected += [None] * len(matrix.trained)  # the inner optimizer warns
                continue
            gradient = ops.reshape(ops.cast(gradient, "float32"), matrix.shape)
            old = [ops.copy(factor) for factor in matrix.trained]  # torch updates in place
            kept = [ops.convert_to_tensor(x) for x in matrix.kept]
            if due is not None:
                old, kept = self._refresh(matrix, due, gradient, old, kept)
            values = snapshot([*self.form.project(gradient, old, kept), *old])
            projected += values[: len(old)]
            moved.append((matrix, values[len(old) :], kept))
        for variable in self._parts.full:
            if self._var_key(variable) in of_variable:
                trained.append(variable)
                projected.append(of_variable[self._var_key(variable)])
        self.inner.apply(projected, trained)
        for matrix, old, kept in moved:
            self._move(matrix, old, kept)

    def _is_refresh_due(self):
        if self.form.refresh_every is None:
            return None
        # Not within a window of accumulation, whose gradients are summed up in one projection.
        window = chain(self)[-1].gradient_accumulation_steps or 1
        return ops.equal(self._iterations % (self.form.refresh_every * window), 0)

    def _refresh(self, matrix, due, gradient, old, kept):
        kept = self.form.refreshed(due, gradient, kept, self._parts.seeds)
        old = [ops.where(due, 0.0, factor) for factor in old]
        for variable, value in zip([*matrix.trained, *matrix.kept], [*old, *kept]):
            variable.assign(value)
        return old, kept

    def _move(self, matrix, old, kept):
        """W follows its factors."""
        new = [ops.convert_to_tensor(factor) for factor in matrix.trained]
        adjusted = self.form.after_step(old, new)
        for factor, before, after in zip(matrix.trained, new, adjusted):
            if after is not before:
                factor.assign(after)
        left, right = self.form.change(old, adjusted, kept)
        variable, rest = matrix.variable, matrix.rest
        if rest is None:
            add_product(variable, left, right)
            return
        exact = ops.cast(variable, "float32") + rest + ops.reshape(ops.matmul(left, right), variable.shape)
        variable.assign(ops.cast(exact, variable.dtype))
        rest.assign(exact - ops.cast(variable, "float32"))

    def finalize_variable_values(self, var_list):
        before = [(matrix, [ops.copy(factor) for factor in matrix.trained]) for matrix in self._parts.matrices]
        trained = [factor for matrix in self._parts.matrices for factor in matrix.trained]
        self.inner.finalize_variable_values([*trained, *self._parts.full])
        for matrix, old in before:
            self._move(matrix, old, [ops.convert_to_tensor(x) for x in matrix.kept])

    def exclude_from_weight_decay(self, var_list=None, var_names=None):
        chain(self)[-1].exclude_from_weight_decay(var_list, var_names)

    def extract(self):
        """What has been trained so far as a `zoo.LowRankDelta`: factors, and the variables of `full_rank` as they are.

        `zoo.LowRankDelta.of(model)` finds this optimizer inside others, as under mixed_float16.

        Raises:
            ValueError: there is nothing yet, the steps of `form` add up to no matrix of low rank, or something else has
                moved a kernel too, so that its factors are not its difference to the base.
        """
        if not self.built:
            raise ValueError("LowRank has trained nothing yet: it is built at the first step of fit")
        factors = {}
        for matrix in self._parts.matrices:
            trained, kept = ([ops.convert_to_tensor(x) for x in xs] for xs in (matrix.trained, matrix.kept))
            left, right = (ops.convert_to_numpy(side) for side in self.form.total(trained, kept))
            matrix.check(left @ right)
            factors[matrix.variable.path] = left, right
        values = {v.path: ops.convert_to_numpy(ops.cast(v, "float32")) for v in self._parts.full}
        if len(factors) + len(values) != len(self._parts.matrices) + len(self._parts.full):
            raise ValueError("two trained variables share one path; give the layers of the model different names")
        return LowRankDelta(factors, values, bytes(ops.convert_to_numpy(self._parts.digest)).hex())


@dataclasses.dataclass(eq=False)
class _Matrix:
    """A chosen kernel and the float32 variables beside it."""

    variable: keras.Variable
    shape: tuple
    base: keras.Variable  # `fingerprint` of W₀
    trained: list
    kept: list
    rest: keras.Variable | None  # what a kernel in half precision lacks of its running copy in float32

    def check(self, change):
        """Refuse a change `[n, m]` that is not W - W₀."""
        weights = to_numpy(self.variable) + (0 if self.rest is None else to_numpy(self.rest))
        weights = weights.reshape(self.shape)
        missing = fingerprint(weights) - fingerprint(change) - to_numpy(self.base)
        distance, moved = np.sqrt(np.mean(missing**2)), np.linalg.norm(change)
        # The second term is what roundings up and down come to in some 100,000 steps. Steps of less than some 50 units in
        # the last place of W, each rounded the same way, are more than that: then W is not base plus factors either.
        if not distance <= 0.01 * moved + 1e-5 * np.linalg.norm(weights):
            raise ValueError(
                f"{self.variable.path} is some {distance:.2g} away from its base plus its factors, which make a change of "
                f"{moved:.2g}: not LowRank alone has moved it, so there is no delta. An optimizer around LowRank does so "
                "(put Lookahead, ExponentialMovingAverage, LayerwiseLearningRate inside: LowRank(Lookahead(...))), "
                "EarlyStopping(restore_best_weights=True), weights loaded after the build, or a learning rate whose "
                "steps float32 rounds away. Train without it, or save the whole model"
            )


@dataclasses.dataclass(eq=False)
class _Parts:
    """What a build settles, in a class that Keras and TensorFlow do not look into: model variables are not its own."""

    matrices: list
    full: list
    seeds: keras.random.SeedGenerator | None
    digest: keras.Variable


def matrix_shape(shape):
    """(n, m) of a kernel as a matrix of leading by trailing axes: the split of the least n + m, the later of equals."""
    splits = [(math.prod(shape[:axis]), math.prod(shape[axis:])) for axis in range(1, len(shape))]
    return min(reversed(splits), key=sum)


def _seeded(initializer, seed):
    """The initializer with a seed of its own, where it takes one: equal seeds would give equal factors."""
    initializer = keras.initializers.get(initializer)
    config = initializer.get_config() if hasattr(initializer, "get_config") else {}
    return type(initializer).from_config({**config, "seed": seed}) if "seed" in config else initializer
