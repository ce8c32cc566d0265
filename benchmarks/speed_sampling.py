"""Sampling: chain-steps a second against devinterp 2.0.1's and canonical-interp's own samplers; workers 1 → 2."""

import contextlib
import io
import itertools
import math
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from speed_rows import Row, in_turns
from speed_training import in_a_process

import llc
from llc import behaviour, models
from llc.parallel import available_cores, run_units
from llc.sampling import Target, run_chains, sampler_named

CHAINS, STEPS, BATCH, SEQUENCES = 4, 150, 256, 4096
# Draws of estimates that are taken off, for what does not depend on their number.
FEW = 2
# Steps a chain of a whole call.
CALL = 200
EPSILON, GAMMA = 1e-6, 100.0


def measure() -> list[Row]:
    """The model of `tiny`, SGLD at the same settings everywhere."""
    devinterp = lambda: in_a_process(devinterp_rate)  # noqa: E731
    rows = [
        in_turns(
            f"chain-steps of {sampler} on tiny, all cores, against devinterp's sample_single_chain",
            lambda sampler=sampler: our_rate(sampler),
            devinterp,
            unit="steps/s",
            wanted=1.3,
        )
        for sampler in ("sgld", "kinetic")
    ]
    try:
        in_a_process(canonical_rate, 5)
    except Exception as error:  # it may not be installed, or not fit this Python
        print(f"  canonical-interp left out: {error}")
        return rows
    for ours, theirs, wanted in ((False, False, 2.5), (True, False, 2.5), (True, True, None)):
        rows.append(
            in_turns(
                f"chain-steps of sgld on tiny, all cores, {_said(ours)}, against canonical-interp's LLCEstimator, "
                f"{_said(theirs)}",
                lambda ours=ours: our_rate("sgld", ours),
                lambda theirs=theirs: in_a_process(canonical_rate, 4 * STEPS if theirs else STEPS, theirs),
                unit="steps/s",
                wanted=wanted,
            )
        )
    in_a_process(canonical_call)  # compiles; PyTorch keeps what it made for the processes that follow
    rows.append(
        in_turns(
            f"chain-steps of one call of {CHAINS} × {CALL} steps of sgld on tiny, all cores, everything included, "
            "against canonical-interp's LLCEstimator as it is by default",
            lambda: in_a_process(our_call),
            lambda: in_a_process(canonical_call),
            unit="steps/s",
            wanted=2.5,
        )
    )
    return rows


def _said(compile: bool) -> str:
    return "compiled" if compile else "not compiled"


def measure_workers() -> list[Row]:
    """The same estimates by one worker and by two, starting them and merging included."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "training.steps": 400,
            "checkpoints.every": 25,
            "checkpoints.logarithmic": 0,
            "sweep.axes": {"task.num_tasks": [1, 4, 16, "inf"]},
        }
        experiment = llc.train(
            llc.presets.tiny().override({**settings, "training.warmup_steps": 20}), Path(folder) / "x"
        )

        def seconds(jobs: int) -> float:
            started = time.perf_counter()
            llc.estimate_llc_over_training(
                experiment,
                steps="all",
                jobs=jobs,
                num_samples=1024,
                batch_size=64,
                gamma=100.0,
                draws=50,
                warmup=50,
                seed=len(list(Path(folder).rglob("*.nc"))) + jobs,
                overwrite=True,
            )
            return time.perf_counter() - started

        return [
            in_turns(
                "estimates of 68 checkpoints, two workers against one",
                lambda: seconds(2),
                lambda: seconds(1),
                unit="s",
                turns=1,
                less_is_better=True,
                wanted=1.8,
            )
        ]


def our_rate(sampler: str, compile: bool = False) -> float:
    """Chain-steps a second of single-threaded workers on all cores, as `estimate_llc_over_training` runs them.

    The time that compiling takes is left out, here as with canonical-interp.
    """
    cores = available_cores()
    outcomes = list(run_units(_our_chains, [(sampler, compile)] * cores, jobs=max(2, cores)))
    return sum(outcome.result for outcome in outcomes)


def _our_chains(sampler: str, compile: bool, _progress) -> float:
    model, loss, data = _problem()
    kernel = sampler_named(sampler)
    target = Target(model, loss, data, nbeta=_NBETA, gamma=GAMMA, batch_size=BATCH, compile=compile)
    target.losses_and_gradient(target.center, next(target.minibatches(torch.Generator())))
    settings = {"step_size": EPSILON} if sampler == "sgld" else kernel.default_settings(1e4, GAMMA, STEPS)
    started = time.perf_counter()
    run_chains(target, kernel, settings, chains=CHAINS, warmup=0, draws=STEPS, key=(os.getpid(),))
    return CHAINS * STEPS / (time.perf_counter() - started)


def devinterp_rate() -> float:
    """Chain-steps a second of devinterp's own loop, on all cores; its data set has to call its inputs `input_ids`."""
    model, loss, data = _problem()
    return devinterp_chain_rate(model, loss, data, STEPS)


def devinterp_chain_rate(model: torch.nn.Module, loss: Callable, data: tuple[torch.Tensor, ...], steps: int) -> float:
    """Steps a second of one of its chains, model and data where they are."""
    with warnings.catch_warnings():  # of packages that devinterp would like to have
        warnings.simplefilter("ignore")
        from devinterp.optim import SGMCMC
        from devinterp.slt.sampler import sample_single_chain
    device = next(model.parameters()).device
    items = [{"input_ids": x.to(device), "ys": y.to(device)} for x, y in zip(*data[:2], strict=True)]

    def evaluate(model, batch):
        return loss(model, (batch["input_ids"], batch["ys"], batch["ys"])), {}

    def chain(steps: int) -> float:
        started = time.perf_counter()
        with contextlib.redirect_stderr(io.StringIO()):
            sample_single_chain(
                model,
                items,
                evaluate,
                dict.fromkeys(dict(model.named_parameters())),
                num_draws=steps,
                sampling_method=SGMCMC.sgld,
                sampling_method_kwargs={"lr": EPSILON, "nbeta": _NBETA, "localization": GAMMA},
                batch_size=BATCH,
                seed=0,
                device=str(device),
            )
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    chain(5)
    return steps / chain(steps)


def our_call() -> float:
    """Chain-steps a second of `llc.estimate_llc` in a fresh process, with all it does besides (warm-up is found)."""
    model, loss, data = _problem()
    started = time.perf_counter()
    llc.estimate_llc(
        model,
        loss,
        data,
        nbeta=_NBETA,
        gamma=GAMMA,
        sampler="sgld",
        step_size=EPSILON,
        chains=CHAINS,
        draws=CALL // 2,
        warmup=CALL // 2,
    )
    return CHAINS * CALL / (time.perf_counter() - started)


def canonical_call() -> float:
    """Chain-steps a second of a call of canonical-interp's in a fresh process, compiled as by default."""
    seconds = _canonical(compile=True)
    return CHAINS * CALL / seconds(CALL)


def canonical_rate(steps: int, compile: bool = False) -> float:
    """Chain-steps a second of canonical-interp's four vmapped chains on all cores; its default is to compile them."""
    seconds = _canonical(compile)
    seconds(FEW)  # whatever only the first one does
    without = seconds(FEW)  # compiling anew, its baseline
    return CHAINS * steps / (seconds(FEW + steps) - without)


def _canonical(compile: bool) -> Callable[[int], float]:
    """What measures the seconds that canonical-interp takes for so many draws."""
    if not hasattr(itertools, "batched"):  # which it takes from Python 3.12
        itertools.batched = _batched  # type: ignore[attr-defined]
    torch._dynamo.config.disable = not compile
    from canonical_interp.slt import LLCEstimator

    model, (xs, ys) = _problem()
    both = torch.cat([xs, ys[..., None]], -1)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(both, ys), BATCH, shuffle=True, drop_last=True)

    def seconds(draws: int) -> float:
        estimator = LLCEstimator(
            draws=draws,
            chains=CHAINS,
            burnin_steps=0,
            steps_bw_draws=1,
            learning_rate=EPSILON,
            localization=GAMMA,
            nbeta=_NBETA,
        )
        started = time.perf_counter()
        with contextlib.redirect_stderr(io.StringIO()), torch.no_grad():  # outside no_grad it keeps every step's graph
            estimator.estimate_llc(
                _Joined(model), loader, lambda predicted, y: (predicted - y).square().mean(), compile=compile
            )
        return time.perf_counter() - started

    return seconds


class _Joined(torch.nn.Module):
    """A model of one input, which is what canonical-interp can call."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, both: torch.Tensor) -> torch.Tensor:
        return self.model(both[..., :-1], both[..., -1])


def _batched(items, size):
    items = iter(items)
    while batch := tuple(itertools.islice(items, size)):
        yield batch


_NBETA = SEQUENCES / math.log(SEQUENCES)


def _problem() -> tuple[torch.nn.Module, Callable, tuple[torch.Tensor, ...]]:
    run = llc.presets.tiny().runs()[-1]
    return models.build(run.model, run.task), behaviour.flat_loss(run.task), run.task.sample(SEQUENCES).flat
