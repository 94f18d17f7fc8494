# SPDX-License-Identifier: GPL-3.0-or-later
"""Methods that make maps as plans, so that several of them share one pass over the data."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, pairwise
from typing import NamedTuple

import dask.array as da
import numpy as np

from hyperspy_zlpml.compute.user_warnings import warn_user
from hyperspy_zlpml.removal.pooling import map_pooled
from hyperspy_zlpml.signals.maps.temporary import kept


@dataclass(frozen=True)
class Plan:
    """Work of a method that makes maps, with its arguments checked.

    Attributes
    ----------
    function : callable
        Of the :class:`~hyperspy_zlpml.physics.losses.Losses` of some spectra, and their ``others``;
        returns an array of shape (n_spectra, width).
    width : int
    finish : callable
        Called as ``finish(removal, numbers)`` with those of all spectra, (..., width); makes the
        result.
    title : str
        Of the progress bar.
    others : tuple of ndarray of the navigation shape
        Numbers of each spectrum that the function takes, too.
    alone : callable, optional
        Called as ``alone(removed, **options)`` where a pass over single spectra is not enough, as
        where they are pooled; makes the numbers.
    ready : callable, optional
        Called as ``ready(removal, plan)`` where something of the image must be known before the pass; makes
        the plan that is carried out.
    spectra : tuple of int
        How many spectra come first among the numbers, and of how many energies. Those of lazy data
        are kept in files, see :func:`.temporary.kept`.
    """

    function: Callable
    width: int
    finish: Callable
    title: str
    others: tuple = ()
    alone: Callable | None = None
    ready: Callable | None = None
    spectra: tuple[int, int] = (0, 0)


class Part(NamedTuple):
    """Part of the work on pooled spectra: a function of the pieces of them that it needs.

    Attributes
    ----------
    function : callable
        Of the :class:`~hyperspy_zlpml.physics.losses.Losses` of some pooled spectra; returns an array of
        shape (n_spectra, width).
    width : int
    prepare : callable
        Takes the piece of spectra that is pooled: see :func:`.map_pooled`.
    """

    function: Callable
    width: int
    prepare: Callable


def pooled(plan, pool, *parts):
    """Take a plan for pooled spectra, a pass of its own for each part.

    Parameters
    ----------
    plan : Plan
    pool : int or "clusters"
    *parts : Part
        Their numbers come to ``plan.finish`` side by side.

    Returns
    -------
    Plan
    """
    return replace(plan, alone=partial(_of_parts, parts=parts, pool=pool))


def _of_parts(removed, parts, pool, **options):
    """Work on all parts of pooled spectra, (..., width of all)."""
    found = [map_pooled(removed, **part._asdict(), pool=pool, **options) for part in parts]
    return np.concatenate(found, axis=-1)


def carry_out(removal, plans, show_progressbar):
    """Carry out plans in one pass over the data, and one each for those that need their own.

    Parameters
    ----------
    removal : ZLPRemoval
    plans : dict of str to Plan
    show_progressbar : bool

    Returns
    -------
    dict
        Results by the names of the plans, in their order.

    Warns
    -----
    UserWarning
        Once for a removal, where a check of it failed.
    """
    warn_of_failed_checks(removal)
    plans = {
        name: plan.ready(removal, plan) if plan.ready else plan for name, plan in plans.items()
    }
    together = {name: plan for name, plan in plans.items() if plan.alone is None}
    numbers = {}
    if together:
        found = _in_one_pass(removal.removed, list(together.values()), show_progressbar)
        numbers = dict(zip(together, found, strict=True))
    for name, plan in plans.items():
        if plan.alone:
            options = {"show_progressbar": show_progressbar, "title": plan.title}
            numbers[name] = plan.alone(removal.removed, **options)
    return {name: plan.finish(removal, numbers[name]) for name, plan in plans.items()}


def warn_of_failed_checks(removal):
    """Warn whoever makes maps of a removal that a check of it failed, once: a loaded one warned of nothing yet.

    Parameters
    ----------
    removal : ZLPRemoval

    Warns
    -----
    UserWarning
        Where a check failed, and nobody was told of it.
    """
    report = removal.report
    if "FAILED" in report.verdicts.values() and not removal._warned:
        removal._warned.append(True)
        warn_user(
            f"the removal that these maps are of: {report.said_of_checks}. What it gets wrong is in the "
            "maps too, and their errors do not hold it: print(r.report) says what to do."
        )


def _in_one_pass(removed, plans, show_progressbar):
    """Work on all plans together; a list of the numbers of each, (..., width)."""
    title = plans[0].title if len(plans) == 1 else "Making maps"
    options = {"show_progressbar": show_progressbar, "title": title}
    in_files = removed.is_lazy and any(n_spectra for n_spectra, _ in (one.spectra for one in plans))
    found = removed.map_losses(
        partial(_side_by_side, works=[(one.function, len(one.others)) for one in plans]),
        sum(one.width for one in plans),
        *(other for one in plans for other in one.others),
        lazy=in_files,
        **options,
    )
    ends = np.cumsum([one.width for one in plans])
    parts = [found[..., end - one.width : end] for one, end in zip(plans, ends, strict=True)]
    return _kept(plans, parts, options) if in_files else parts


def _kept(plans, parts, options):
    """Compute lazy numbers once: spectra into files, all others into memory."""
    pieces = []
    for plan, part in zip(plans, parts, strict=True):
        n_spectra, size = plan.spectra
        edges = [*(size * number for number in range(n_spectra + 1)), plan.width]
        pieces += [part[..., start:stop] for start, stop in pairwise(edges)]
    stored, found = iter(kept(pieces, **options)), []
    for plan in plans:
        *spectra, numbers = islice(stored, plan.spectra[0] + 1)
        numbers = numbers.compute()
        found.append(da.concatenate([*spectra, numbers], axis=-1) if spectra else numbers)
    return found


def _side_by_side(losses, *others, works):
    """Apply several functions to the same losses, each with its own numbers of the spectra."""
    others, found = iter(others), []
    for function, n_others in works:
        found.append(function(losses, *(next(others) for _ in range(n_others))))
    return np.concatenate(found, axis=-1)
