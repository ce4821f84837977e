"""Explorers: put your hands on a coreset, a score, a feature, a metric, a table, a toybox.

Each is a `State` (what is chosen, and what follows from it, without widgets) shown by an `Explorer` (controls, pictures
and words).
"""

from pclib.widgets.coreset import CoresetExplorer, CoresetState
from pclib.widgets.material import Material, gather
from pclib.widgets.scores import ScoreExplorer, ScoreState

__all__ = ["CoresetExplorer", "CoresetState", "Material", "ScoreExplorer", "ScoreState", "gather"]
