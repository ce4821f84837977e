"""The rows next to PatchCore's in tables S1-S3 that rest on the same frozen features, one file each.

    from pclib.methods import PaDiM
    detector = PaDiM().fit(category.train)
    print(pclib.evaluate(detector.score(category.test)))

All fit, score, save and load as PatchCore does. How each row of the tables was run is in `pclib.configurations`.
"""

from pclib.methods.mahalanobis import MahalanobisAD
from pclib.methods.ocsvm import OCSVM
from pclib.methods.padim import PaDiM
from pclib.methods.spade import SPADE

__all__ = ["OCSVM", "SPADE", "MahalanobisAD", "PaDiM"]
