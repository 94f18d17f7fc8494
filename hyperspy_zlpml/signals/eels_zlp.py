# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals of EELS spectra whose zero-loss peak can be removed: a thin layer over :mod:`.remove`."""

from exspy.signals import EELSSpectrum, LazyEELSSpectrum

from hyperspy_zlpml.arguments import named
from hyperspy_zlpml.search.search import asked_for
from hyperspy_zlpml.signals import remove, search, tools
from hyperspy_zlpml.signals.train import train_signal
from hyperspy_zlpml.workflow import Options


class EELSZLPSpectrum(EELSSpectrum):
    """Low-loss EELS spectra with zero-loss peak removal by neural networks.

    Everything of :class:`exspy.signals.EELSSpectrum` works as before. Make one with
    ``s.set_signal_type("EELS_ZLPML")`` or ``hs.load(file, signal_type="EELS_ZLPML")``.
    """

    _signal_type = "EELS_ZLPML"

    # Every keyword of the two methods is a choice of the user.
    @named
    def remove_zlp_ml(  # noqa: PLR0913
        self,
        n_clusters=5,
        cluster_by="zlp",
        n_replicas=100,
        regions=None,
        vacuum=None,
        navigation_mask=None,
        ensemble=None,
        confidence=0.68,
        replica_kind="gaussian",
        settings=None,
        random_state=None,
        show_progressbar=None,
        lazy_output=None,
        device="auto",
        interactive=False,
        display=True,
        toolkit=None,
    ):
        """Remove the zero-loss peak (ZLP) and say how well it is known.

        The spectra are clustered by thickness; an ensemble of small neural networks, each
        trained on its own Monte Carlo replica of the pure-ZLP parts of the data, predicts the
        peak of every spectrum, which is matched to the spectrum and subtracted [1]_ [2]_. The
        signal itself is not changed.

        Parameters
        ----------
        n_clusters : int or "auto"
            Clusters of equal thickness, at most 50.
        cluster_by : "zlp", "total", "log_ratio", or map
            Proxy of thickness: logarithm of the ZLP's intensity, of the total counts, of the
            total over the ZLP; or a map (BaseSignal or array of the navigation shape) that
            grows with thickness.
        n_replicas : int
            Networks to train, 2 to 10 000. The cost per spectrum does not depend on it.
        regions : dict, optional
            Limits that override those found from the data, in the units of the energy axis from
            the peak: ``E_I``, end of the pure ZLP; ``E_II``, where it has fallen below the noise;
            ``gain_limit``, the end of the pure ZLP on the gain side (negative). One number or one
            per cluster. ``E_I`` and ``gain_limit`` bind every pixel, those of vacuum too: none is
            matched beyond them. (The report is in eV, whatever the axis.)
        vacuum : signal, boolean map or bool, optional
            Vacuum spectra measured with the same dispersion: no pixel of the image is vacuum then;
            or which pixels see vacuum: a map, True for all, False for none. By default such pixels
            are looked for, and found where others scatter clearly more: where all are alike none is
            vacuum, and a warning says so.
        navigation_mask : boolean map, optional
            Pixels to leave out (True): not trained on, NaN in every result.
        ensemble : Ensemble, optional
            Trained before, by :meth:`train_zlp_ml`, or from :func:`hyperspy_zlpml.load`. Nothing is
            trained then: the shapes of the peak are those of the ensemble, everything else is found
            in the image: ``n_replicas``, ``replica_kind``, ``device`` (a warning says so), and ``settings``
            but for its ``n_clusters``, have no effect. One trained with conditions is used at the setting that
            the metadata tell, unless ``ensemble.at(...)`` chose one.
        confidence : float
            Probability inside the band of ``lower`` and ``upper``.
        replica_kind : "gaussian" or "spectra"
            Pseudo-data from central values and covariance [1]_, or spectra drawn from the
            clusters [2]_.
        settings : TrainingSettings, optional
            Architecture of the networks, and constants of the training, as :meth:`search_zlp_ml`
            finds them; its ``n_clusters`` and ``replica_kind`` take the place of the arguments of
            these names.
        random_state : int or numpy.random.Generator, optional
            Same state, same numbers.
        show_progressbar : bool, optional
            Default from HyperSpy's preferences.
        lazy_output : bool, optional
            Default: lazy results for a lazy signal.
        device : str
            Device of PyTorch to train on: "cpu", "cuda", "cuda:1"...; "auto" is CUDA where there
            is one. Networks are applied by NumPy, whatever it is.
        interactive : bool
            Whether to open a window with these options, instead of removing at once; needs
            ``hyperspy_gui_ipywidgets`` or ``hyperspy_gui_traitsui``.
        display : bool
            Whether to show the widgets of the window; otherwise they are returned in a dictionary.
        toolkit : str, sequence of str or None
            Toolkits of widgets; default all that are installed and enabled.

        Returns
        -------
        ZLPRemoval
            With ``subtracted``, ``zlp``, ``std``, ``lower``, ``upper``, maps and ``report``.
            With ``interactive=True`` the :class:`.ZLPRemovalTool`, which has it as ``result``, or
            with ``display=False`` the widgets of each toolkit.

        Raises
        ------
        NoZeroLossPeakError
            If no spectrum has a usable peak.
        TooFewReplicasError
            If fewer than half of the networks could be trained.
        OtherZeroLossPeakError
            If the peaks are of another shape than those that ``ensemble`` was trained on.
        ValueError
            If the energy axis or an argument is not what it must be, or the device cannot be used.

        Notes
        -----
        With a ``dask.distributed.Client`` active, networks are trained on its workers, and lazy
        data are worked on where they lie; the numbers are the same.

        References
        ----------
        .. [1] L. I. Roest et al., Ultramicroscopy 222, 113202 (2021).
        .. [2] A. Brokkelkamp et al., J. Phys. Chem. A 126, 1255 (2022).

        Examples
        --------
        >>> import hyperspy_zlpml.data
        >>> s = hyperspy_zlpml.data.ws2_like((4, 4), n_channels=512, random_state=0).signal
        >>> r = s.remove_zlp_ml(
        ...     n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
        ... )
        >>> r.subtracted
        <EELSZLPSpectrum, title: WS2-like flake ZLP removed, dimensions: (4, 4|512)>
        >>> bool((r.lower.data <= r.upper.data).all())
        True
        """
        options = Options(
            n_clusters=n_clusters,
            cluster_by=cluster_by,
            n_replicas=n_replicas,
            regions=regions,
            vacuum=vacuum,
            navigation_mask=navigation_mask,
            confidence=confidence,
            replica_kind=replica_kind,
            settings=settings,
            random_state=random_state,
            show_progressbar=show_progressbar,
            device=device,
        )
        if tools.is_wanted(interactive, display):
            remove.check(self, options, ensemble, lazy_output)
            more = {"ensemble": ensemble, "lazy_output": lazy_output}
            return tools.open_tool(self, options, more=more, display=display, toolkit=toolkit)
        return remove.remove(self, options, ensemble, lazy_output)

    @named
    def train_zlp_ml(  # noqa: PLR0913
        self,
        n_clusters=5,
        cluster_by="zlp",
        n_replicas=100,
        regions=None,
        vacuum=None,
        navigation_mask=None,
        replica_kind="gaussian",
        settings=None,
        random_state=None,
        show_progressbar=None,
        device="auto",
    ):
        """Train an ensemble without applying it.

        Parameters
        ----------
        n_clusters, cluster_by, n_replicas, regions, vacuum, navigation_mask, replica_kind, \
settings, random_state, show_progressbar, device
            See :meth:`remove_zlp_ml`.

        Returns
        -------
        Ensemble
            For ``other.remove_zlp_ml(ensemble=...)``.

        Examples
        --------
        An ensemble serves other images of the same instrument, whatever their size and dose:

        >>> from hyperspy_zlpml.data import ws2_like
        >>> one = ws2_like((4, 4), n_channels=512, random_state=0).signal
        >>> ensemble = one.train_zlp_ml(
        ...     n_clusters=2, n_replicas=4, random_state=0, show_progressbar=False
        ... )
        >>> other = ws2_like((6, 5), n_channels=512, peak_counts=1e6, random_state=1).signal
        >>> other.remove_zlp_ml(n_clusters=2, ensemble=ensemble, show_progressbar=False)
        <ZLPRemoval, dimensions: (6, 5|512), 4 replicas, 2 clusters>
        """
        options = Options(
            n_clusters=n_clusters,
            cluster_by=cluster_by,
            n_replicas=n_replicas,
            regions=regions,
            vacuum=vacuum,
            navigation_mask=navigation_mask,
            replica_kind=replica_kind,
            settings=settings,
            random_state=random_state,
            show_progressbar=show_progressbar,
            device=device,
        )
        return train_signal(self, options)

    @named
    def search_zlp_ml(  # noqa: PLR0913
        self,
        n_evaluations=40,
        n_trainings=5,
        start=None,
        storage=None,
        timeout=None,
        n_workers=None,
        n_replicas=10,
        cluster_by="zlp",
        regions=None,
        vacuum=None,
        navigation_mask=None,
        random_state=None,
        show_progressbar=None,
        device="auto",
    ):
        """Search for the settings of a training that suit these spectra, by evolution.

        Hidden layers, activation, weight prior, modes, clusters, kind of replicas and the spread of
        ``E_I`` are bred from generation to generation (NSGA-II [1]_, of Optuna), by two
        objectives: the predictive log score of tails in spectra that were held out, and the work of
        the training. The best is then judged against the defaults on spectra that took no part.
        Needs the extra ``search``.

        Parameters
        ----------
        n_evaluations : int
            Settings to evaluate, those in ``storage`` included.
        n_trainings : int
            Trainings of the best settings, and of the defaults, that are compared at the end.
        start : TrainingSettings, optional
            Settings that the first generation begins with; the defaults by default. The others of
            it are drawn at random.
        storage : str or Path, optional
            File to keep the search in. A search that was interrupted goes on where it was, and
            finds what it would have found.
        timeout : float, optional
            Seconds after which no more settings are evaluated; the comparison at the end is not
            counted.
        n_workers : int, optional
            Settings evaluated at once, each on one core; the numbers do not depend on it. By
            default one for each core, or with a ``dask.distributed.Client`` active for each thread
            of its workers.
        n_replicas : int
            Networks of each training: fewer than a removal needs.
        cluster_by, regions, vacuum, navigation_mask, random_state, show_progressbar, device
            See :meth:`remove_zlp_ml`. ``regions`` holds one number for each limit.

        Returns
        -------
        SettingsSearch
            ``settings`` for ``remove_zlp_ml(settings=...)``, ``summary``, ``history``, ``plot()``.

        Raises
        ------
        ImportError
            If Optuna is not installed.
        NoZeroLossPeakError
            If fewer than 24 spectra have a usable peak.
        ValueError
            If an argument is not what it must be, or ``storage`` holds another search.

        References
        ----------
        .. [1] K. Deb et al., IEEE Trans. Evol. Comput. 6, 182 (2002).

        Examples
        --------
        >>> from hyperspy_zlpml.data import ws2_like
        >>> s = ws2_like((8, 8), n_channels=512, random_state=0).signal
        >>> found = s.search_zlp_ml(
        ...     n_evaluations=2, n_trainings=2, n_replicas=4, random_state=0, show_progressbar=False
        ... )
        >>> found.settings
        TrainingSettings(hidden_layers=(10, 15, 5), activation='tanh', prior=1.0, n_modes=4, limit_spread=0.3, n_clusters=5, replica_kind='gaussian')
        """
        options, plan = asked_for(
            n_evaluations=n_evaluations,
            n_trainings=n_trainings,
            start=start,
            storage=storage,
            timeout=timeout,
            n_workers=n_workers,
            n_replicas=n_replicas,
            cluster_by=cluster_by,
            regions=regions,
            vacuum=vacuum,
            navigation_mask=navigation_mask,
            random_state=random_state,
            show_progressbar=show_progressbar,
            device=device,
        )
        return search.search(self, options, plan)

    def estimate_zlp_parameters(self, show_progressbar=None):
        """Measure centre, width and intensity of the zero-loss peak of every spectrum.

        The centre is found between the channels, by a parabola through the logarithm of the top
        of the peak; the width from interpolated half-height crossings; the intensity is the sum
        within one FWHM on both sides of the centre.

        Parameters
        ----------
        show_progressbar : bool, optional

        Returns
        -------
        centre, fwhm, intensity : BaseSignal
            Maps over the navigation space, energies in the units of the axis; NaN where a
            spectrum has no usable peak.

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_zlpml.data import ws2_like
        >>> sample = ws2_like((4, 4), n_channels=512, random_state=0)
        >>> centre, fwhm, intensity = sample.signal.estimate_zlp_parameters(show_progressbar=False)
        >>> bool(np.abs(centre.data - sample.centre.data).max() < 0.005)  # eV, of 0.025 a channel
        True
        """
        return remove.peak_maps(self, show_progressbar)


class LazyEELSZLPSpectrum(EELSZLPSpectrum, LazyEELSSpectrum):
    """Lazy twin of :class:`EELSZLPSpectrum`."""

    _lazy = True

    def compute(self, *args, **kwargs):
        """Compute the data, and the noise variance if that is lazy too.

        See :meth:`hyperspy.api.signals.LazySignal1D.compute` for the parameters. HyperSpy leaves
        the variance lazy, which its fits cannot use.
        """
        variance = self.get_noise_variance()
        super().compute(*args, **kwargs)
        if getattr(variance, "_lazy", False):
            variance.compute(*args, **kwargs)
