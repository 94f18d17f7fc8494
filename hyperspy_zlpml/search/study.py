# SPDX-License-Identifier: GPL-3.0-or-later
"""Generations of settings: what Optuna is asked, and told.

A generation is asked for as a whole, and told in the order in which it was asked for, so that what
comes of it depends neither on how many workers there are nor on which of them is the fastest. Every
set of settings is drawn by a sampler of its own, whose seed follows from the number of the set: a
search that was interrupted goes on as if it had not been.
"""

import contextlib
import json
import os
from dataclasses import dataclass

import numpy as np

from hyperspy_zlpml.arguments import path, settle_random_state
from hyperspy_zlpml.search.space import distributions, parameters_of, settings_of
from hyperspy_zlpml.training.settings import TrainingSettings

#: Sets of settings in a generation.
POPULATION = 10
#: Name of a search within its file.
_NAME = "settings of a training"
#: Of score and work.
_DIRECTIONS = ("maximize", "minimize")
#: First word of the names under which evaluations are kept.
_KEPT = "evaluation"
#: Streams of random numbers: of the sampler, and of the trainings.
_OF_SAMPLER, _OF_TRAINING = 0, 1
#: A lock this old was left behind by a process that was killed, s: lines are written in much less.
_OLD_LOCK = 10
#: Errors of Optuna about a file that holds something else.
_NO_SEARCH = (OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError)


@dataclass(frozen=True)
class Record:
    """Record of the evaluation of one set of settings.

    Attributes
    ----------
    number : int
        From 0, in the order in which they were asked for.
    settings : TrainingSettings
    score : float
        Mean predictive log score, nats per window: larger is better.
    work : float
        Multiply-adds of the training, in units of 10^9; NaN where nothing was trained.
    error : float
        What is left of the tails, in units of their counting noise (root mean square).
    coverage : float
        Share of the windows within one error bar: 0.68 if all is right.
    seconds : float
        The evaluation took; the only number that another run does not give again.
    note : str
        Why the networks could not be trained.
    """

    number: int
    settings: TrainingSettings
    score: float
    work: float
    error: float
    coverage: float
    seconds: float
    note: str = ""


def optuna():
    """Import Optuna, which is needed for searches alone.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If it is not installed; the message says how to.
    """
    try:
        import optuna
    except ImportError as error:
        raise ImportError(
            "a search for settings needs Optuna: pip install 'hyperspy_zlpml[search]'."
        ) from error
    return optuna


def open_study(storage):
    """Begin a search, or go on with the one that is in a file.

    Parameters
    ----------
    storage : str, Path or None
        File, a journal to which lines are added; None to keep the search in memory.

    Returns
    -------
    optuna.study.Study

    Raises
    ------
    ValueError
        If the file is none that a search can be kept in.
    """
    module, file = optuna(), None if storage is None else path(storage, "storage")
    try:
        with _quiet(module):
            return module.create_study(
                storage=None if file is None else _journal(file),
                study_name=_NAME,
                directions=_DIRECTIONS,
                load_if_exists=True,
            )
    except _NO_SEARCH as error:
        raise ValueError(
            f"storage: expected a file of a search, or a new one, got {file!r} "
            f"({type(error).__name__}: {error})."
        ) from error


@contextlib.contextmanager
def _quiet(module):
    """Let Optuna say nothing but warnings."""
    verbosity = module.logging.get_verbosity()
    module.logging.set_verbosity(module.logging.WARNING)
    try:
        yield
    finally:
        module.logging.set_verbosity(verbosity)


def _journal(file):
    """Open a journal; a file that is none must not be added to."""
    if os.path.exists(file):
        with open(file, encoding="utf-8") as lines:
            first = lines.readline()
        if first and "op_code" not in json.loads(first):
            raise ValueError("not a journal of Optuna")
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    # A lock that is a file: links need a privilege on Windows, and one whose target is not found,
    # as by a relative path, is never taken for old.
    file = os.path.abspath(file)
    return JournalStorage(JournalFileBackend(file, JournalFileOpenLock(file, _OLD_LOCK)))


def random_state_of(study, given):
    """Settle on the random state of a search: that of its file where none is given.

    Parameters
    ----------
    study : optuna.study.Study
    given : int, numpy.random.Generator or None

    Returns
    -------
    int
    """
    kept = study.user_attrs.get("random_state")
    return settle_random_state(kept if given is None else given)


def keep_facts(study, facts):
    """Keep what a search depends on; check that a search that goes on depends on the same.

    Parameters
    ----------
    study : optuna.study.Study
    facts : dict of str to JSON

    Raises
    ------
    ValueError
        If the file holds a search of other spectra or with other options.
    """
    kept = study.user_attrs
    other = [name for name, value in facts.items() if kept.get(name, value) != value]
    if other:
        raise ValueError(
            "storage: expected a search of the same spectra with the same options, got one of "
            f"another {' and '.join(other)}; give another file, or delete it."
        )
    for name, value in facts.items():
        study.set_user_attr(name, value)


def seed_of(random_state, *numbers):
    """Derive a seed from that of a search and from some numbers.

    Parameters
    ----------
    random_state : int
    *numbers : int

    Returns
    -------
    int

    Examples
    --------
    >>> from hyperspy_zlpml.search.study import seed_of
    >>> seed_of(0, 1, 2) == seed_of(0, 1, 2), seed_of(0, 1, 2) == seed_of(0, 1, 3)
    (True, False)
    """
    return int(np.random.SeedSequence([random_state, *numbers]).generate_state(1)[0])


def seed_of_training(random_state, number):
    """Derive the seed of the training of one set of settings from its number.

    Parameters
    ----------
    random_state, number : int

    Returns
    -------
    int
    """
    return seed_of(random_state, _OF_TRAINING, number)


def begin(study, start):
    """Let a search that is new begin with these settings.

    Parameters
    ----------
    study : optuna.study.Study
    start : TrainingSettings
    """
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(parameters_of(start))


def next_settings(study, random_state, most):
    """Take the settings to evaluate next: those left of an interrupted generation, or a new one.

    Parameters
    ----------
    study : optuna.study.Study
    random_state : int
    most : int
        No more than so many.

    Returns
    -------
    list of (int, TrainingSettings)
        Numbers, and settings.
    """
    states, space = optuna().trial.TrialState, distributions()
    running = study.get_trials(deepcopy=False, states=(states.RUNNING,))
    for trial in running:
        if set(trial.params) != set(space):  # interrupted while it was asked for
            study.tell(trial.number, state=states.FAIL)
    waiting = [(one.number, one.params) for one in running if set(one.params) == set(space)]
    if not waiting:
        # A generation ends where the last one did, plus its size.
        n_done = len(study.get_trials(deepcopy=False, states=(states.COMPLETE,)))
        n = POPULATION - n_done % POPULATION
        waiting = [_asked(study, space, random_state) for _ in range(min(n, most))]
    return [(number, settings_of(parameters)) for number, parameters in waiting[:most]]


def _asked(study, space, random_state):
    """Ask for one set of settings."""
    number = len(study.get_trials(deepcopy=False, states=None))
    waiting = study.get_trials(deepcopy=False, states=(optuna().trial.TrialState.WAITING,))
    number -= len(waiting)
    study.sampler = optuna().samplers.NSGAIISampler(
        population_size=POPULATION, seed=seed_of(random_state, _OF_SAMPLER, number)
    )
    trial = study.ask(fixed_distributions=space)
    # Settings that were given are drawn by nobody: asked for, they too belong to a generation.
    _ = trial.relative_params
    return trial.number, trial.params


def tell(study, number, evaluation):
    """Tell what came of settings, and keep it.

    Parameters
    ----------
    study : optuna.study.Study
    number : int
    evaluation : Evaluation
    """
    scores, trained = evaluation.scores, evaluation.scores is not None
    kept = {
        "error": scores.rms_error if trained else None,
        "coverage": scores.coverage if trained else None,
        "seconds": round(evaluation.seconds, 3),
        "note": evaluation.note,
    }
    study.set_user_attr(f"{_KEPT} {number}", kept)
    # What cannot be trained is beaten by everything.
    work = evaluation.work / 1e9 if trained else np.finfo(np.float32).max
    study.tell(number, (evaluation.score, float(work)))


def _trained(study):
    """Take the trials of settings that could be trained."""
    done = study.get_trials(deepcopy=False, states=(optuna().trial.TrialState.COMPLETE,))
    kept = study.user_attrs
    return [trial for trial in done if not kept[f"{_KEPT} {trial.number}"]["note"]]


def history_of(study):
    """Read the records of all settings that were evaluated.

    Parameters
    ----------
    study : optuna.study.Study

    Returns
    -------
    tuple of Record
        By number.
    """
    done = study.get_trials(deepcopy=False, states=(optuna().trial.TrialState.COMPLETE,))
    kept = study.user_attrs
    return tuple(_record_of(trial, kept[f"{_KEPT} {trial.number}"]) for trial in done)


def _record_of(trial, kept):
    def number(name):
        return np.nan if kept[name] is None else kept[name]

    return Record(
        number=trial.number,
        settings=settings_of(trial.params),
        score=trial.values[0],
        work=np.nan if kept["note"] else trial.values[1],
        error=number("error"),
        coverage=number("coverage"),
        seconds=kept["seconds"],
        note=kept["note"],
    )


def importances(study, random_state):
    """Estimate which settings the score depends on, by a forest of regression trees (fANOVA).

    Settings that could not be trained are left out: their score is none.

    Parameters
    ----------
    study : optuna.study.Study
    random_state : int

    Returns
    -------
    dict of str to float
        Shares of the variance of the score, largest first; empty after few evaluations.
    """
    module = optuna()
    trained = _trained(study)
    if len(trained) < POPULATION or len({trial.values[0] for trial in trained}) < 2:
        return {}
    evaluator = module.importance.FanovaImportanceEvaluator(seed=random_state % 2**32)
    with _quiet(module):
        alone = module.create_study(directions=_DIRECTIONS)
        alone.add_trials(trained)
        found = module.importance.get_param_importances(
            alone, evaluator=evaluator, target=lambda trial: trial.values[0]
        )
    return {name: float(value) for name, value in found.items()}
