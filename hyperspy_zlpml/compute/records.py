# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of what is known of every spectrum: arrays with one value, or one row, for each."""

from dataclasses import fields, replace

import numpy as np


class PerSpectrum:
    """Base of frozen dataclasses whose fields have the spectra on their first axis.

    Fields are arrays, named tuples of arrays, or records of this kind. Those that are common to all
    spectra are named in ``shared``.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import numpy as np
    >>> from hyperspy_zlpml.compute.records import PerSpectrum
    >>> @dataclass(frozen=True)
    ... class Peaks(PerSpectrum):
    ...     centre: np.ndarray
    ...     channel: np.ndarray
    >>> peaks = Peaks(np.array([0.1, 0.2]), np.array([7, 8]))
    >>> peaks.select([1])
    Peaks(centre=array([0.2]), channel=array([8]))
    >>> peaks.stack()
    array([[0.1, 7. ],
           [0.2, 8. ]])
    """

    #: Names of the fields that are common to all spectra.
    shared = ()

    @classmethod
    def _of_spectra(cls):
        """Names of the fields with one value, or one row, for each spectrum."""
        return [field.name for field in fields(cls) if field.name not in cls.shared]

    def select(self, index):
        """Take some of the spectra.

        Parameters
        ----------
        index : any index of NumPy

        Returns
        -------
        the same record
        """
        taken = {name: _taken(getattr(self, name), index) for name in self._of_spectra()}
        return replace(self, **taken)

    @classmethod
    def join(cls, records):
        """Join records of several sets of spectra.

        Parameters
        ----------
        records : sequence of records of this class
            What is common to all spectra is that of the first.

        Returns
        -------
        a record of this class
        """
        joined = {
            name: _joined([getattr(one, name) for one in records]) for name in cls._of_spectra()
        }
        return replace(records[0], **joined)

    def spread(self, rows):
        """Lay out over more spectra, with NaN for those that are not in the record.

        Parameters
        ----------
        rows : ndarray of bool of shape (n,)
            Which of the spectra are in the record.

        Returns
        -------
        a record of this class, of floating-point numbers

        Examples
        --------
        >>> from dataclasses import dataclass
        >>> import numpy as np
        >>> from hyperspy_zlpml.compute.records import PerSpectrum
        >>> @dataclass(frozen=True)
        ... class Peaks(PerSpectrum):
        ...     centre: np.ndarray
        >>> Peaks(np.array([0.1, 0.2])).spread(np.array([True, False, True]))
        Peaks(centre=array([0.1, nan, 0.2]))
        """
        stacked = self.stack()
        everywhere = np.full((rows.size, stacked.shape[-1]), np.nan)
        everywhere[rows] = stacked
        return self.unstack(everywhere)

    def stack(self):
        """Write all fields, one number for each spectrum, into one array.

        Returns
        -------
        ndarray of float of shape (..., n_fields)
            Fields on the last axis, in their order.
        """
        return np.stack(
            [np.asarray(getattr(self, field.name), float) for field in fields(self)], -1
        )

    @classmethod
    def unstack(cls, stacked):
        """Read all fields from what :meth:`stack` wrote, as floating-point numbers.

        Parameters
        ----------
        stacked : ndarray of shape (..., n_fields)

        Returns
        -------
        a record of this class
        """
        return cls(*np.moveaxis(np.asarray(stacked), -1, 0))


def _taken(values, index):
    """Take some spectra of an array, of several, of the arrays of a named tuple, or of a record."""
    if isinstance(values, PerSpectrum):
        return values.select(index)
    if isinstance(values, list):
        return [_taken(value, index) for value in values]
    if isinstance(values, tuple):
        return type(values)(*(value[index] for value in values))
    return values[index]


def _joined(values):
    """Join the arrays, named tuples of arrays, or records of several sets of spectra."""
    first = values[0]
    if isinstance(first, PerSpectrum):
        return first.join(values)
    if isinstance(first, tuple):
        return type(first)(*(np.concatenate(several) for several in zip(*values, strict=True)))
    return np.concatenate(values)
