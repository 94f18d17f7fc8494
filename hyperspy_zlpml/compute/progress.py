# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress bars for work that reports its steps."""

import contextlib


@contextlib.contextmanager
def training_bar(show):
    """Show the progress of a training.

    Parameters
    ----------
    show : bool

    Yields
    ------
    callable or None
        To be called with (steps done, of steps, median chi2); None where no bar is shown.

    Examples
    --------
    >>> from hyperspy_zlpml.compute.progress import training_bar
    >>> with training_bar(show=False) as report:
    ...     print(report)
    None
    """
    if not show:
        yield None
        return
    from tqdm.auto import tqdm

    with tqdm(desc="Training networks", total=1, unit=" steps") as bar:

        def report(done, total, chi2):
            bar.total = total
            bar.set_postfix(chi2=f"{chi2:.3g}", refresh=False)
            bar.update(done - bar.n)

        yield report
