"""OCSVM: a boundary around good pictures as wholes, drawn in a kernel's space.

Schölkopf et al., "Support Vector Method for Novelty Detection", NIPS 1999; on features of a pretrained network as in
Andrews et al., "Transfer Representation-Learning for Anomaly Detection", ICML 2016 workshop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from scipy.spatial.distance import cdist
from tqdm.auto import tqdm

from pclib._checks import fraction
from pclib.backbones import Backbone
from pclib.detector import Scores
from pclib.extraction import Progress
from pclib.framing import Pictures
from pclib.methods._method import Learned, Method
from pclib.methods.mahalanobis import pooled


class OCSVM(Method):
    """Scores a picture by how far it lies outside a one-class support vector machine's boundary. There are no maps.

    nu  bounds the share of good training pictures that may lie outside, in (0, 1]

    The kernel is exp(-γ |x - y|²) with γ = 1 / (d · variance of all values), which scikit-learn calls "scale". A score
    above 0 is outside. `learned`: `support` (s, d), `weights` (s,), `offset` and `gamma` (1,). The layers' maps are
    averaged over the picture and put side by side. The rest is as for all methods (`Method`).
    """

    kind = "ocsvm"
    levels: ClassVar = {"resnet": ("layer4",), "efficientnet": ("bn2",)}
    smaller = "give fewer pictures, or fewer layers="

    def __init__(
        self,
        backbone: str | Backbone = "tf_efficientnet_lite0",
        *,
        layers: Sequence[str] | None = None,
        nu: float = 0.1,
        resize: int | None = 256,
        crop: int = 224,
        device: str = "auto",
        precision: str = "float32",
    ) -> None:
        super().__init__(backbone, layers, resize, crop, device, precision)
        self.nu = float(fraction("nu", nu))

    @property
    def parameters(self) -> dict[str, Any]:
        return {"nu": self.nu}

    def memory(self, pictures: int) -> int:
        return 16 * pictures * sum(shape[0] for shape in self.shapes.values())

    def check_number(self, pictures: int) -> None:
        """Two are enough."""

    def learn(self, pictures: Pictures, progress: Progress = tqdm) -> Learned:
        from sklearn.svm import OneClassSVM

        vectors = np.hstack(pooled(self.backbone, pictures, "features", progress))
        if (vectors == vectors[0]).all():
            raise ValueError(
                f"all {len(vectors)} pictures have the same features, and there is no boundary around one point; give "
                "pictures that differ as good ones do"
            )
        gamma = 1 / (vectors.shape[1] * vectors.var())
        machine = OneClassSVM(kernel="rbf", gamma=gamma, nu=self.nu).fit(vectors)
        return {
            "support": machine.support_vectors_,
            "weights": machine.dual_coef_[0],
            "offset": machine.intercept_,
            "gamma": np.array([gamma]),
        }

    def score_pictures(self, pictures: Pictures, progress: Progress = tqdm) -> Scores:
        learned = self.known()
        vectors = np.hstack(pooled(self.backbone, pictures, "scoring", progress))
        kernel = np.exp(-learned["gamma"] * cdist(vectors, learned["support"], "sqeuclidean"))
        image = -(kernel @ learned["weights"] + learned["offset"])
        return Scores(image.astype(np.float32), None, pictures.samples, self.framing)
