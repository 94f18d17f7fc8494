# SPDX-License-Identifier: GPL-3.0-or-later
"""Error of the pedestal in what is subtracted: one number, the same in all channels of all spectra.

Too much that is taken off everywhere is missing from the tail that is learnt from spectra of the full beam: of such spectra
pedestal and ZLP together stay right. A specimen weakens the peak with its tail, and not the pedestal: of half of the beam
half of the error is left. No match tells it: losses that are spilled to the gain side are fitted with it taken for right.
"""

from dataclasses import replace

import numpy as np
from scipy.integrate import trapezoid


def with_pedestal_error(table, error, *, log_beam, log_dose, channels_per_fwhm):
    """Add to a table of shapes what an error of the pedestal makes of them.

    Parameters
    ----------
    table : ShapeTable
    error : float
        Standard error of the pedestal, counts per channel.
    log_beam : float
        ln N0 of the beam in whose spectra the tail was seen, as the table counts it; infinite where the tail was learnt
        apart from this pedestal.
    log_dose : float
        What is added to ln N0 of the table to make it that of the counts.
    channels_per_fwhm : float

    Returns
    -------
    ShapeTable
        As it was where the pedestal is certain.

    Examples
    --------
    An error of 10 counts under a peak of half of the beam, 1000 counts high, whose tail holds 1 there:

    >>> from dataclasses import replace
    >>> import numpy as np
    >>> from hyperspy_zlpml.removal.pedestal_error import with_pedestal_error
    >>> from hyperspy_zlpml.zlp.grid import Grid
    >>> from hyperspy_zlpml.zlp.tables import ShapeTable
    >>> grid = Grid.covering(-20, 20)
    >>> table = ShapeTable.of_reference(grid, np.maximum(-4 * np.log(2) * grid.u**2, np.log(1e-3)))
    >>> log_n0 = np.log(1000 * 10 * 1.044)  # ten channels per FWHM
    >>> of_half = replace(table, log_intensity_nodes=np.array([log_n0]))
    >>> found = with_pedestal_error(
    ...     of_half, 10.0, log_beam=log_n0 + np.log(2), log_dose=0.0, channels_per_fwhm=10.0
    ... )
    >>> round(float(np.sinh(found.pedestal_error[0, -1])), 1)
    5.0
    """
    if not error > 0:
        return table
    u, shape = table.grid.u, np.exp(table.log_shape)
    core = np.abs(u) < 1
    area = channels_per_fwhm * trapezoid(shape[:, core], u[core], axis=-1)
    height = np.exp(table.log_intensity_nodes + log_dose) / area
    of_beam = np.exp(log_beam + log_dose) / area
    counts = error * (1 / height - 1 / of_beam)
    return replace(table, pedestal_error=np.arcsinh(counts[:, None] / shape).astype(table.dtype))


def counts_of_error(table, log_intensity, log_height):
    """Look up what the error of the pedestal leaves in every channel of spectra.

    Parameters
    ----------
    table : ShapeTable
    log_intensity, log_height : ndarray of shape (n_spectra,)
        ln N0, and the logarithm of the counts in the highest channel.

    Returns
    -------
    ndarray of shape (n_spectra,)
        Counts by one standard error.
    """
    at = table.at(log_intensity)
    # Alike at all energies: a FWHM from the peak, where the ZLP is far above it.
    u = np.ones((len(log_height), 1))
    relative, log_shape = (
        table.evaluate(u, at, values)[:, 0] for values in (table.pedestal_error, table.log_shape)
    )
    return np.sinh(relative) * np.exp(log_shape + log_height)
