# SPDX-License-Identifier: GPL-3.0-or-later
"""Search for the settings of a training by evolution, from top to bottom.

1. share the spectra of the image out: to train on, to select by, to judge on
   (:func:`~hyperspy_zlpml.search.evaluation.prepare`)
2. evaluate generation after generation of settings, the next bred from the best (NSGA-II)
3. train the best few, and the defaults, again with other seeds, and select one by the same spectra
4. judge it against the defaults on spectra that took no part so far
   (:func:`~hyperspy_zlpml.search.comparison.compare`)
"""

import time
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np

from hyperspy_zlpml.arguments import count, instance, positive, settle_random_state
from hyperspy_zlpml.compute.progress import steps
from hyperspy_zlpml.search import study as studies
from hyperspy_zlpml.search.comparison import compare
from hyperspy_zlpml.search.evaluation import evaluate, prepare, scores_of
from hyperspy_zlpml.search.facts import facts_of
from hyperspy_zlpml.search.parallel import side_by_side
from hyperspy_zlpml.search.result import SettingsSearch
from hyperspy_zlpml.search.space import parameters_of
from hyperspy_zlpml.training.settings import WHERE_SETTINGS, TrainingSettings
from hyperspy_zlpml.training.train import check_device
from hyperspy_zlpml.workflow import Options, Spectra

#: Sets of settings that are trained again, beside the defaults, before one is selected; how often.
_FINALISTS, _TRAINED_AGAIN = 3, 3
#: Streams of random numbers of these trainings, and of those that are judged.
_OF_FINALISTS, _OF_JUDGEMENT = 2, 3
#: Most evaluations, trainings and workers that can be asked for.
_MOST_EVALUATIONS, _MOST_TRAININGS, _MOST_WORKERS = 100_000, 1000, 10_000


@dataclass(frozen=True)
class SearchPlan:
    """Plan of a search; see :func:`search_zlp_settings` for the meaning of each.

    Attributes
    ----------
    n_evaluations, n_trainings : int
    start : TrainingSettings
    storage : str, Path or None
    timeout : float or None
    n_workers : int or None
    random_state : int, numpy.random.Generator or None
    """

    n_evaluations: int = 40
    n_trainings: int = 5
    start: TrainingSettings = field(default_factory=TrainingSettings)
    storage: str | Path | None = None
    timeout: float | None = None
    n_workers: int | None = None
    random_state: int | np.random.Generator | None = None

    def check(self):
        """Raise ValueError unless a search can be made like this."""
        count(self.n_evaluations, "n_evaluations", 1, _MOST_EVALUATIONS)
        count(self.n_trainings, "n_trainings", 2, _MOST_TRAININGS)
        parameters_of(instance(self.start, "start", TrainingSettings, WHERE_SETTINGS))
        if self.timeout is not None:
            positive(self.timeout, "timeout", "s")
        if not isinstance(self.random_state, np.random.Generator):
            settle_random_state(self.random_state)
        if self.n_workers is not None:
            count(self.n_workers, "n_workers", 1, _MOST_WORKERS)


# One argument for each choice of the user, as in the signal method.
def search_zlp_settings(  # noqa: PLR0913
    counts,
    energy,
    *,
    variance=None,
    microscope=None,
    n_evaluations=40,
    n_trainings=5,
    start=None,
    storage=None,
    timeout=None,
    n_workers=None,
    n_replicas=10,
    cluster_by="zlp",
    regions=None,
    vacuum=None,
    navigation_mask=None,
    random_state=None,
    show_progressbar=False,
    device="auto",
):
    """Search for the settings of a training that suit arrays of spectra, by evolution.

    See :meth:`~hyperspy_zlpml.EELSZLPSpectrum.search_zlp_ml` for what is searched and how it is
    judged. HyperSpy is not needed.

    Parameters
    ----------
    counts, energy, variance, microscope, cluster_by, regions, vacuum, navigation_mask, \
show_progressbar, device
        See :func:`~hyperspy_zlpml.workflow.remove_zlp`.
    n_evaluations, n_trainings, start, storage, timeout, n_workers, n_replicas, random_state
        See :meth:`~hyperspy_zlpml.EELSZLPSpectrum.search_zlp_ml`.

    Returns
    -------
    SettingsSearch

    Raises
    ------
    ImportError
        If Optuna is not installed.
    NoZeroLossPeakError
        If too few spectra have a usable peak.
    ValueError
        If an argument is not what it must be, or ``storage`` holds another search.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.search.search import search_zlp_settings
    >>> energy = -2 + 0.025 * np.arange(512)
    >>> zlp = np.exp(-4 * np.log(2) * (energy / 0.4) ** 2) + 0.01 / (1 + (energy / 0.3) ** 2)
    >>> thickness = np.linspace(0, 0.5, 60)[:, None]
    >>> losses = 0.02 * thickness * np.clip(energy - 1.8, 0, None) ** 0.5
    >>> rng = np.random.default_rng(0)
    >>> counts = rng.poisson(1e6 * (np.exp(-thickness) * zlp + losses))
    >>> found = search_zlp_settings(
    ...     counts, energy, n_evaluations=2, n_trainings=2, n_replicas=4, vacuum=False, random_state=0
    ... )
    >>> len(found.history), found.history[0].settings == found.settings
    (2, True)
    """
    options, plan = asked_for(
        n_evaluations=n_evaluations,
        n_trainings=n_trainings,
        start=start,
        storage=storage,
        timeout=timeout,
        n_workers=n_workers,
        n_replicas=n_replicas,
        cluster_by=cluster_by,
        regions=regions,
        vacuum=vacuum,
        navigation_mask=navigation_mask,
        random_state=random_state,
        show_progressbar=show_progressbar,
        device=device,
    )
    return search(Spectra(counts, energy, variance, microscope=microscope), options, plan)


def asked_for(start=None, **arguments):
    """Sort what is asked for into options of the trainings, and the plan of the search.

    Parameters
    ----------
    start : TrainingSettings, optional
        The defaults by default.
    **arguments
        Others of :func:`search_zlp_settings`.

    Returns
    -------
    options : Options
    plan : SearchPlan

    Examples
    --------
    >>> from hyperspy_zlpml.search.search import asked_for
    >>> options, plan = asked_for(n_evaluations=20, n_replicas=6)
    >>> options.n_replicas, plan.n_evaluations, plan.start.n_clusters
    (6, 20, 5)
    """
    names = {one.name for one in fields(SearchPlan)}
    of_plan = {name: value for name, value in arguments.items() if name in names}
    others = {name: value for name, value in arguments.items() if name not in names}
    start = TrainingSettings() if start is None else start
    return Options(**others), SearchPlan(start=start, **of_plan)


def search(spectra, options, plan):
    """Search for the settings of a training: the whole search, step by step.

    Parameters
    ----------
    spectra : Spectra
    options : Options
        Their ``settings``, ``n_clusters``, ``replica_kind`` and ``random_state`` have no effect.
    plan : SearchPlan

    Returns
    -------
    SettingsSearch
    """
    plan.check()
    options = options.checked()
    check_limits_of_all(options.limits)
    check_device(options.device)
    study = studies.open_study(plan.storage)
    seed = studies.random_state_of(study, plan.random_state)
    options = replace(options, random_state=seed)
    prepared = prepare(spectra, options)
    studies.keep_facts(study, facts_of(prepared, plan))
    show = options.show_progressbar
    with side_by_side(evaluate, prepared, plan.n_workers) as calls:
        evolve(study, plan, calls, seed=seed, show_progressbar=show)
        history = studies.history_of(study)
        best = select(history, calls, seed, show_progressbar=show)
        comparison = judge(
            best,
            prepared,
            calls,
            n_trainings=plan.n_trainings,
            seed=seed,
            show_progressbar=show,
        )
    return SettingsSearch(best, comparison, history, studies.importances(study, seed))


def check_limits_of_all(limits):
    """Raise ValueError where limits are given for each cluster: their number is searched.

    Parameters
    ----------
    limits : dict of str to ndarray

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.search.search import check_limits_of_all
    >>> check_limits_of_all({"E_I": np.array([1.2, 1.4])})
    Traceback (most recent call last):
    ValueError: regions: expected one E_I for all clusters, whose number is searched, got 2.
    """
    for name, values in limits.items():
        if np.size(values) > 1:
            raise ValueError(
                f"regions: expected one {name} for all clusters, whose number is searched, got "
                f"{np.size(values)}."
            )


def evolve(study, plan, calls, seed, show_progressbar=False):
    """Evaluate generations of settings, until there are enough or the time is over.

    Parameters
    ----------
    study : optuna.study.Study
    plan : SearchPlan
    calls : callable
        Of :func:`~hyperspy_zlpml.search.parallel.side_by_side`.
    seed : int
    show_progressbar : bool
    """
    studies.begin(study, plan.start)
    until = np.inf if plan.timeout is None else time.monotonic() + plan.timeout
    n, total = len(studies.history_of(study)), plan.n_evaluations
    is_time = _always_once(lambda: time.monotonic() < until)
    with steps("Searching settings", total, show_progressbar, unit=" settings") as advance:
        while n < total and is_time():
            generation = studies.next_settings(study, seed, total - n)
            arguments = [
                (one, studies.seed_of_training(seed, number)) for number, one in generation
            ]
            # Those that there is no time for stay in the file, to go on with.
            for (number, _), found in zip(generation, calls(arguments, is_time), strict=False):
                studies.tell(study, number, found)
                n += 1
                advance(n)


def _always_once(is_time):
    """Let the first question be answered by yes: a search has at least one evaluation."""
    answers = iter((True, True))
    return lambda: next(answers, False) or is_time()


def select(history, calls, seed, show_progressbar=False):
    """Select the best settings: those with the best scores, and the defaults, are trained again.

    The best score of many is partly luck, which is not there again with other seeds: where trainings
    differ much from each other it is rather worse than the defaults.

    Parameters
    ----------
    history : tuple of Record
    calls : callable
        Of :func:`~hyperspy_zlpml.search.parallel.side_by_side`.
    seed : int
    show_progressbar : bool

    Returns
    -------
    TrainingSettings
    """
    ranked = sorted((one for one in history if not one.note), key=lambda one: -one.score)
    finalists = list(dict.fromkeys(one.settings for one in ranked))[:_FINALISTS]
    finalists = list(dict.fromkeys([TrainingSettings(), *finalists]))
    if len(finalists) < 2:
        return finalists[0]
    seeds = [studies.seed_of(seed, _OF_FINALISTS, n) for n in range(_TRAINED_AGAIN)]
    arguments = [(settings, one) for settings in finalists for one in seeds]
    found = _followed(calls, arguments, "Training the best again", show_progressbar)
    scores = np.array([one.score for one in found]).reshape(len(finalists), -1)
    return finalists[int(scores.mean(-1).argmax())]


def judge(best, prepared, calls, *, n_trainings, seed, show_progressbar=False):
    """Judge settings against the defaults, on spectra that took no part in their selection.

    Parameters
    ----------
    best : TrainingSettings
    prepared : Prepared
    calls : callable
        Of :func:`~hyperspy_zlpml.search.parallel.side_by_side`.
    n_trainings : int
        Of both, with the same seeds.
    seed : int
    show_progressbar : bool

    Returns
    -------
    Comparison
    """
    defaults = TrainingSettings()
    both = [defaults] if best == defaults else [defaults, best]
    seeds = [studies.seed_of(seed, _OF_JUDGEMENT, n) for n in range(n_trainings)]
    arguments = [(settings, one, True) for settings in both for one in seeds]
    found = _followed(calls, arguments, "Judging", show_progressbar)
    held = prepared.judgement
    scores = np.array([scores_of(one, held) for one in found])
    scores = scores.reshape(len(both), n_trainings, -1)
    return compare(scores[-1], scores[0], held.kind)


def _followed(calls, arguments, title, show_progressbar):
    """Make calls, and show how far they are."""
    found = []
    with steps(title, len(arguments), show_progressbar, unit=" trainings") as advance:
        for one in calls(arguments, lambda: True):
            found.append(one)
            advance(len(found))
    return found
