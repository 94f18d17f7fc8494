# SPDX-License-Identifier: GPL-3.0-or-later
"""Do long work beside a window that must not stand still, tell how far it is, and cancel it."""

import threading

from hyperspy_zlpml.compute.progress import Cancelled, report_progress


class Job:
    """Work in a thread of its own, begun when it is made.

    Parameters
    ----------
    function : callable
        What is to be done; takes nothing.
    tell : callable
        Told of progress as ``tell(title, done, total)``, in threads that work.
    done : callable
        Called with the job, in its thread, when it has ended in whatever way.

    Examples
    --------
    >>> from hyperspy_zlpml.compute.progress import steps
    >>> from hyperspy_zlpml.signals.background import Job
    >>> def count():
    ...     with steps("Counting", 3, show=False) as advance:
    ...         advance(3)
    ...     return "three"
    >>> told = []
    >>> job = Job(count, tell=lambda *progress: told.append(progress), done=lambda job: None)
    >>> job.result(), told
    ('three', [('Counting', 3, 3)])
    """

    def __init__(self, function, tell, done):
        self._function, self._tell, self._done = function, tell, done
        self._is_cancelled = threading.Event()
        self._result = None
        #: What ended the work before its time, or None.
        self.error = None
        self._thread = threading.Thread(target=self._work, name="hyperspy_zlpml", daemon=True)
        self._thread.start()

    @property
    def is_running(self):
        """Whether it has not ended yet."""
        return self._thread.is_alive()

    def cancel(self):
        """Ask it to end, which it does at the next step of its work."""
        self._is_cancelled.set()

    def result(self, timeout=None):
        """Wait for the end, and take what was found.

        Parameters
        ----------
        timeout : float, optional
            Longest time to wait, s.

        Returns
        -------
        what the function returns
            None where it was ended before its time, see ``error``.

        Raises
        ------
        TimeoutError
            If it has not ended then.
        """
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError(f"timeout: the work has not ended within {timeout:g} s.")
        return self._result

    def _work(self):
        try:
            with report_progress(self._advance):
                self._result = self._function()
        except BaseException as error:  # of any kind: it is shown by who waits
            self.error = error
        self._done(self)

    def _advance(self, title, done, total):
        if self._is_cancelled.is_set():
            raise Cancelled
        self._tell(title, done, total)
