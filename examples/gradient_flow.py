"""Down the slope, for a point and for a distribution: gradient flows in two dimensions (kexue.fm/archives/9660).

    python examples/gradient_flow.py --output=flow.png

Left, dx/dt = −∇f: gradient descent is Euler's method for it. Right, the same for a distribution p with F(p) = KL(p ‖ π): the
Wasserstein gradient flow, which is the Fokker-Planck equation ∂p/∂t = −∇·(p ∇ln π) + Δp, and whose particles are Langevin's,
dx = ∇ln π dt + √2 dW. For a Gaussian π with variance 1 (Ornstein and Uhlenbeck) the variance at time t is known,
1 + (σ₀² − 1) exp(−2t); the last line of the output compares it with particles and with the equation on a grid.
"""

import numpy as np
from absl import flags
from matplotlib.figure import Figure

import zoo

F = flags.FLAGS
flags.DEFINE_integer("particles", 20_000, "Particles of Langevin's equation.")
flags.DEFINE_float("step", 0.01, "Time that a step takes.")
flags.DEFINE_float("time", 3.0, "Time that the flows run.")
flags.DEFINE_string("output", "gradient_flow.png", "Where the picture goes.")
CENTRES, VARIANCE = np.array([[-1.5, 0.0], [1.5, 0.8]]), 0.35


def two_hills(x):
    """∇ ln π at x [..., 2] for a mixture of two Gaussians, and ln π up to a constant [...]."""
    away = CENTRES - x[..., None, :]
    logits = -(away**2).sum(-1) / (2 * VARIANCE)
    top = logits.max(-1, keepdims=True)
    weights = np.exp(logits - top)
    total = weights.sum(-1, keepdims=True)
    return ((weights / total)[..., None] * away).sum(-2) / VARIANCE, (np.log(total) + top)[..., 0]


def descend(slope, x, step, steps):
    """The path x_0 .. x_steps of x ← x + step · slope(x)."""
    path = [x]
    for _ in range(steps):
        path.append(path[-1] + step * slope(path[-1]))
    return np.stack(path)


def langevin(slope, x, step, steps, rng):
    """Particles x after steps of x ← x + step · slope(x) + √(2 step) ε, whose distribution follows the flow."""
    for _ in range(steps):
        x = x + step * slope(x) + np.sqrt(2 * step) * rng.normal(size=x.shape)
    return x


def fokker_planck(slope, density, grid, step, steps):
    """Density [n, n] on a square grid [n] after a time step · steps; what flows out of a cell flows into the next."""
    width = grid[1] - grid[0]
    middle = (grid[1:] + grid[:-1]) / 2
    drift_x = slope(np.stack(np.meshgrid(middle, grid, indexing="ij"), -1))[..., 0]  # at the walls between cells
    drift_y = slope(np.stack(np.meshgrid(grid, middle, indexing="ij"), -1))[..., 1]
    parts = int(np.ceil(step / (0.1 * width**2)))  # an explicit step is stable while it is short
    for _ in range(steps * parts):
        flow_x = drift_x * (density[1:] + density[:-1]) / 2 - np.diff(density, axis=0) / width
        flow_y = drift_y * (density[:, 1:] + density[:, :-1]) / 2 - np.diff(density, axis=1) / width
        change = np.diff(np.pad(flow_x, ((1, 1), (0, 0))), axis=0) + np.diff(np.pad(flow_y, ((0, 0), (1, 1))), axis=1)
        density = density - step / parts * change / width
    return density


def gaussian(grid, variance):
    """Density [n, n] of N(0, variance) in two dimensions, with sum 1."""
    one = np.exp(-(grid**2) / (2 * variance))
    return np.outer(one, one) / one.sum() ** 2


def main(_):
    rng, steps = np.random.default_rng(0), round(F.time / F.step)
    slope = lambda x: two_hills(x)[0]  # noqa: E731
    grid = np.linspace(-4, 4, 81)
    field = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1)
    figure = Figure((10, 3.4), dpi=150, layout="constrained")
    left, *flows = figure.subplots(1, 4)
    left.contour(grid, grid, -two_hills(field)[1].T, 20, linewidths=0.5)
    for path in descend(slope, rng.uniform(-3, 3, (40, 2)), F.step, steps).transpose(1, 0, 2):
        left.plot(*path.T, color="#0072B2", linewidth=0.8)
    left.set(title="gradient flow of f = −ln π")
    for axes, share in zip(flows, (0.03, 0.15, 1.0)):
        moved = langevin(slope, rng.normal(0, 0.5, (F.particles, 2)), F.step, round(steps * share), rng)
        density = fokker_planck(slope, gaussian(grid, 0.25), grid, F.step, round(steps * share))
        axes.contour(grid, grid, density.T, 8, linewidths=0.8)
        axes.plot(*moved[:1500].T, ".", color="#D55E00", markersize=1, alpha=0.6)
        axes.set(title=f"distribution, t = {F.time * share:.2f}")
    for axes in figure.axes:
        axes.set(xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), aspect="equal", xticks=[], yticks=[])
    figure.savefig(F.output)

    time, start = 0.5, 0.25
    known = 1 + (start - 1) * np.exp(-2 * time)
    moved = langevin(np.negative, rng.normal(0, start**0.5, (F.particles, 2)), F.step, round(time / F.step), rng)
    density = fokker_planck(np.negative, gaussian(grid, start), grid, F.step, round(time / F.step))
    spread = (density.sum(1) * grid**2).sum()
    print(f"variance at t = {time}: particles {moved.var():.4f}, equation {spread:.4f}, known {known:.4f}")


if __name__ == "__main__":
    zoo.command_line.run(main)
