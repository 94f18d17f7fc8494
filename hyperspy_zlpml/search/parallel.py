# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluations side by side, in threads or on the workers of dask; their results come in order."""

import contextlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from hyperspy_zlpml.compute.threads import n_threads, on_one_core
from hyperspy_zlpml.compute.workers import ready_client

#: Calls that are handed out, for each worker: none waits for the oldest to be done.
_HANDED_OUT = 2
#: Times that a worker may die of a call.
_RETRIES = 2


@contextlib.contextmanager
def side_by_side(function, shared, n_workers):
    """Make a function that calls another for many arguments, some of them at once.

    Where a ``dask.distributed.Client`` is active the calls are made on its workers, which are sent
    what all calls share once; otherwise in threads of this process. Each call takes one core: calls
    side by side keep more cores busy than one call does that shares its work out.

    Parameters
    ----------
    function : callable
        Of a module that workers can import; called as ``function(shared, *arguments)``.
    shared : anything
        First argument of all calls.
    n_workers : int or None
        Calls at once; None is one for each core, or for each thread of the workers of dask.

    Yields
    ------
    callable
        Called with a sequence of tuples of arguments, and with a function that tells whether to go
        on: yields the results in the order of the arguments, and fewer where it is not.

    Examples
    --------
    >>> from hyperspy_zlpml.search.parallel import side_by_side
    >>> with side_by_side(pow, 2, n_workers=2) as calls:
    ...     list(calls([(3,), (4,), (5,)], lambda: True))
    [8, 16, 32]
    """
    client = ready_client("torch")
    if client is None:
        n_workers = n_workers or n_threads()
        with ThreadPoolExecutor(n_workers) as pool:
            yield _in_order(lambda one: pool.submit(_alone, function, shared, *one), n_workers)
        return
    (sent,) = client.scatter([shared], broadcast=True)

    def submit(arguments):
        return client.submit(_alone, function, sent, *arguments, pure=False, retries=_RETRIES)

    yield _in_order(submit, n_workers or sum(client.nthreads().values()))


def _alone(function, *arguments):
    """Make a call that takes one core."""
    with on_one_core():
        return function(*arguments)


def _in_order(submit, n_workers):
    """Make the function that hands out calls, a few ahead of those that are done."""

    def calls(arguments, goes_on):
        waiting = deque()
        try:
            for one in arguments:
                if len(waiting) >= _HANDED_OUT * n_workers:
                    yield waiting.popleft().result()
                if not goes_on():
                    break
                waiting.append(submit(one))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    return calls
