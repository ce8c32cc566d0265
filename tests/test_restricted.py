"""Estimates in which only some weights move: patterns, slices, masks, heads."""

import math

import pytest
import torch
from torch import nn

import llc
from llc.errors import InvalidInput
from llc.models import TransformerConfig
from llc.sampling import Target, chosen_weights, one_graph

N, D = 50, 4
RNG = torch.Generator().manual_seed(0)
XS = torch.randn(N, D, generator=RNG)
YS = torch.randn(N, generator=RNG)


def squared(model, batch):
    return 0.5 * (model(batch[0])[:, 0] - batch[1]) ** 2


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(D, 3), nn.Tanh(), nn.Linear(3, 1))


MASK = torch.tensor([[1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 1, 1]]).bool()
RESTRICTIONS = {
    "masks": ({"0.weight": MASK, "2.bias": torch.ones(1)}, {"0.weight": MASK, "2.bias": torch.ones(1).bool()}),
    "numpy": ({"0.weight": MASK.int().numpy()}, {"0.weight": MASK}),
    "a slice": (["0.weight[:, 1:3]", "2.*"],
                {"0.weight": torch.tensor([0, 1, 1, 0]).bool().expand(3, 4), "2.weight": True, "2.bias": True}),
    "the last column": (["0.weight[..., 3]"], {"0.weight": torch.tensor([0, 0, 0, 1]).bool().expand(3, 4)}),
    "rows": (["0.weight[1]", "0.weight[-1]"], {"0.weight": torch.tensor([0, 1, 1]).bool()[:, None].expand(3, 4)}),
    "a pattern and a slice": (["*.weight[:, ::2]"], {"0.weight": torch.tensor([1, 0, 1, 0]).bool().expand(3, 4),
                                                     "2.weight": torch.tensor([[1, 0, 1]]).bool()}),
    "letters": (["[02].bias"], {"0.bias": True, "2.bias": True}),
    "all": ({"*": True}, dict.fromkeys(["0.weight", "0.bias", "2.weight", "2.bias"], True)),
}  # fmt: skip


def target(restriction, model=None, **settings):
    return Target(
        network() if model is None else model, squared, (XS, YS), parameters=restriction,
        **{"nbeta": 12.0, "gamma": 0.5, "batch_size": N, **settings},
    )  # fmt: skip


@pytest.mark.parametrize("name", RESTRICTIONS)
def test_what_moves_is_what_is_named(name):
    """Gradients and Hessian products are those of the whole model at these elements; all others stay."""
    given, masks = RESTRICTIONS[name]
    found, model = target(given), network()
    masks = {key: torch.ones_like(model.get_parameter(key)).bool() if mask is True else mask
             for key, mask in masks.items()}  # fmt: skip
    every = {key: masks.get(key, torch.zeros_like(value).bool()) for key, value in model.named_parameters()}
    assert found.num_parameters == sum(int(mask.sum()) for mask in every.values())
    away = found.origin + 0.1 * torch.randn(found.num_parameters, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        start = 0
        for key, parameter in model.named_parameters():
            size = int(every[key].sum())
            parameter[every[key]] = away[start : start + size]
            start += size
    minibatch = next(found.minibatches(torch.Generator()))
    losses, gradient = found.losses_and_gradient(away, minibatch)
    whole = squared(model, (XS, YS))
    slopes = torch.autograd.grad(whole.mean(), [*model.parameters()])
    expected = torch.cat([slope[every[key]] for slope, key in zip(slopes, every, strict=True)])
    torch.testing.assert_close(losses, whole.detach().double(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)
    step = 1e-3 * torch.ones(found.num_parameters)
    ahead, behind = (found.losses_and_gradient(found.origin + s * step, minibatch)[1] for s in (1, -1))
    torch.testing.assert_close(found.hessian_product(step), (ahead - behind) / 2, rtol=1e-2, atol=1e-6)
    held = network()
    for key, parameter in found.model_at(away).named_parameters():
        assert torch.equal(parameter[~every[key]], held.get_parameter(key)[~every[key]])


def test_chains_in_one_graph_move_the_same():
    one, other = target({"0.weight": MASK}), target({"0.weight": MASK})
    assert one_graph([one, other], 9) is not None
    assert one_graph([one, target({"0.weight": ~MASK & (torch.arange(4) < 3)})], 9) is None


@pytest.mark.slow
def test_the_refined_llc_of_a_mask_is_exact():
    """In linear regression λ̂ is ½ Σ nβh/(nβh + γ) over the Hessian's eigenvalues among the weights that move."""
    model, mask = nn.Linear(D, 1, bias=False), torch.tensor([[1, 0, 1, 1]]).bool()
    model.weight.data = torch.linalg.lstsq(XS, YS[:, None]).solution.T
    hessian = (XS.T @ XS / N)[mask[0]][:, mask[0]].double()
    eigenvalues = 12.0 * torch.linalg.eigvalsh(hessian)
    exact = float((0.5 * eigenvalues / (eigenvalues + 0.5)).sum())
    settings = {"nbeta": 12.0, "gamma": 0.5, "seed": 1}
    tree = llc.estimate_llc(model, squared, (XS, YS), draws=300, parameters={"weight": mask}, **settings)
    assert abs(float(tree.llc) - exact) < 4 * float(tree.llc_se)
    assert tree.attrs["num_parameters"] == 3
    assert tree.attrs["parameters"] == "3 elements of weight"
    by_mask, by_slices = (
        llc.estimate_llc(model, squared, (XS, YS), draws=20, parameters=given, **settings)
        for given in ({"weight": mask}, ["weight[0, 0]", "weight[0, 2:]"])
    )
    assert float(by_mask.llc) == float(by_slices.llc)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"0.wieght": MASK}, "no parameter matches '0.wieght'; did you mean 0.weight"),
        ({"0.weight": MASK.T}, r"mask of shape \(4, 3\) .* for 0.weight, expected one .* of its shape, \(3, 4\)"),
        ({"0.weight": torch.full((3, 4), 0.5)}, r"type torch.float32 given for 0.weight, expected one of true and"),
        ({"0.weight": torch.zeros(3, 4)}, "nothing of 0.weight moves"),
        ({}, "parameters = {} given, expected patterns of names or masks by name"),
        (["0.weight[5]"], r"0.weight\[5\] given, but 0.weight has the shape \(3, 4\)"),
        (["0.weight[0, 0, 0]"], r"0.weight\[0, 0, 0\] given, but 0.weight has the shape"),
        ([torch.ones(3)], "parameters.0 = .* given, expected a string"),
        ({"0.weight": slice(0, 2)}, "a slice given for 0.weight, expected a mask of its shape"),
        (["0.weight[2:2]"], "names no element of 0.weight"),
        (["0.wieght[2:]"], "no parameter matches '0.wieght'"),
        (3, "parameters = 3 given, expected patterns of names or masks by name"),
    ],
)
def test_what_cannot_move_is_named(given, said):
    with pytest.raises(InvalidInput, match=said):
        llc.estimate_llc(network(), squared, (XS, YS), parameters=given)


def ours():
    return TransformerConfig(depth=2, heads=2, width=8, mlp_width=8).build(
        {"dim": 3, "num_examples": 4, "targets": (4,)}, 0
    )


def of_hugging_face(name, **settings):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    return getattr(transformers, name.replace("Config", "ForCausalLM").replace("GPT2ForCausalLM", "GPT2LMHeadModel"))(
        getattr(transformers, name)(vocab_size=11, **settings)
    )


def multihead():
    torch.manual_seed(0)
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 8, batch_first=True, dropout=0), 2)


SMALL = {"hidden_size": 8, "num_hidden_layers": 2, "intermediate_size": 8, "num_attention_heads": 2}
MODELS = {
    "ours": (ours, lambda: (torch.randn(3, 4, 3), torch.randn(3, 4))),
    "gpt-2": (lambda: of_hugging_face("GPT2Config", n_embd=8, n_layer=2, n_head=2, n_positions=16),
              lambda: (torch.randint(0, 11, (3, 6)),)),
    "gpt-neox": (lambda: of_hugging_face("GPTNeoXConfig", **SMALL), lambda: (torch.randint(0, 11, (3, 6)),)),
    "llama": (lambda: of_hugging_face("LlamaConfig", num_key_value_heads=2, **SMALL),
              lambda: (torch.randint(0, 11, (3, 6)),)),
    "llama with shared keys": (lambda: of_hugging_face("LlamaConfig", num_key_value_heads=1, **SMALL),
                               lambda: (torch.randint(0, 11, (3, 6)),)),
    "torch": (multihead, lambda: (torch.randn(3, 4, 8),)),
}  # fmt: skip
# The map of all heads' outputs, side by side.
OUT = ("projection", "c_proj", "dense", "o_proj", "out_proj")


@pytest.mark.parametrize("name", MODELS)
def test_the_weights_of_a_head_change_what_it_says_and_no_other(name):
    build, sample = MODELS[name]
    model = build().eval()
    found = llc.heads(model)
    assert set(found) == {"0.0", "0.1", "1.0", "1.1"}
    torch.manual_seed(3)
    inputs = sample()
    into = _inputs_of_output_maps(model, inputs, name)
    for number in range(2):
        changed = build().eval()
        changed.load_state_dict(model.state_dict())
        with torch.no_grad():
            for key, mask in found[f"1.{number}"].items():
                changed.get_parameter(key)[mask] += 0.3 * torch.randn(int(mask.sum()))
        after = _inputs_of_output_maps(changed, inputs, name)
        assert torch.equal(into[0], after[0])
        moved = (into[1] - after[1]).abs().flatten(0, -2).amax(0).view(2, -1)
        assert (moved[number] > 1e-4).all()
        assert (moved[1 - number] < 1e-6).all()
    both = found["1.0"].keys() & found["1.1"].keys()
    assert not any(bool((found["1.0"][key] & found["1.1"][key]).any()) for key in both)
    (out,) = (key for key in found["1.0"] if key.rpartition(".")[0].endswith(OUT))
    assert int(found["1.0"][out].sum()) == model.get_parameter(out).numel() // 2


def _inputs_of_output_maps(model, inputs, name):
    """What the heads say, side by side, in both layers."""
    seen = []
    if name == "torch":  # whose output map is no call of a module
        with torch.no_grad(), llc.devices.one_attention():
            x = inputs[0]
            for layer in model.layers:
                attention = layer.self_attn
                q, k, v = (nn.functional.linear(x, w, b).unflatten(-1, (2, 4)).transpose(1, 2) for w, b in zip(
                    attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3), strict=True))  # fmt: skip
                scores = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(4), -1) @ v
                seen.append(scores.transpose(1, 2).flatten(2))
                x = layer(x)
        return seen
    hooks = [
        module.register_forward_pre_hook(lambda _module, args: seen.append(args[0].detach()))
        for path, module in model.named_modules()
        if path.rpartition(".")[2] in OUT and "mlp" not in path
    ]
    with torch.no_grad():
        model(*inputs)
    for hook in hooks:
        hook.remove()
    return seen


def test_heads_that_lie_otherwise_are_not_guessed():
    """GPT-2's map with one key for all heads, its crossed attention, and `c_attn` as an `nn.Linear`."""
    transformers = pytest.importorskip("transformers")
    for name, settings in (("GPTBigCode", {"multi_query": True}), ("GPT2", {"add_cross_attention": True})):
        config = getattr(transformers, f"{name}Config")(
            vocab_size=11, n_embd=8, n_layer=1, n_head=2, n_positions=16, **settings
        )
        with pytest.raises(InvalidInput, match="lie in its weights in a way that is not known here"):
            llc.heads(getattr(transformers, f"{name}Model")(config))

    class Nano(nn.Module):
        def __init__(self):
            super().__init__()
            self.n_head, self.c_attn, self.c_proj = 2, nn.Linear(8, 24), nn.Linear(8, 8)

    masks = llc.heads(Nano())["0.1"]
    assert masks["c_attn.weight"].all(1).nonzero()[:, 0].tolist() == [*range(4, 8), *range(12, 16), *range(20, 24)]
    assert masks["c_proj.weight"].all(0).nonzero()[:, 0].tolist() == [4, 5, 6, 7]


def test_a_model_without_known_attention_is_named():
    with pytest.raises(InvalidInput, match="Sequential has no attention that is known here; give masks by name"):
        llc.heads(network())


def test_heads_of_a_language_model_move_alone():
    """The heads of a tiny GPT-2 one by one, by the masks that `heads` gives."""
    model = of_hugging_face("GPT2Config", n_embd=8, n_layer=1, n_head=2, n_positions=16)
    tokens = torch.randint(0, 11, (40, 6), generator=torch.Generator().manual_seed(0))

    def next_token(model, batch):
        return nn.functional.cross_entropy(model(batch).logits[:, :-1].transpose(1, 2), batch[:, 1:], reduction="none")

    chosen = chosen_weights(model, llc.heads(model)["0.1"])
    assert sum(len(one.elements) for one in chosen.values()) == 3 * (8 * 4 + 4) + 4 * 8
    tree = llc.estimate_llc(model, next_token, tokens, nbeta=10.0, gamma=10.0, draws=20,
                            parameters=llc.heads(model)["0.1"])  # fmt: skip
    assert tree.attrs["num_parameters"] == 140
