# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove the zero-loss peak, write results and a figure: ``python -m hyperspy_zlpml [FILE]``."""

import argparse
import sys
import time
from pathlib import Path

#: Folder of the results and file of the figure, in the directory of the output.
_RESULT = "result"
_FIGURE = "zlp_removal.png"


def main(arguments=None):
    """Run the removal on a file, or on the WS2-like sample image, and save everything.

    Parameters
    ----------
    arguments : list of str, optional
        Default: those of the command line.

    Returns
    -------
    int
        Exit status: 0, or 1 after an error.
    """
    options = _parser().parse_args(arguments)

    import matplotlib

    matplotlib.use("agg")
    from hyperspy_zlpml.signals.figures import plot_overview

    try:
        signal = _load(options)
        start = time.perf_counter()
        clusters = options.clusters if options.clusters == "auto" else int(options.clusters)
        result = signal.remove_zlp_ml(
            n_clusters=clusters,
            n_replicas=options.replicas,
            random_state=options.seed,
            show_progressbar=True,
        )
        result.compute("subtracted", show_progressbar=True)
        seconds = time.perf_counter() - start
        output = Path(options.output)
        result.save(output / _RESULT, overwrite=True)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    plot_overview(result).savefig(output / _FIGURE, dpi=110)
    print(result.report)
    print(
        f"\n{signal} in {seconds:.1f} s\n"
        f"results in {output / _RESULT}/*.zspy, figure in {output / _FIGURE}"
    )
    return 0


def _parser():
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m hyperspy_zlpml", description=__doc__)
    parser.add_argument(
        "file", nargs="?", help="low-loss data that HyperSpy can read; default: a sample image"
    )
    parser.add_argument("--output", default="demo_output", help="directory of the results")
    parser.add_argument("--replicas", type=int, default=100, help="networks to train")
    parser.add_argument("--clusters", default="5", help="number of clusters, or auto")
    parser.add_argument("--lazy", action="store_true", help="do not load the data into memory")
    parser.add_argument("--seed", type=int, default=0, help="random state")
    return parser


def _load(options):
    """Load the largest signal of spectra of the file, or simulate the sample image."""
    if options.file is None:
        from hyperspy_zlpml.data import ws2_like

        signal = ws2_like(random_state=options.seed).signal
        return signal.as_lazy() if options.lazy else signal
    import hyperspy.api as hs

    loaded = hs.load(options.file, signal_type="EELS_ZLPML", lazy=options.lazy)
    signals = loaded if isinstance(loaded, list) else [loaded]
    spectra = [s for s in signals if hasattr(s, "remove_zlp_ml")]
    if not spectra:
        raise ValueError(f"{options.file} holds no spectra: {signals}")
    return max(spectra, key=lambda s: s.data.size)


if __name__ == "__main__":
    sys.exit(main())
