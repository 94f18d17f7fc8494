# SPDX-License-Identifier: GPL-3.0-or-later
"""Work on the workers of dask, where a ``dask.distributed.Client`` is active.

As everywhere in HyperSpy a client takes over by being there; without one, threads do the same
work with the same numbers. Only arrays, numbers and frozen dataclasses of these travel. A worker
that dies costs its tasks: dask hands them to another one.
"""

import asyncio
import contextlib
import sys

import dask
import numpy as np
from dask.array.core import slices_from_chunks
from dask.core import flatten

from hyperspy_zlpml.compute.progress import steps
from hyperspy_zlpml.compute.user_warnings import warn_user

#: Name of this package.
_PACKAGE = __name__.split(".")[0]
#: Seconds without a worker after which the user is told.
_PATIENCE = 5
#: Times that a task may be tried again on another worker after an error of the first.
_RETRIES = 2


def active_client():
    """Find the ``dask.distributed.Client`` that dask would use now.

    Returns
    -------
    Client or None
        None within a task too: a worker that waits for others may be the one they wait for.

    Examples
    --------
    >>> import dask
    >>> from hyperspy_zlpml.compute.workers import active_client
    >>> with dask.config.set(scheduler="threads"):
    ...     active_client() is None
    True
    """
    client = getattr(dask.base.get_scheduler(), "__self__", None)
    return client if hasattr(client, "scheduler_info") and not _within_a_task() else None


class WorkersError(RuntimeError):
    """Error of a cluster that cannot do the work; the message says why."""


def ready_client(*needs):
    """Find the ``dask.distributed.Client`` that dask would use now, with workers that can work.

    They are asked whether they can import this package and what else is needed: work that a worker
    cannot even read may never come back. Where there is no worker the user is told, and one is
    waited for.

    Parameters
    ----------
    *needs : str
        Names of packages needed besides this one.

    Returns
    -------
    Client or None
        As :func:`active_client` finds it.

    Raises
    ------
    WorkersError
        If the scheduler or a worker lacks one of them.

    Examples
    --------
    >>> import dask
    >>> from hyperspy_zlpml.compute.workers import ready_client
    >>> with dask.config.set(scheduler="threads"):
    ...     ready_client("torch") is None
    True
    """
    client = active_client()
    if client is None:
        return None
    _wait_for_a_worker(client)
    missing = _import_errors(_PACKAGE, *needs)
    answers = client.run(missing, on_error="return")
    answers["the scheduler"] = client.run_on_scheduler(missing)
    lacking = [f"{place}: {answer}" for place, answer in answers.items() if answer]
    if lacking:
        raise WorkersError(
            f"the dask cluster cannot do this work: {lacking[0]} ({len(lacking)} of its "
            f"{len(answers)} processes). Start all of them in the Python environment of this one, "
            "or work here: dask.config.set(scheduler='threads')."
        )
    return client


def _wait_for_a_worker(client):
    """Wait until there is a worker; tell the user after some seconds."""
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except (TimeoutError, asyncio.TimeoutError):
        # Two kinds before Python 3.11.
        warn_user(
            f"the dask cluster {client.scheduler.address} has no workers: waiting for the first. "
            "Start one, or work in this process: dask.config.set(scheduler='threads')."
        )
        client.wait_for_workers(1)


def _import_errors(*names):
    """Make a function that says why one of these packages cannot be imported.

    It is defined within this one so that it travels as it is, and not as a name in this package.
    """

    def missing():
        from importlib import import_module

        for name in names:
            try:
                import_module(name)
            except Exception as error:
                return f"{type(error).__name__}: {error}"
        return ""

    return missing


def _within_a_task():
    """Tell whether this runs on a worker."""
    from distributed import get_worker

    try:
        get_worker()
    except ValueError:
        return False
    return True


def warn_wherever(message):
    """Raise a UserWarning in the process of the user, from a worker of dask too.

    Parameters
    ----------
    message : str

    Examples
    --------
    >>> import warnings
    >>> from hyperspy_zlpml.compute.workers import warn_wherever
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warn_wherever("a spectrum of this block is NaN")
    >>> str(caught[0].message)
    'a spectrum of this block is NaN'
    """
    # Whoever runs on a worker has imported it.
    if "distributed" in sys.modules and _within_a_task():
        sys.modules["distributed"].warn(message, UserWarning)
    else:
        warn_user(message)


def map_on(client):
    """Make a ``map`` whose calls are made on the workers: ``map_on(client)(function, values)``.

    Parameters
    ----------
    client : Client

    Returns
    -------
    callable
        Called with a function, of a module that the workers can import, and a sequence of values;
        yields the results in the order of the values.
    """

    def mapped(function, values):
        futures = [client.submit(function, value, pure=False, retries=_RETRIES) for value in values]
        try:
            for future in futures:
                yield future.result()
        finally:
            client.cancel(futures)

    return mapped


def gather(client, arrays, show_progressbar, title):
    """Compute dask arrays on the workers, block by block into memory here.

    Whole arrays are never put together on a worker, whose memory they could exceed.

    Parameters
    ----------
    client : Client
    arrays : sequence of dask array
    show_progressbar : bool
    title : str
        Title of the progress bar.

    Returns
    -------
    list of ndarray
    """
    from distributed import as_completed, futures_of

    results = [np.empty(array.shape, array.dtype) for array in arrays]
    waiting = []
    places = {}
    for array, result in zip(client.persist(list(arrays)), results, strict=True):
        slices = dict(
            zip(flatten(array.__dask_keys__()), slices_from_chunks(array.chunks), strict=True)
        )
        for future in futures_of(array):
            waiting.append(future)
            places[future.key] = result, slices[future.key]
    with _cancelled(client, waiting), steps(title, len(waiting), show_progressbar) as advance:
        done = 0
        for batch in as_completed(waiting).batches():
            for future, block in zip(batch, client.gather(batch), strict=True):
                result, where = places[future.key]
                result[where] = block
                future.release()
            done += len(batch)
            advance(done)
    return results


def run(client, collections, show_progressbar, title):
    """Compute dask collections of which nothing is wanted but that it is done.

    Parameters
    ----------
    client : Client
    collections : sequence of dask collection
    show_progressbar : bool
    title : str
        Title of the progress bar.
    """
    from distributed import as_completed, futures_of

    # Kept until all is done: a worker that dies takes with it what nobody asks for.
    working = client.persist(list(collections))
    futures = futures_of(working)
    with _cancelled(client, futures), steps(title, len(futures), show_progressbar) as advance:
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            advance(done)


@contextlib.contextmanager
def _cancelled(client, futures):
    """Cancel what is not done yet where this is left by an error."""
    try:
        yield
    except BaseException:
        client.cancel(futures, force=True)
        raise
