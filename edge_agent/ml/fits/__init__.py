"""This is where the ways to train a head in iterations are listed."""

from collections.abc import Mapping

from edge_agent.ml.fits.auto import AutoFit
from edge_agent.ml.fits.lda import LDAFit
from edge_agent.ml.fits.logistic import LogisticFit
from edge_agent.ml.fits.perceptron import PerceptronFit
from edge_agent.ml.fits.protocol import Fit, FitData, FitMetrics

__all__ = ["FITS", "Fit", "FitData", "FitMetrics"]

FITS: Mapping[str, type[Fit]] = {one.name: one for one in (LogisticFit, PerceptronFit, LDAFit, AutoFit)}
