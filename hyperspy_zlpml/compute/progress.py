# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress of long work: bars, and functions that are told of it and may cancel it.

Everything that takes its time goes through :func:`steps`. Who wants to know of it, as a widget does,
wraps the call in :func:`~hyperspy_zlpml.report_progress`.
"""

import contextlib
from contextvars import ContextVar

from hyperspy_zlpml.arguments import refuse

#: Function that is told of progress in this thread.
_LISTENER = ContextVar("listener", default=None)


class Cancelled(Exception):
    """Raised by a function of :func:`~hyperspy_zlpml.report_progress` to stop the work; nothing is left half done.

    Examples
    --------
    >>> import hyperspy_zlpml
    >>> from hyperspy_zlpml.data import ws2_like
    >>> def stop(title, done, total):
    ...     raise hyperspy_zlpml.Cancelled
    >>> s = ws2_like((4, 4), n_channels=512, random_state=0).signal
    >>> with hyperspy_zlpml.report_progress(stop):
    ...     s.remove_zlp_ml(n_replicas=4, show_progressbar=False)
    Traceback (most recent call last):
    hyperspy_zlpml.compute.progress.Cancelled
    """


@contextlib.contextmanager
def report_progress(function):
    """Tell a function of the progress of all work that is done within.

    It is called in the thread that works, or in those that train, with the title of a pass over the
    data or of the training, the steps that are done, and of how many. What it raises ends the work:
    raise :class:`Cancelled` where the user wants to stop. Results that were there before stay as
    they are, and the next call gives the numbers that it would have given.

    Parameters
    ----------
    function : callable
        Called as ``function(title, done, total)``. Where work is done on a cluster it is called
        where the cluster is used from.

    Raises
    ------
    ValueError
        If it cannot be called.

    Examples
    --------
    >>> import hyperspy_zlpml
    >>> from hyperspy_zlpml.data import ws2_like
    >>> titles = []
    >>> s = ws2_like((4, 4), n_channels=512, random_state=0).signal
    >>> with hyperspy_zlpml.report_progress(lambda title, done, total: titles.append(title)):
    ...     r = s.remove_zlp_ml(
    ...         n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
    ...     )
    >>> list(dict.fromkeys(titles))
    ['Measuring peaks', 'Training networks', 'Matching the ZLP']
    """
    if not callable(function):
        refuse(function, "function", "a function of (title, done, total)")
    token = _LISTENER.set(function)
    try:
        yield
    finally:
        _LISTENER.reset(token)


@contextlib.contextmanager
def steps(title, total, show, unit="it"):
    """Show, and report to who listens, how far some work is.

    Parameters
    ----------
    title : str
    total : int
        Steps that there are.
    show : bool
        Whether to show a bar.
    unit : str
        What the steps are called.

    Yields
    ------
    callable
        Called as ``advance(done, total=None, note="")`` from any thread, with the steps done, with
        their number where it has changed, and with what is to stand beside the bar.

    Examples
    --------
    >>> from hyperspy_zlpml.compute.progress import report_progress, steps
    >>> with report_progress(print), steps("Counting", 2, show=False) as advance:
    ...     advance(1)
    ...     advance(2)
    Counting 1 2
    Counting 2 2
    """
    tell = _Told(_LISTENER.get(), title)
    if not show:
        yield lambda done, of=None, note="": tell(done, of or total)
        return
    from tqdm.auto import tqdm

    with tqdm(desc=title, total=total, unit=unit) as bar:

        def advance(done, of=None, note=""):
            bar.total = of or total
            bar.set_postfix_str(note, refresh=False)
            bar.update(done - bar.n)
            tell(done, of or total)

        yield advance


class _Told:
    """Listener that goes on refusing once it has refused: several threads ask it."""

    def __init__(self, listener, title):
        self._listener = listener
        self._title = title
        self._refusal = None

    def __call__(self, done, total):
        if self._listener is None:
            return
        if self._refusal is not None:
            raise self._refusal
        try:
            self._listener(self._title, done, total)
        except BaseException as refusal:
            self._refusal = refusal
            raise


@contextlib.contextmanager
def training_steps(show):
    """Show, and report to who listens, how far a training is.

    Parameters
    ----------
    show : bool
        Whether to show a bar.

    Yields
    ------
    callable
        To be called with (steps done, of steps, median chi2).
    """
    with steps("Training networks", 1, show, unit=" steps") as advance:
        yield lambda done, total, chi2: advance(done, total, f"chi2={chi2:.3g}")
