"""What functions of whole experiments ask of their arguments, whichever they are."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from llc.errors import InvalidInput, shown
from llc.parallel import check_progress
from llc.store.experiment import Experiment
from llc.store.run import Run

F = TypeVar("F", bound=Callable[..., Any])


def takes_experiment(function: F) -> F:
    """The function, which says so where it is given something else; `progress=None` is as if it were left out.

    Args:
        function: whose first argument is an `Experiment`.
    """

    @functools.wraps(function)
    def checked(experiment: Experiment, *rest: Any, **how: Any) -> Any:
        if not isinstance(experiment, Experiment):
            what = f"one run, {experiment.path}," if isinstance(experiment, Run) else shown(experiment)
            raise InvalidInput(f"{what} given, expected an experiment, from llc.open(FOLDER) or llc.train")
        if how.get("progress", function) is None:
            del how["progress"]
        check_progress(how.get("progress"))
        return function(experiment, *rest, **how)

    return cast("F", checked)
