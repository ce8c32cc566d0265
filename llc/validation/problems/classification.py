"""Logistic and softmax regression at their maximum-likelihood weights."""

import torch
from torch import Tensor, nn

from llc.randomness import generator
from llc.validation.problems import chance
from llc.validation.problems.case import Case, Problem
from llc.validation.problems.losses import choice_losses, coin_losses

_STEPS = 50


def classification(classes: int, dim: int, bias: bool, samples: int, seed: int, *, redraw: int = 0) -> Problem:
    """p(y = c) ∝ exp(w_c·x + b_c), x standard normal, at the maximum-likelihood weights.

    Two classes are a logistic regression with one logit. More have a logit each, of which only differences count:
    the weights are those whose mean over classes is 0.

    Args:
        redraw: another sample of the same truth.
    """
    key = ("classification", classes, dim, seed)
    rng, sample = generator(*key), generator(*key, "sample", redraw)
    columns = dim + bias
    truth = torch.randn(classes, columns, generator=rng) * (2 / columns) ** 0.5
    x = torch.randn(samples, dim, generator=sample)
    inputs = torch.cat([x, torch.ones(samples, 1)], 1) if bias else x
    # Gumbel's way to draw from a softmax.
    noise = -torch.rand(samples, classes, generator=sample, dtype=torch.float64).log().neg().log()
    labels = (inputs.double() @ truth.double().T + noise).argmax(1)
    found = most_likely(inputs, labels, classes)
    if classes > 2:
        found = torch.cat([torch.zeros(1, columns, dtype=torch.float64), found])
        found = found - found.mean(0)
    model = nn.Linear(dim, len(found), bias=bias)
    with torch.no_grad():
        model.weight.copy_(found[:, :dim])
        if bias:
            model.bias.copy_(found[:, dim])
    return model, coin_losses if classes == 2 else choice_losses, (x, labels)


def most_likely(inputs: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The weights of classes 1 … C − 1 that maximise the likelihood, those of class 0 being 0: Newton's method.

    Args:
        inputs: (n, D), a column of ones among them for a bias.
        labels: (n,), 0 … C − 1.
    Returns:
        (C − 1, D), float64, where steps have become rounding.
    """
    x = inputs.double()
    chosen = torch.nn.functional.one_hot(labels, classes)[:, 1:].double()
    free, dim = classes - 1, x.shape[1]
    weight = torch.zeros(free, dim, dtype=torch.float64)
    loss = _minus_log_likelihood(x, labels, weight)
    for _ in range(_STEPS):
        p = _probabilities(x, weight)[:, 1:]
        gradient = ((p - chosen).T @ x / len(x)).reshape(-1)
        step = torch.linalg.solve(_curvature(x, p), gradient).reshape(free, dim)
        size = 1.0
        while size > 1e-3 and _minus_log_likelihood(x, labels, weight - size * step) > loss + 1e-13:
            size /= 2
        weight = weight - size * step
        loss = _minus_log_likelihood(x, labels, weight)
        if float(step.abs().max()) < 1e-13:
            break
    return weight


def lowest(data: tuple[Tensor, ...], classes: int, bias: bool) -> float:
    """The least mean loss of any weights."""
    x, labels = data
    inputs = torch.cat([x, torch.ones(len(x), 1)], 1) if bias else x
    return _minus_log_likelihood(inputs.double(), labels, most_likely(inputs, labels, classes))


def _probabilities(x: Tensor, weight: Tensor) -> Tensor:
    return torch.cat([torch.zeros(len(x), 1, dtype=x.dtype), x @ weight.T], 1).softmax(1)


def _minus_log_likelihood(x: Tensor, labels: Tensor, weight: Tensor) -> float:
    logits = torch.cat([torch.zeros(len(x), 1, dtype=x.dtype), x @ weight.T], 1)
    return float(nn.functional.cross_entropy(logits, labels))


def _curvature(x: Tensor, p: Tensor) -> Tensor:
    """The Hessian, ((C − 1)D, (C − 1)D): blocks Σ_i p_ic(δ_cd − p_id) x_i x_iᵀ/n."""
    free = p.shape[1]
    rows = [
        torch.cat([x.T @ (x * (p[:, c] * (float(c == d) - p[:, d]))[:, None]) for d in range(free)], 1)
        for c in range(free)
    ]
    return torch.cat(rows) / len(x)


def logistic(problems: int, index: int) -> Case:
    """Logistic regression: λ half the number of weights."""
    rng = chance.stream("logistic", problems, index)
    dim, samples = chance.count(2, 40, rng), chance.samples(2000, 10_000, rng)
    return classes_case("logistic regression", 2, dim, samples, rng, chance.number(problems, index))


def softmax(problems: int, index: int) -> Case:
    """Softmax regression with a logit too many: λ = (C − 1)(d + bias)/2."""
    rng = chance.stream("softmax", problems, index)
    classes, dim = chance.count(3, 10, rng), chance.count(2, 20, rng)
    samples = chance.samples(2000, 10_000, rng)
    return classes_case("softmax regression", classes, dim, samples, rng, chance.number(problems, index))


def classes_case(kind: str, classes: int, dim: int, samples: int, rng: torch.Generator, seed: int) -> Case:
    """The case of a classification, with or without a bias as it is drawn."""
    bias = bool(chance.count(0, 1, rng))
    columns = dim + bias
    return Case(
        name=f"{kind} {dim}{' and bias' if bias else ''}, {classes} classes, n {samples}, #{seed}",
        kind=kind,
        build=classification,
        arguments=(classes, dim, bias, samples, seed),
        exact=(classes - 1) * columns / 2,
        multiplicity=1,
        parameters=columns * (1 if classes == 2 else classes),
        settings={},
    )
