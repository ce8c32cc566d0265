"""Error curves: losses over the number of examples, on every kind of prompt."""

import numpy as np
import xarray as xr

from llc.figures.given import takes
from llc.figures.runs import Runs, once, reference_looks
from llc.figures.spec import Axis, Marks, Panel, Spec
from llc.store.labels import baselines_of, symbol_in


@takes(found=("experiment.compare", "reference", "reference_loss", "loss_se"))
def error_curves(found: xr.Dataset) -> Spec | None:
    """What is lost after so many examples on every kind of prompt, as a share of what the reference that knows nothing
    loses there.

    Args:
        found: `experiment.compare`.
    """
    nothing = next(iter(baselines_of(found)), None)
    if "curve_loss" not in found or nothing is None:
        return None
    runs, panels = Runs(found[["curve_loss", "curve_loss_se", "curve_reference_loss"]]), []
    for curve in found.error_curve.values:
        marks: list[Marks] = []
        lines: dict[str, list[Marks]] = {}
        highest: list[float] = []
        for place, run in runs:
            here = run.sel(error_curve=curve).dropna("shots", subset=["curve_loss"])
            if not here.sizes["shots"]:
                continue
            n, whole = here.shots.values, here.curve_reference_loss.sel(reference=nothing).values
            share, reach = here.curve_loss.values / whole, 1.645 * here.curve_loss_se.values / whole
            text = [f"{shots} examples<br>{y:.3g} of it" for shots, y in zip(n, share, strict=True)]
            ends = {"low": share - reach, "high": share + reach}
            highest.append(float(np.nanmax(share + reach)))
            marks.append(runs.mark(place, n, share, text, shape=runs.shape(place), size=4.5, **ends))
            for name, (colour, line) in reference_looks(found).items():
                its = here.curve_reference_loss.sel(reference=name).values / whole
                if np.isfinite(its).any():
                    symbol = symbol_in(found, "reference", name)
                    lines.setdefault(name, []).append(Marks(n, its, colour, symbol, line, width=1.1))
        # A reference that differs from run to run would be lines that nothing tells apart.
        alike = [of for of in lines.values() if len(of) == len(marks) and len(once(of)) == 1]
        top = 1.15 * max(1.0, *highest)
        y = Axis(f"loss over that of {symbol_in(found, 'reference', nothing)}", limits=(-0.04 * top, top))
        drawn = [*(of[0] for of in alike), *marks]
        panels.append(
            Panel(Axis("examples before the question"), y, drawn, symbol_in(found, "error_curve", str(curve)))
        )
    return Spec(
        "error_curves",
        "Error over the number of examples",
        panels,
        "At the last step, on every kind of prompt, with 90 % intervals: 1 is what "
        f"{symbol_in(found, 'reference', nothing)} loses on the same sequences; lines without marks are references "
        "(where they are the same for all runs). What loses more than any model is beyond the axis.",
        f"Losses of {len(list(runs))} runs on {len(panels)} kinds of prompts.",
        columns=3,
        size=(4.8, 3.6),
        key=runs.shape_key,
    )
