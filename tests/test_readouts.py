"""Read-outs against closed forms and dense linear algebra."""

import numpy as np
import pytest
import torch
from torch import nn

from llc.development.hessian import curvature
from llc.development.readouts import _row, check_names_are_free, readouts
from llc.errors import InvalidInput
from llc.models import TransformerConfig, build
from llc.models.attention import attention_scores
from llc.tasks import LinearRegression

TASK = LinearRegression(dim=3, num_examples=4, noise_variance=0.1)


def squared_errors(model, batch):
    return (model(batch[0]).squeeze(-1) - batch[1]) ** 2


def small_network():
    rng = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng, dtype=torch.float64))
    xs = torch.randn(30, 3, generator=rng, dtype=torch.float64)
    return model, (xs, torch.randn(30, generator=rng, dtype=torch.float64))


def dense_hessian(model, batch) -> np.ndarray:
    names = [name for name, _ in model.named_parameters()]
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    shapes = [p.shape for p in model.parameters()]

    def mean_loss(vector):
        parts = vector.split([shape.numel() for shape in shapes])
        named = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        return ((torch.func.functional_call(model, named, (batch[0],)).squeeze(-1) - batch[1]) ** 2).mean()

    return torch.autograd.functional.hessian(mean_loss, flat).numpy()


def test_the_hessian_is_the_dense_one():
    model, batch = small_network()
    dense = dense_hessian(model, batch)
    found = curvature(model, squared_errors, batch, eigenvalues=4, vectors=400)
    np.testing.assert_allclose(found.eigenvalues, np.linalg.eigvalsh(dense)[::-1][:4], rtol=1e-3)
    assert abs(found.trace - np.trace(dense)) < 4 * found.trace_se
    off_diagonal = dense - np.diag(np.diag(dense))
    assert found.trace_se == pytest.approx((2 * (off_diagonal**2).sum() / 400) ** 0.5, rel=0.2)


def test_names_of_read_outs_are_free_and_what_is_no_table_is_told():
    check_names_are_free({"norm"}, {"width", "step"})
    with pytest.raises(InvalidInput, match=r"gives step, width, which is the name of an axis or of something else"):
        check_names_are_free({"norm": 1, "width": 2, "step": 3}, {"width", "step"})

    class Plain(torch.nn.Linear):
        def readouts(self, batch):
            return torch.ones(3)

    with pytest.raises(InvalidInput, match=r"Plain.readouts\(batch\) returned .*, expected numbers or tensors by name"):
        _row(Plain(1, 1), TASK, TASK.sample(2), hessian=False)


def test_nothing_of_the_model_is_changed():
    model, batch = small_network()
    model.train()
    curvature(model, squared_errors, batch, eigenvalues=0, vectors=2)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_bad_hessians_are_named():
    model, batch = small_network()
    with pytest.raises(InvalidInput, match="vectors = 1 and eigenvalues = 3 given, expected at least 2, and 0 to 20"):
        curvature(model, squared_errors, batch, vectors=1)
    as_dataset = curvature(model, squared_errors, torch.utils.data.TensorDataset(*batch))
    assert as_dataset.trace == curvature(model, squared_errors, batch).trace
    linear = nn.Linear(3, 1).double()
    with pytest.raises(InvalidInput, match="has no Hessian"):
        curvature(linear, lambda model, data: model(data[0]).squeeze(-1), batch)


def test_attention_that_looks_everywhere_alike():
    """Queries of zero: a_ts = 1/(t + 1); entropy is largest, and the token before gets its share."""
    model = build(TransformerConfig(width=8, heads=2, depth=2), TASK)
    with torch.no_grad():
        for block in model.blocks:
            block.attention.qkv.weight[:8] = 0
    found = attention_scores(model, TASK.sample(5))
    assert found["entropy"].shape == (2, 2)
    torch.testing.assert_close(found["entropy"], torch.ones(2, 2))
    expected = np.mean([1 / (t + 1) for t in range(1, 8)])
    torch.testing.assert_close(found["previous"], torch.full((2, 2), float(expected)))


def test_attention_that_looks_at_the_token_before():
    """Positions that point at their predecessors, so strongly that nothing else counts."""
    config = TransformerConfig(width=8, heads=1, depth=1, layer_norm=False)
    model = build(config, TASK)
    with torch.no_grad():
        model.embedding.weight.zero_()
        model.positions.copy_(torch.eye(8))
        qkv = model.blocks[0].attention.qkv.weight
        qkv.zero_()
        qkv[:8] = 1000 * torch.eye(8).roll(-1, 0)  # token t asks for t − 1 …
        qkv[8:16] = torch.eye(8)  # … and each says which it is
    found = attention_scores(model, TASK.sample(5))
    torch.testing.assert_close(found["previous"], torch.ones(1, 1))
    assert float(found["entropy"].abs().max()) < 1e-6


def test_patterns_are_those_of_the_forward_pass():
    """The pattern times the values, through the projection, is what attention gives."""
    model = build(TransformerConfig(width=8, heads=2), TASK)
    attention = model.blocks[0].attention
    x = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    v = attention.qkv(x).view(3, 8, 3, 2, 4)[:, :, 2].transpose(1, 2)
    mixed = (attention.pattern(x) @ v).transpose(1, 2).reshape(3, 8, 8)
    torch.testing.assert_close(attention.projection(mixed), attention(x))
    assert float(attention.pattern(x).detach().triu(1).abs().max()) == 0


def test_read_outs_of_a_sweep(own):
    found = readouts(own, steps="0,60")
    run = own.run(num_tasks=4)
    weights = run.weights(60)
    at = found.sel(num_tasks=4, seed=0, step=60)
    block = sum(float(v.double().square().sum()) for name, v in weights.items() if name.startswith("blocks.0."))
    assert float(at.weight_norm_block[0]) == pytest.approx(block**0.5)
    np.testing.assert_allclose(at.embedding_spectrum, np.linalg.svd(weights["embedding.weight"].numpy())[1], rtol=1e-5)
    assert found.hessian_trace.dims == ("num_tasks", "seed", "step")
    assert (found.hessian_eigenvalue.isel(rank=0) > 0).all()
    assert (own.path / "readouts.nc").exists()
    assert all(variable.attrs["long_name"] for variable in found.variables.values())
