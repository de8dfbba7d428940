r"""Acquisition functions over inputs: how much labels tell, and of what.

They see the joint Gaussian posterior of any BoTorch model with one output:
`mfal.models.AutoregressiveGP`, BoTorch's `SingleTaskMultiFidelityGP`, or `MultiTaskGP`
with its task column in the inputs. The level of a label is a column of X, so the level
is chosen with the place. X is b x q x d; the value of q labels is joint, exact given
pending ones, and differentiable in X: `optimize_acqf`, `optimize_acqf_mixed` and
`optimize_acqf_discrete` maximise it. Over a pool see `mfal.acquisition.information`.

A model that holds draws of its hyperparameters is taken as the Gaussian of their first
two moments, its posterior: what is pending is then conditioned on as that Gaussian says.
"""

import torch
from botorch.acquisition.cost_aware import CostAwareUtility
from botorch.models.model import Model
from jaxtyping import Float
from torch import Tensor

from mfal.acquisition.joint import CostModel, InputAcquisition, Joint
from mfal.acquisition.variance import check_weights, explained_variance
from mfal.models.posterior import log_det


class qParameterInformation(InputAcquisition):
    r"""Information of labels about the latent function (D-optimality, BALD), in nats.

    .. math:: I(y; f) = 1/2 [\log\det(Σ + N) - \log\det N]

    Monotone and submodular in the set of labels.

    Source: Lindley (1956); Houlsby et al. (2011), arXiv:1112.5745, for a GP.
    """

    def value(self, joint: Joint) -> Float[Tensor, " b"]:
        """Half the log det ratio of predicted and noise covariance."""
        observed = joint.covariance + joint.noise.diag_embed()
        return 0.5 * (log_det(observed) - joint.noise.log().sum(-1))


class qTargetInformation(InputAcquisition):
    r"""Information of labels about the highest level at targets, in nats.

    .. math:: I(y_c; f_T) = 1/2 [\log\det(Σ_c + N) - \log\det(Σ_{c|T} + N)]

    `targets` are inputs (at the highest level, say) that one wants to know up to a
    `tolerance`, the variance that is good enough (a number, or one per target): what is
    known that well already attracts no label. Conditioning on T is done once; the value
    of a batch `(b, q, d)` has shape `(b,)`.

    Source: Cover & Thomas (2006), Elements of Information Theory, eq. 8.48; MacKay (1992),
    Neural Computation 4, 590, for information about a region of interest.

    Raises:
        ValueError: no targets, or a tolerance that is not positive.
    """

    tolerance: Tensor

    def __init__(
        self,
        model: Model,
        targets: Float[Tensor, "t d"],
        tolerance: float | Float[Tensor, " t"],
        *,
        cost_model: CostModel | None = None,
        cost_aware_utility: CostAwareUtility | None = None,
        X_pending: Float[Tensor, "m d"] | None = None,
    ) -> None:
        variance = torch.as_tensor(tolerance).to(targets)
        if not len(targets) or not (variance > 0).all():
            raise ValueError(
                "target information needs targets, and a tolerance that is a positive "
                f"variance, got {len(targets)} targets and {tolerance}"
            )
        super().__init__(
            model,
            targets=targets,
            cost_model=cost_model,
            cost_aware_utility=cost_aware_utility,
            X_pending=X_pending,
        )
        self.register_buffer("tolerance", variance.expand(len(targets)))

    def set_X_pending(self, X_pending: Float[Tensor, "m d"] | None = None) -> None:
        """BoTorch's protocol: condition on these labels, in place of all so far."""
        super().set_X_pending(X_pending)
        self._target_factor: Tensor | None = None

    def value(self, joint: Joint) -> Float[Tensor, " b"]:
        """Half the log det ratio of the labels without and with the targets known."""
        if self._target_factor is None:
            known = self.given(joint.cross).targets + self.tolerance.diag()
            self._target_factor = torch.linalg.cholesky(known)
        half = torch.linalg.solve_triangular(
            self._target_factor, joint.cross, upper=False
        )
        without = joint.covariance + joint.noise.diag_embed()
        return 0.5 * (log_det(without) - log_det(without - half.mT @ half))


class qIntegratedVariance(InputAcquisition):
    r"""Reduction of the summed variance of targets by labels.

    .. math:: \sum_t w_t [Σ_{Tc} (Σ_c + N)^{-1} Σ_{cT}]_{tt}

    With `weights` 1/t (default 1) it is the fall of the mean variance over the targets,
    the integrated variance. In the square of the unit of the model's output.

    Source: Cohn (1996), Neural Netw. 9, 1071; Seo et al. (2000), IJCNN 3, 241.

    Raises:
        ValueError: no targets, or weights that are negative or not one per target.
    """

    weights: Tensor

    def __init__(
        self,
        model: Model,
        targets: Float[Tensor, "t d"],
        *,
        weights: Float[Tensor, " t"] | None = None,
        cost_model: CostModel | None = None,
        cost_aware_utility: CostAwareUtility | None = None,
        X_pending: Float[Tensor, "m d"] | None = None,
    ) -> None:
        weights = targets.new_ones(len(targets)) if weights is None else weights
        check_weights(weights, len(targets))
        super().__init__(
            model,
            targets=targets,
            cost_model=cost_model,
            cost_aware_utility=cost_aware_utility,
            X_pending=X_pending,
        )
        self.register_buffer("weights", weights)

    def value(self, joint: Joint) -> Float[Tensor, " b"]:
        """What the labels take away from the variance of the targets."""
        return explained_variance(
            joint.covariance + joint.noise.diag_embed(), joint.cross, self.weights
        )
