"""How the gradients of several tasks become one update: each way is an object for `zoo.MultiTask(..., combine=...)`.

After every step's backward passes a way is told the losses L_1 ... L_n of the step's tasks, and where it asks for it the
Gram matrix of their gradients over the shared weights. It answers with the factor of each gradient. The update of shared
weights is Σ w_i ∇L_i. Weights that belong to one task, its head, take that task's gradient times a factor of their own.

Su, "Multi-task learning" (1) to (3), kexue.fm/archives/8870, 8896 and 8907.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from numbers import Real

import numpy as np

from zoo.backend.arguments import Configured
from zoo.training.gradient_combination import min_norm_weights, primary_task_weights

# The classes that a preset may name.
NAMES = (
    "WeightedSum", "InitialLoss", "PriorLoss", "RealTimeLoss", "GeneralizedMean", "GradientNormalization", "MinNorm",
    "PrimaryTask",
)  # fmt: skip


class TaskWeights(Configured, ABC):
    """From the losses of a step's tasks to the factors of their gradients.

    Attributes:
        needs_gram: bool, whether it asks for the Gram matrix.
        needs_all: bool, whether a task's factor depends on the other tasks of the step, so that every step must have all
            and all gradients are in memory at once; else each task is asked for by itself.
        needs_prior: bool, whether it asks for `prior`, the losses of the best constant outputs.
        remembers: bool, whether it asks for `first`, the losses of each task's first step.
    """

    needs_gram = needs_all = needs_prior = remembers = False

    def check(self, names):
        """Refuse names of tasks that are not there.

        Args:
            names: list of str, all tasks.

        Raises:
            ValueError.
        """

    def value(self, names, losses):
        """What the log calls `loss`: float, the sum of the losses."""
        return float(np.sum(losses))

    @abstractmethod
    def factors(self, names, losses, gram=None, first=None, prior=None):
        """Factors of the gradients of one step.

        Args:
            names: list of str, the step's tasks.
            losses: float64 `[n]`, their losses.
            gram: float64 `[n, n]` or None, products of their gradients over the shared weights.
            first, prior: float64 `[n]` or None, see the class.

        Returns:
            float64 `[n]` for the shared weights, float64 `[n]` for the weights of each task alone.
        """


class WeightedSum(TaskWeights):
    """Σ w_i L_i with fixed weights.

    Args:
        weights: dict from names of tasks to numbers above 0, 1 for those left out; or None, 1 for all.
    """

    def __init__(self, weights=None):
        if weights is not None and not isinstance(weights, Mapping):
            raise ValueError(
                f"WeightedSum: weights={weights!r}; expected a dict from names of tasks to numbers, or None"
            )
        if weights is not None and not all(isinstance(value, Real) and value > 0 for value in weights.values()):
            raise ValueError(f"WeightedSum: weights={weights}; expected numbers above 0")
        self.weights = None if weights is None else {name: float(value) for name, value in weights.items()}

    def check(self, names):
        if unknown := sorted(set(self.weights or ()) - set(names)):
            raise ValueError(f"WeightedSum: no task {', '.join(unknown)}; the tasks are {', '.join(names)}")

    def value(self, names, losses):
        return float(np.dot(self._of(names), losses))

    def factors(self, names, losses, gram=None, first=None, prior=None):
        return _both(self._of(names))

    def _of(self, names):
        return np.array([(self.weights or {}).get(name, 1.0) for name in names])


class InitialLoss(TaskWeights):
    """Each loss divided by what it was at the task's first step: all tasks start at 1 (kexue.fm/archives/8870)."""

    remembers = True

    def factors(self, names, losses, gram=None, first=None, prior=None):
        return _both(1 / _positive("InitialLoss", names, first))


class PriorLoss(TaskWeights):
    """Each loss divided by that of the best constant output, for classes the entropy of the labels: 1 is "nothing
    learned" for every task (kexue.fm/archives/8870).
    """

    needs_prior = True

    def factors(self, names, losses, gram=None, first=None, prior=None):
        return _both(1 / _positive("PriorLoss", names, prior))


class RealTimeLoss(TaskWeights):
    """Each loss divided by its own value of the moment: the gradient of Σ ln L_i, as of the losses' geometric mean.

    A loss times 1,000 changes nothing (kexue.fm/archives/8870). Losses must be above 0.
    """

    def factors(self, names, losses, gram=None, first=None, prior=None):
        return _both(1 / _positive("RealTimeLoss", names, losses))


class GeneralizedMean(TaskWeights):
    """The gradient of (Σ L_i^p / n)^(1/p) (kexue.fm/archives/8870). Losses must be above 0.

    Args:
        power: float, p. 1 is the mean, 0 the geometric mean; large p follow the largest loss, large negative ones the
            smallest.
    """

    needs_all = True

    def __init__(self, power):
        if isinstance(power, bool) or not isinstance(power, Real) or not np.isfinite(float(power)):
            raise ValueError(f"GeneralizedMean: power={power!r:.60}; expected a finite number")
        self.power = float(power)

    def factors(self, names, losses, gram=None, first=None, prior=None):
        logs = np.log(_positive("GeneralizedMean", names, losses))
        # ∂M/∂L_i = M · softmax(p ln L)_i / L_i, where ln M = (ln Σ exp(p ln L_i) - ln n) / p
        odds = np.exp(self.power * logs - np.max(self.power * logs))
        shares = odds / odds.sum()
        if self.power == 0:
            log_mean = logs.mean()
        else:
            log_mean = (np.log(odds.mean()) + np.max(self.power * logs)) / self.power
        return _both(shares * np.exp(log_mean - logs))


class GradientNormalization(TaskWeights):
    """Each gradient divided by its length over the shared weights: the direction Σ ∇L_i / |∇L_i|.

    Neither a factor of a loss nor a constant added to it changes anything (kexue.fm/archives/8870; RoFormerV2 was
    pretrained so).
    """

    needs_gram = True

    def factors(self, names, losses, gram=None, first=None, prior=None):
        lengths = np.sqrt(np.diag(gram))
        shared = np.divide(1.0, lengths, out=np.zeros(len(names)), where=lengths > 0)
        return shared, np.where(lengths > 0, shared, 1.0)  # over a frozen backbone heads go on by themselves


class MinNorm(TaskWeights):
    """The common descent direction: the shortest Σ w_i ∇L_i with w_i >= 0 of sum 1, along which no task's loss rises.

    See `zoo.training.min_norm_weights`. Heads take their own task's gradient (kexue.fm/archives/8896).
    """

    needs_gram = needs_all = True

    def factors(self, names, losses, gram=None, first=None, prior=None):
        return min_norm_weights(gram), np.ones(len(names))


class PrimaryTask(TaskWeights):
    """Follows one task as far as no other's loss rises: the others keep the update from going astray.

    See `zoo.training.primary_task_weights`. Heads take their own task's gradient (kexue.fm/archives/8907).

    Args:
        name: str, the primary task.
    """

    needs_gram = needs_all = True

    def __init__(self, name):
        if not isinstance(name, str):
            raise ValueError(f"PrimaryTask: name={name!r:.60}; expected the name of a task, a str")
        self.name = name

    def check(self, names):
        if self.name not in names:
            raise ValueError(f"PrimaryTask({self.name!r}): no such task; the tasks are {', '.join(names)}")

    def factors(self, names, losses, gram=None, first=None, prior=None):
        return primary_task_weights(gram, list(names).index(self.name)), np.ones(len(names))


def _both(factors):
    """The same factors for shared weights and for heads."""
    return factors, factors


def _positive(way, names, losses):
    for name, loss in zip(names, losses):
        if not loss > 0:
            raise ValueError(
                f"{way}: the loss of {name!r} is {loss:g}, by which nothing can be divided; use GradientNormalization() or "
                "WeightedSum({...})"
            )
    return losses
