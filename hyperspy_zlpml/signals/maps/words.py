# SPDX-License-Identifier: GPL-3.0-or-later
"""Say in words what maps hold: titles, units, medians, and the reasons that there are."""

import numpy as np

from hyperspy_zlpml.compute.user_warnings import counted
from hyperspy_zlpml.physics.reasons import Reason

#: Where the metadata keep what the numbers of a map of reasons mean.
LEGEND = "ZLP_ML.legend"
#: How the titles of maps of reasons begin, after the title of the data.
REASONS_OF = "reasons of "
#: Decimals of a number that are written out at most.
_MOST_DECIMALS = 6
#: Errors below this part of the largest value are those of rounding.
_ROUNDING = 1e-12


def title_of(signal):
    """Read the title of a signal; that of reasons names what they are reasons of.

    Parameters
    ----------
    signal : BaseSignal

    Returns
    -------
    str
    """
    return signal.metadata.get_item("General.title", "").replace(REASONS_OF, "")


def units_of(signal):
    """Read the units of a map, empty where it has none.

    Parameters
    ----------
    signal : BaseSignal

    Returns
    -------
    str

    Examples
    --------
    >>> from hyperspy.signals import BaseSignal
    >>> from hyperspy_zlpml.signals.maps.words import units_of
    >>> signal = BaseSignal([1.0])
    >>> signal.metadata.Signal.quantity = "Energy (eV)"
    >>> units_of(signal)
    'eV'
    """
    quantity = signal.metadata.get_item("Signal.quantity", "")
    return quantity.rpartition("(")[2].rstrip(")") if quantity.endswith(")") else ""


def rounded_alike(value, *errors):
    """Write a number and its errors with the same decimals: two digits of the largest error.

    Parameters
    ----------
    value : float
    *errors : float
        At least one digit of each is written that is not zero; those that are not finite count for none.

    Returns
    -------
    list of str
        Of the number, and of each error; of a number without errors four digits.

    Examples
    --------
    >>> from hyperspy_zlpml.signals.maps.words import rounded_alike
    >>> rounded_alike(1.6449, 0.1, 0.024), rounded_alike(24.04, 0.103), rounded_alike(312.7, 52.0, 0.3)
    (['1.64', '0.10', '0.02'], ['24.04', '0.10'], ['312.7', '52.0', '0.3'])
    >>> rounded_alike(1.6449), rounded_alike(2.5e-9, 1e-10)
    (['1.645'], ['2.5e-09', '1e-10'])
    """
    known = [abs(error) for error in errors if np.isfinite(error) and error]
    # Powers of ten of the last digits: of the largest error the second, of others the first.
    last = [*np.floor(np.log10(known)), np.floor(np.log10(max(known))) - 1] if known else []
    decimals = max(0, *(-int(one) for one in last)) if last else _MOST_DECIMALS + 1
    if decimals > _MOST_DECIMALS or abs(value) > 10**_MOST_DECIMALS:
        return [f"{value:.4g}", *(f"{error:.2g}" for error in errors)]
    return [f"{one:.{decimals}f}" for one in (value, *errors)]


def summary(values, std=None, systematic=None, units="", holds=True):
    """Say in a few words what a map holds: medians are those of pixels that hold, where there are any.

    Parameters
    ----------
    values : ndarray
        NaN where a pixel has no number; infinite ones, as indices of metals, are counted apart.
    std, systematic : ndarray, optional
        Its errors.
    units : str
    holds : bool or ndarray of bool
        Pixels whose number is not to be read with care.

    Returns
    -------
    str

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.signals.maps.words import summary
    >>> gap = np.array([1.6, 1.7, np.nan])
    >>> summary(gap, 0.1 + 0 * gap, 0.02 + 0 * gap, units="eV")
    'median 1.65 +- 0.10 (std) +- 0.02 (systematic) eV in 2 of 3 pixels'
    >>> summary(gap, units="eV", holds=gap > 1.65)
    'median 1.7 eV in 1 of 3 pixels, 1 more to be read with care'
    >>> summary(gap, units="eV", holds=False)
    'median 1.65 eV in 2 of 3 pixels, all to be read with care'
    """
    known, n_infinite = np.isfinite(values), int(np.isinf(values).sum())
    doubtful = known & ~np.broadcast_to(holds, known.shape)
    with_care = f"{doubtful.sum()} more to be read with care" if doubtful.any() else ""
    if doubtful.any() and (doubtful == known).all():
        with_care = "all to be read with care"
    else:
        known = known & ~doubtful
    pixels = counted(known.size, "pixel", "pixels")
    infinite = f"infinite in {n_infinite} of {pixels}"
    if not known.any():
        return infinite if n_infinite else f"no number in {pixels}"
    largest = np.abs(values[known]).max()
    errors = {
        name: np.nanmedian(error[known])
        for name, error in (("std", std), ("systematic", systematic))
        if error is not None and np.nanmax(error[known], initial=0.0) > _ROUNDING * largest
    }
    middle, *rounded = rounded_alike(np.median(values[known]), *errors.values())
    words = [f"+- {error} ({name})" for name, error in zip(errors, rounded, strict=True)]
    found = " ".join(
        filter(None, (f"median {middle}", *words, units, f"in {known.sum()} of {pixels}"))
    )
    return ", ".join(filter(None, (found, with_care, infinite if n_infinite else "")))


def has_legend(signal):
    """Tell whether a map is one of reasons.

    Parameters
    ----------
    signal : BaseSignal

    Returns
    -------
    bool
    """
    return signal.metadata.has_item(LEGEND)


def explained(reasons):
    """List the reasons that a map of them holds, with what they mean for its quantity.

    Parameters
    ----------
    reasons : BaseSignal
        Of :func:`.reason_map`.

    Returns
    -------
    dict of str to str

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy.signals import BaseSignal
    >>> from hyperspy_zlpml.physics.reasons import legend
    >>> from hyperspy_zlpml.signals.maps.words import LEGEND, explained
    >>> reasons = BaseSignal(np.array([0, 8]))
    >>> reasons.metadata.set_item(LEGEND, legend())
    >>> explained(reasons)
    {'MISFIT': 'the model does not fit the data'}
    """
    meaning = reasons.metadata.get_item(LEGEND).as_dictionary()
    found = [meaning[str(int(reason))] for reason in count_reasons(np.asarray(reasons.data))]
    return dict(one.split(": ", 1) for one in found)


def count_reasons(codes):
    """Count the reasons of some pixels, the most frequent first.

    Parameters
    ----------
    codes : ndarray of int

    Returns
    -------
    dict of Reason to int
        Without pixels that have none.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_zlpml.signals.maps.words import count_reasons
    >>> {reason.name: n for reason, n in count_reasons(np.array([0, 8, 5, 5])).items()}
    {'NOT_SIGNIFICANT': 2, 'MISFIT': 1}
    """
    found, counts = np.unique(codes, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {Reason(int(found[k])): int(counts[k]) for k in order if found[k] != Reason.NONE}


def answers(reasons):
    """Say how many pixels have an answer that holds, and why others have not.

    Parameters
    ----------
    reasons : BaseSignal
        Of :func:`.reason_map`.

    Returns
    -------
    str

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy.signals import BaseSignal
    >>> from hyperspy_zlpml.signals.maps.words import answers
    >>> answers(BaseSignal(np.array([0, 0, 5])))
    '2 of 3 pixels hold, NOT_SIGNIFICANT 1'
    """
    codes = np.asarray(reasons.data)
    others = [f"{reason.name} {n}" for reason, n in count_reasons(codes).items()]
    pixels = counted(codes.size, "pixel", "pixels")
    return ", ".join([f"{int((codes == Reason.NONE).sum())} of {pixels} hold", *others])
