import math

import numpy as np
import pytest
import torch

import llc
from llc.errors import InvalidInput
from llc.models import TransformerConfig, build
from llc.tasks import LinearRegression

TASK = LinearRegression(dim=3, num_examples=4, noise_variance=0.1)
OPTIONS = [
    {},
    {"attention_projection": False},
    {"residual_scale": 2.0},
    {"activation": "gelu"},
    {"layer_norm": False},
    {"attention_bias": True, "embedding_bias": True, "mlp_bias": False},
]


@pytest.mark.parametrize(("preset", "parameters"), [("carroll", 2_654_217), ("hoogland", 51_717)])
def test_parameter_counts_of_the_papers(preset, parameters):
    config = llc.presets.preset(preset)
    assert llc.training.count_parameters(config) == parameters


def literal_forward(weights, config, xs, ys):
    """The transformer in numpy, one sequence, one head and one token at a time."""
    num_examples, dim = xs.shape
    width, size = config.width, config.width // config.heads

    def linear(name, value):
        out = weights[f"{name}.weight"] @ value
        return out + weights[f"{name}.bias"] if f"{name}.bias" in weights else out

    def norm(name, value):
        if not config.layer_norm:
            return value
        scaled = (value - value.mean()) / math.sqrt(value.var() + 1e-5)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def activate(value):
        if config.activation == "relu":
            return np.maximum(value, 0)
        return value * np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in value])

    tokens = []
    for k in range(num_examples):
        tokens.append(np.concatenate([[0.0], xs[k]]))
        tokens.append(np.concatenate([[ys[k]], np.zeros(dim)]))
    stream = [linear("embedding", token) + weights["positions"][t] for t, token in enumerate(tokens)]
    for block in range(config.depth):
        at = f"blocks.{block}"
        qkv = [linear(f"{at}.attention.qkv", norm(f"{at}.norm_attention", x)) for x in stream]
        out = []
        for t, x in enumerate(stream):
            heads = []
            for head in range(config.heads):
                part = slice(head * size, (head + 1) * size)
                q = qkv[t][:width][part]
                scores = np.array([q @ qkv[s][width : 2 * width][part] / math.sqrt(size) for s in range(t + 1)])
                mix = np.exp(scores - scores.max())
                mix /= mix.sum()
                heads.append(sum(m * qkv[s][2 * width :][part] for s, m in enumerate(mix)))
            attention = np.concatenate(heads)
            if config.attention_projection:
                attention = linear(f"{at}.attention.projection", attention)
            inner = activate(linear(f"{at}.mlp_in", norm(f"{at}.norm_mlp", x + attention)))
            out.append(config.residual_scale * x + attention + linear(f"{at}.mlp_out", inner))
        stream = out
    return np.array([linear("readout", norm("norm", stream[2 * k]))[0] for k in range(num_examples)])


@pytest.mark.parametrize("options", OPTIONS)
def test_forward_is_the_literal_transformer(options):
    config = TransformerConfig(width=8, heads=2, mlp_width=6, depth=2, **options)
    model = build(config, TASK).double()
    xs, ys = TASK.sample(2).double().inputs
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    with torch.no_grad():
        out = model(xs, ys).numpy()
    for b in range(2):
        np.testing.assert_allclose(out[b], literal_forward(weights, config, xs[b].numpy(), ys[b].numpy()), rtol=1e-9)


def test_prediction_sees_only_what_came_before():
    model = build(TransformerConfig(width=8, heads=2, mlp_width=8), TASK)
    xs, ys = TASK.sample(5).inputs
    changed_x, changed_y = xs.clone(), ys.clone()
    changed_x[:, 3:] += 1
    changed_y[:, 2:] += 1
    with torch.no_grad():
        before, after = model(xs, ys), model(changed_x, changed_y)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:])


def test_initialisation_is_a_pure_function_of_the_seed():
    config = TransformerConfig(width=8, heads=2)
    state = torch.random.get_rng_state()
    first, again, other = build(config, TASK), build(config, TASK), build(config, TASK, seed=1)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.positions, other.positions)
    assert all(parameter.isfinite().all() for parameter in first.parameters())


def test_bad_options_are_named():
    with pytest.raises(InvalidInput, match=r"model.heads = 3 given, expected a divisor of model.width = 8"):
        TransformerConfig(width=8, heads=3)
    with pytest.raises(InvalidInput, match="activation = 'tanh' given, expected 'relu' or 'gelu'"):
        TransformerConfig(activation="tanh")


def test_what_nobody_reads_is_not_computed_but_can_be():
    """Predictions are the first coordinate of all outputs at the tokens of x."""
    model = build(TransformerConfig(width=8, heads=2, depth=3), TASK)
    xs, ys = TASK.sample(5).inputs
    torch.testing.assert_close(model(xs, ys), model.outputs(xs, ys)[:, ::2, 0])
    seen = []
    model.blocks[-1].norm_mlp.register_forward_hook(lambda _layer, _inputs, out: seen.append(out.shape[1]))
    model(xs, ys)
    assert seen == [TASK.num_examples]
