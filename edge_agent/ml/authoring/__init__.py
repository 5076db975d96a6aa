"""This is where models are made that learn on the device, in the words of coremltools."""

from edge_agent.ml.authoring.hyperparameters import AdamParams, SgdParams
from edge_agent.ml.authoring.neighbors import KNearestNeighborsClassifierBuilder
from edge_agent.ml.authoring.network import Array, NeuralNetworkBuilder

__all__ = ["AdamParams", "Array", "KNearestNeighborsClassifierBuilder", "NeuralNetworkBuilder", "SgdParams"]
