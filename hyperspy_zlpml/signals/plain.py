# SPDX-License-Identifier: GPL-3.0-or-later
"""Removal from spectra of any signal type."""

from dataclasses import replace

from hyperspy.signals import Signal1D

from hyperspy_zlpml import arguments
from hyperspy_zlpml.signals.arrays import one_at_a_signal
from hyperspy_zlpml.signals.result import ZLPRemoval

#: Type of the signals that have the method.
_SIGNAL_TYPE = "EELS_ZLPML"


def remove_zlp_ml(signal, **options):
    """Remove the zero-loss peak of a signal of any type, as it was loaded.

    Signals have the method ``remove_zlp_ml`` once they are of the type of this package; this function
    sees to that. The signal keeps its type, and its data are not copied.

    Parameters
    ----------
    signal : Signal1D
        EELS spectra, such as :class:`exspy.signals.EELSSpectrum`, lazy or not.
    **options
        Of :meth:`EELSZLPSpectrum.remove_zlp_ml`.

    Returns
    -------
    ZLPRemoval
        See :meth:`EELSZLPSpectrum.remove_zlp_ml`; its spectra are :class:`EELSZLPSpectrum`, with all
        methods of eXSpy.

    Raises
    ------
    ValueError
        If it is no signal with one signal axis, or for an option what the method raises.

    Examples
    --------
    >>> import hyperspy_zlpml
    >>> from hyperspy_zlpml.data import ws2_like
    >>> s = ws2_like((4, 4), n_channels=512, random_state=0).signal
    >>> s.set_signal_type("EELS")
    >>> hyperspy_zlpml.remove_zlp_ml(
    ...     s, n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
    ... )
    <ZLPRemoval, dimensions: (4, 4|512), 4 replicas, 2 clusters>
    >>> s
    <EELSSpectrum, title: WS2-like flake, dimensions: (4, 4|512)>
    """
    arguments.instance(signal, "signal", Signal1D, " of EELS spectra; as_signal1D makes one")
    if hasattr(signal, "remove_zlp_ml"):
        return signal.remove_zlp_ml(**options)
    with one_at_a_signal:
        typed = signal._deepcopy_with_new_data(signal.data, copy_variance=True)
        typed.set_signal_type(_SIGNAL_TYPE)
    result = typed.remove_zlp_ml(**options)
    if not isinstance(result, ZLPRemoval):  # a window
        return result
    # Settings of the microscope are read from the signal that the user has, and its navigator counts.
    result._follower.watch(signal.axes_manager)
    return replace(result, _source=signal)
