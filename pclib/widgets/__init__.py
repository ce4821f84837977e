"""Explorers: put your hands on a coreset, a score, a feature, a metric, a table, a toybox.

Each is a `State` (what is chosen, and what follows from it, without widgets) shown by an `Explorer` (controls, pictures
and words).
"""

from pclib.widgets.coreset import CoresetExplorer, CoresetState
from pclib.widgets.features import FeatureExplorer, FeatureState
from pclib.widgets.material import Material, gather
from pclib.widgets.metrics import MetricExplorer, MetricState
from pclib.widgets.scores import ScoreExplorer, ScoreState
from pclib.widgets.tables import TableExplorer, TableState
from pclib.widgets.toybox import ToyboxExplorer, ToyboxState

__all__ = [
    "CoresetExplorer",
    "CoresetState",
    "FeatureExplorer",
    "FeatureState",
    "Material",
    "MetricExplorer",
    "MetricState",
    "ScoreExplorer",
    "ScoreState",
    "TableExplorer",
    "TableState",
    "ToyboxExplorer",
    "ToyboxState",
    "gather",
]
