"""Data as people have them: what a loss is then given, and what is said of the forms that cannot be."""

from collections import OrderedDict, UserDict, namedtuple

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
)
from wells import regression, squared_errors

import llc
from llc.errors import InvalidInput
from llc.sampling import Samples, Target, check_data, fitted

N = 12
XS = torch.arange(N * 3.0).view(N, 3)
YS = torch.arange(N)
SOME = torch.tensor([7, 0, 3])
Pair = namedtuple("Pair", ["xs", "ys"])


class Duck:
    """All that a loader asks for."""

    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, number):
        return self.samples[number]


class Encoding(UserDict):
    """As tokenisers give them: a mapping that is no dict."""


def batch_of(given, collate_fn=None):
    return Samples(check_data(given, collate_fn), torch.device("cpu")).batch(SOME)


def same(one, other):
    """Equal in structure, types of containers and numbers."""
    if isinstance(other, torch.Tensor):
        return isinstance(one, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(other, dict | UserDict):
        return type(one) is type(other) and set(one) == set(other) and all(same(one[key], other[key]) for key in other)
    if isinstance(other, tuple | list):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return one == other


FORMS = {
    "a tensor": (XS, XS[SOME]),
    "an array": (XS.numpy(), XS[SOME]),
    "a tuple": ((XS, YS), (XS[SOME], YS[SOME])),
    "a tuple of arrays": ((XS.numpy(), YS.numpy()), (XS[SOME], YS[SOME])),
    "a list of columns": ([XS, YS], [XS[SOME], YS[SOME]]),
    "labels as a list": ((XS, YS.tolist()), (XS[SOME], YS[SOME])),
    "a named tuple": (Pair(XS, YS), Pair(XS[SOME], YS[SOME])),
    "a dict": ({"ids": XS, "mask": YS}, {"ids": XS[SOME], "mask": YS[SOME]}),
    "an ordered dict": (OrderedDict(ids=XS), OrderedDict(ids=XS[SOME])),
    "an encoding": (Encoding(ids=XS), Encoding(ids=XS[SOME])),
    "nested": (({"ids": XS, "more": (XS, YS)}, YS), ({"ids": XS[SOME], "more": (XS[SOME], YS[SOME])}, YS[SOME])),
    "a list of samples": (list(XS), XS[SOME]),
    "a list of pairs": ([*zip(XS, YS, strict=True)], [XS[SOME], YS[SOME]]),
    "a list of dicts": ([{"ids": x, "y": int(y)} for x, y in zip(XS, YS, strict=True)],
                        {"ids": XS[SOME], "y": YS[SOME]}),
    "a list of numbers": (YS.tolist(), YS[SOME]),
    "token lists": ([{"ids": x.long().tolist()} for x in XS], {"ids": XS[SOME].long()}),
    "a list of named tuples": ([*map(Pair, XS, YS)], Pair(XS[SOME], YS[SOME])),
    "what is not there": ({"ids": XS, "mask": None}, {"ids": XS[SOME], "mask": None}),
    "arrays of another byte order": (XS.numpy().astype(">f4"), XS[SOME]),
    "arrays in samples": (Duck([(x.double().numpy(), int(y)) for x, y in zip(XS, YS, strict=True)]),
                          [XS[SOME], YS[SOME]]),
    "lists in samples": (Duck([{"x": x.tolist()} for x in XS]), {"x": XS[SOME]}),
    "a tensor dataset": (TensorDataset(XS, YS), [XS[SOME], YS[SOME]]),
    "a part of one": (Subset(TensorDataset(XS, YS), [*range(N)]), [XS[SOME], YS[SOME]]),
    "a duck": (Duck(XS), XS[SOME]),
    "a duck of lists": (Duck([{"ids": x.long().tolist()} for x in XS]), {"ids": XS[SOME].long()}),
    "a duck with words": (Duck([{"ids": x, "text": "ab"} for x in XS]), {"ids": XS[SOME], "text": ["ab"] * 3}),
    "a loader": (DataLoader(TensorDataset(XS, YS), batch_size=5, shuffle=True), [XS[SOME], YS[SOME]]),
    "a loader of a list": (DataLoader([*XS[:, :, None].expand(-1, -1, 20)], batch_size=5),
                           XS[SOME][:, :, None].expand(-1, -1, 20)),
    "a loader of a tuple": (DataLoader(tuple(XS), batch_size=5), XS[SOME]),
    "a loader of a part": (DataLoader(Duck([*XS, *XS]), sampler=SubsetRandomSampler(range(N))), XS[SOME]),
    "a loader of a tensor": (DataLoader(XS, batch_size=5), XS[SOME]),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_has_the_structure_of_the_data(form):
    given, expected = FORMS[form]
    assert same(batch_of(given), expected)
    assert len(check_data(given)) == N


def test_a_dataset_is_as_dataloader_has_it():
    pairs = Duck([(x, {"y": float(y)}) for x, y in zip(XS, YS, strict=True)])
    assert same(batch_of(pairs), next(iter(DataLoader(pairs, sampler=SOME.tolist(), batch_size=3))))


def padded(samples):
    longest = max(len(sample) for sample in samples)
    return torch.stack([torch.nn.functional.pad(sample, (0, longest - len(sample))) for sample in samples])


def test_samples_of_several_lengths_take_a_function():
    ragged = Duck([torch.ones(1 + i % 4) for i in range(N)])
    with pytest.raises(InvalidInput, match=r"cannot be made one batch, of shapes such as .*: give collate_fn="):
        batch_of(ragged)
    assert batch_of(ragged, padded).shape == (3, 4)
    assert batch_of(DataLoader(ragged, collate_fn=padded)).shape == (3, 4)
    assert batch_of(DataLoader(ragged), padded).shape == (3, 4)
    with pytest.raises(InvalidInput, match="collate_fn failed on 3 samples"):
        batch_of(ragged, lambda samples: samples[0] + "")
    assert same(batch_of((XS, YS), default_collate), [XS[SOME], YS[SOME]])  # columns are samples where one is given
    assert same(batch_of({"x": XS}, lambda some: {"z": torch.stack([one["x"] for one in some])}), {"z": XS[SOME]})
    asked = []

    class Counted(Duck):
        def __getitem__(self, number):
            asked.append(number)
            return super().__getitem__(number)

    samples = Samples(check_data(Counted([*XS]), torch.stack), torch.device("cpu"))
    before = len(asked)
    assert same(samples.batch(SOME), XS[SOME])
    assert len(asked) == before <= 4 * N  # small data is kept


class Stream(IterableDataset):
    def __iter__(self):
        return iter(XS)


class Frame(Duck):
    iloc = None


def test_what_cannot_be_is_said():
    refused = {
        "may be 2 samples or 2 columns of 12 samples": [XS, XS],
        "a DataLoader of an IterableDataset": DataLoader(Stream()),
        "data is a Stream, expected a map-style": Stream(),
        "a DataLoader with batch_size=None": DataLoader(TensorDataset(XS), batch_size=None),
        "a WeightedRandomSampler, which does not": DataLoader(XS, sampler=WeightedRandomSampler([1.0] * N, N)),
        "a Frame of pandas": Frame(XS),
        "is masked": np.ma.masked_array(XS.numpy(), XS.numpy() > 3),
        "sparse or nested": XS.to_sparse(),
        "a dict of ids: str": {"ids": "abc"},
        "an empty dict": {},
        r"have \[3, 12\] samples": {"ids": XS, "mask": YS[:3]},
        "dtype <U1, expected numbers": np.array(["a", "b"]),
        r"data\[0\] failed \(KeyError": Duck({"a": XS, "b": YS}),
        "1 sample, expected at least 2": Duck(XS[:1]),
    }
    for said, given in refused.items():
        with pytest.raises(InvalidInput, match=said):
            check_data(given)
    with pytest.raises(InvalidInput, match="collate_fn = 3 given"):
        check_data(XS, 3)


class Augmented(Dataset):
    def __len__(self):
        return N

    def __getitem__(self, number):
        return XS[number] + torch.randn(3), YS[number]


def test_samples_that_are_others_at_every_look_are_named():
    with pytest.raises(InvalidInput, match="data, a Augmented, gives another sample at every look"):
        check_data(Augmented())
    kept = [Augmented()[i] for i in range(N)]
    assert same(batch_of(kept), batch_of(kept))


def test_a_dataset_that_is_too_large_to_keep_is_asked(monkeypatch):
    monkeypatch.setattr("llc.sampling.data_forms._KEPT_BYTES", 3)
    assert Samples(check_data(Duck(XS)), torch.device("cpu")).tensors is None
    assert same(batch_of(Duck(XS)), XS[SOME])


def squares(model, batch):
    """Takes a tensor."""
    return (model(batch * 1.0)[:, 0]) ** 2


def squares_of_one(model, batch):
    """Takes a tuple of one."""
    return squares(model, batch[0])


@pytest.mark.parametrize("loss", [squares, squares_of_one])
def test_one_tensor_may_come_alone_or_in_a_tuple(loss):
    model = torch.nn.Linear(3, 1)
    expected = squares(model, XS[SOME])
    for given in (XS, (XS,), [*XS], TensorDataset(XS), DataLoader(XS), XS.numpy().astype("float64")):
        form, found = fitted(model, loss, given)
        torch.testing.assert_close(form(model, Samples(found, torch.device("cpu")).batch(SOME)), expected)
    with pytest.raises(InvalidInput, match="shapes cannot be multiplied"):  # the loss's own word where neither does
        fitted(torch.nn.Linear(2, 1), loss, XS)


def test_sample_weights_are_those_of_the_mean():
    model, rng = torch.nn.Linear(3, 1), np.random.default_rng(0)
    weights = rng.uniform(0, 2, N) * (YS.numpy() % 3 > 0)
    losses = squares(model, XS).detach().double().numpy()
    for given in (XS, Duck(XS)):
        loss, found = fitted(model, squares, given, weights)
        target = Target(model, loss, found, nbeta=3.0, gamma=1.0, batch_size=5)
        assert target.loss_init == pytest.approx((weights * losses).sum() / weights.sum(), rel=1e-5)


def by_position(model, batch):
    return (model.weight[0] * batch - 1) ** 2


def test_positions_that_are_padding_do_not_count():
    model, mask = torch.nn.Linear(3, 1), (XS % 4 > 0).float()
    known = by_position(model, XS).detach()
    hidden = torch.where(mask > 0, XS, 1e6)  # whatever stands at a position that does not count
    loss, found = fitted(model, by_position, hidden, mask)
    target = Target(model, loss, found, nbeta=3.0, gamma=1.0, batch_size=5)
    assert target.loss_init == pytest.approx(float((known * mask).sum() / mask.sum()), rel=1e-5)


def test_bad_weights_are_named():
    model = torch.nn.Linear(3, 1)
    for given, said in {
        "ab": "of type str",
        (1.0, 2.0): r"of shape \(2,\) given, expected \(12,\)",
        (-1.0,) * N: "negative, not finite or all 0",
        (0,) * N: "negative, not finite or all 0",
    }.items():
        with pytest.raises(InvalidInput, match=f"sample_weights.*{said}"):
            fitted(model, squares, XS, given)
    loss, found = fitted(model, by_position, XS, torch.ones(N, 2))
    with pytest.raises(InvalidInput, match="expected one weight for each loss, or one a sample"):
        loss(model, found.batch(SOME))


def test_the_form_of_the_data_does_not_change_the_estimate():
    model, (xs, ys) = regression()
    alone = {"nbeta": 7.0, "gamma": 0.3, "draws": 20, "max_gradients": 300, "seed": 1}
    expected = llc.estimate_llc(model, squared_errors, (xs, ys), **alone)
    for given in ([*zip(xs, ys, strict=True)], DataLoader(TensorDataset(xs, ys), batch_size=4)):
        assert float(llc.estimate_llc(model, squared_errors, given, **alone).llc) == float(expected.llc)
    twice = llc.estimate_llc(model, squared_errors, (xs, ys), sample_weights=[2.0] * len(xs), **alone)
    assert float(twice.llc) == pytest.approx(float(expected.llc), rel=1e-6)


def test_a_loss_that_fails_says_what_it_was_given():
    """Labels of NumPy's become what PyTorch's losses ask for; a tensor stays as it is, and batches are no samples."""
    model = torch.nn.Linear(3, 4)

    def loss(model, batch):
        return torch.nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")

    rng = np.random.default_rng(0)
    xs, labels = rng.standard_normal((40, 3)), rng.integers(0, 4, 40).astype(np.int32)
    settings = {"nbeta": 5.0, "gamma": 1.0, "draws": 8}
    assert np.isfinite(llc.estimate_llc(model, loss, (xs, labels), **settings).llc)
    tensors = torch.tensor(xs).float(), torch.tensor(labels)
    with pytest.raises(
        InvalidInput, match=r"torch.float32 \(8, 3\), torch.int32 \(8,\) .*labels are torch.int64 as a rule"
    ):
        llc.estimate_llc(model, loss, tensors, **settings)
    loader = DataLoader(TensorDataset(tensors[0], tensors[1].long()), batch_size=10)
    with pytest.raises(
        InvalidInput, match=r"torch.float32 \(4, 10, 3\), torch.int64 \(4, 10\) .*first dimension is of samples"
    ):
        llc.estimate_llc(model, loss, list(loader), **settings)


def test_a_loader_of_a_part_is_refused():
    """Whoever draws the part; but a loader of all, or of a subset that says which, is taken."""
    dataset = TensorDataset(torch.randn(30, 2), torch.randn(30))
    first = range(10)
    for said, how in {
        "SequentialSampler of 10 of its 30 samples": {"sampler": SequentialSampler(first)},
        "RandomSampler of 10 of its 30 samples": {"sampler": RandomSampler(first)},
        "list": {"batch_sampler": [[0, 1, 2], [3, 4, 5]]},
    }.items():
        with pytest.raises(InvalidInput, match=f"a DataLoader with a {said}, which does not draw every sample alike"):
            check_data(DataLoader(dataset, **how))
    of_part = BatchSampler(SequentialSampler(first), 5, drop_last=False)
    with pytest.raises(InvalidInput, match="of 10 of its 30"):
        check_data(DataLoader(dataset, batch_sampler=of_part))
    assert (
        len(check_data(DataLoader(dataset, batch_sampler=BatchSampler(RandomSampler(dataset), 8, drop_last=True))))
        == 30
    )
    assert len(check_data(DataLoader(dataset, sampler=SubsetRandomSampler(first)))) == 10


class Own:
    def __init__(self, x, note="a"):
        self.x, self.note = x, note


class Asked(Dataset):
    """Samples that are made anew each time, and counted."""

    def __init__(self, make):
        self.make, self.asked = make, 0

    def __len__(self):
        return 100

    def __getitem__(self, number):
        self.asked += 1
        return self.make(float(number))


def test_samples_of_a_class_are_the_same_where_what_they_hold_is():
    collate = lambda samples: torch.stack([one.x for one in samples])  # noqa: E731
    found = check_data(Asked(lambda number: Own(torch.full((2,), number))), collate)
    assert torch.equal(found.batch(torch.tensor([3]))[0], torch.full((2,), 3.0))
    with pytest.raises(InvalidInput, match="gives another sample at every look"):
        check_data(Asked(lambda _: Own(torch.randn(2))), collate)


def test_a_text_beside_the_numbers_does_not_make_a_dataset_be_asked_at_every_draw():
    dataset = Asked(lambda number: {"x": torch.full((2,), number), "id": "a"})
    found = check_data(dataset)
    before = dataset.asked
    for _ in range(3):
        assert found.batch(torch.arange(50))["id"] == ["a"] * 50
    assert dataset.asked == before


def test_labels_that_a_loss_leaves_out_are_told():
    """They count as losses of 0, unless their weights say otherwise."""
    tokens = torch.randint(5, (20, 3), generator=torch.Generator().manual_seed(0))
    labels = torch.where(tokens > 3, -100, tokens)
    model = torch.nn.Embedding(5, 5)

    def loss(model, batch):
        return torch.nn.functional.cross_entropy(model(batch[0]).mT, batch[1], reduction="none")

    how = {"nbeta": 5.0, "gamma": 1.0, "draws": 20}
    with pytest.warns(UserWarning, match=r"labels of -100, .* give sample_weights=\(labels != -100\)"):
        llc.estimate_llc(model, loss, (tokens, labels), **how)
    llc.estimate_llc(model, loss, (tokens, labels), sample_weights=labels != -100, **how)
