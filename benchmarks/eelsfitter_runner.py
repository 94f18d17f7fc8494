# SPDX-License-Identifier: GPL-3.0-or-later
"""Train EELSFitter on an image and predict the ZLP of some of its spectra.

Run by the Python of the environment that ``make bench-peers`` makes, not by that of this project;
``peers.eelsfitter`` does so. Everything but the options below is EELSFitter's default.
"""

import argparse
import os
import random
import tempfile
import time

os.environ["MPLBACKEND"] = "agg"

import numpy as np
import torch
from EELSFitter import SpectralImage

#: Median and the limits of the interval that EELSFitter gives, in percent.
PERCENTILES = (50, 16, 84)


def main():
    """Read the image, write the ZLP of the spectra asked for."""
    options = arguments()
    random.seed(options.seed)
    np.random.seed(options.seed)
    torch.manual_seed(options.seed)
    if options.threads:
        torch.set_num_threads(options.threads)
    with np.load(options.source) as stored:
        energy, counts = stored["energy"], stored["counts"].astype(float)
    image = SpectralImage(counts, deltaE=float(energy[1] - energy[0]))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        image.train_zlp_models(
            n_clusters=options.clusters,
            n_replica=options.replicas,
            n_epochs=options.epochs,
            path_to_models=folder,
        )
        seconds_training = time.perf_counter() - start
        image.load_zlp_models(path_to_models=folder)

    pixels = options.pixels or range(image.n_spectra)
    start = time.perf_counter()
    summaries = [summary(image, pixel) for pixel in pixels]
    seconds_per_pixel = (time.perf_counter() - start) / len(summaries)
    zlp, lower, upper = np.stack(summaries, 1)
    np.savez(
        options.target,
        zlp=zlp,
        lower=lower,
        upper=upper,
        n_kept=len(image.zlp_models),
        seconds_training=seconds_training,
        seconds_per_pixel=seconds_per_pixel,
    )


def arguments():
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="npz file of energy and counts (ny, nx, n_energy)")
    parser.add_argument("target", help="npz file to be written")
    parser.add_argument("--replicas", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--clusters", type=int, default=5)
    parser.add_argument("--pixels", type=int, nargs="+", help="flat indices; default is all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="default is PyTorch's own")
    return parser.parse_args()


def summary(image, pixel):
    """Percentiles of the matched ZLP of one spectrum over the replicas, NaN where there is none."""
    missing = np.full((len(PERCENTILES), image.shape[2]), np.nan)
    if not image.zlp_models:
        return missing
    try:
        matched = image.get_pixel_matched_zlp_models(*divmod(pixel, image.shape[1]))
    except (IndexError, ValueError):
        return missing  # the windows of its matching overlap, or leave the axis
    return np.nanpercentile(matched, PERCENTILES, axis=0)


if __name__ == "__main__":
    main()
