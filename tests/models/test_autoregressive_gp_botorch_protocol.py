"""BoTorch's own helpers for tests of models, applied to the Gaussian process of levels.

BoTorch has no law that runs on any model. What it has for tests of one, and what its tests
of `SingleTaskMultiFidelityGP` and `SingleTaskGP` check with it (test/models/
test_gp_regression_fidelity.py and test_gp_regression.py of its repository), is here:

| helper | here |
|---|---|
| `BotorchTestCase`, `assertAllClose` | the class below |
| `get_random_data` | the data, in float and double, with a column for the level |
| `gen_multi_task_dataset` | data of two tasks, which are levels |
| `get_pvar_expected` | the variance of observations of one vector of hyperparameters |
| `get_sample_moments`, `standardize_moments` | the moments of samples |
| `get_test_posterior` | a posterior that conditions by another's samples |
| `DummyNonScalarizingPosteriorTransform` | what comes out of a transform of posteriors |

These do not apply: `MockModel`, `MockPosterior`, `MockAcquisitionFunction` and
`get_sampler_mock` stand for a model where an acquisition function is tested;
`get_max_violation_of_bounds` and `_of_constraints`, `sample_random_feasible` and the
mix-ins of test problems are about samplers and functions; `get_model` and
`get_fully_bayesian_model` build BoTorch's models; `SimpleGPyTorchModel` is one. Batches of
training data and several outputs, which BoTorch's tests loop over, the model refuses: the
draws are its batch and levels its rows. Sizes of parameters are not those of a batch, as
each level has its own.
"""

import itertools
from copy import deepcopy
from functools import cache

import pytest
import torch
from botorch.acquisition.objective import ScalarizedPosteriorTransform
from botorch.exceptions.errors import BotorchTensorDimensionError
from botorch.fit import fit_gpytorch_mll
from botorch.models.model import Model
from botorch.models.transforms import Normalize, Standardize
from botorch.posteriors import GPyTorchPosterior
from botorch.sampling import SobolQMCNormalSampler
from botorch.utils.datasets import SupervisedDataset
from botorch.utils.test_helpers import (
    DummyNonScalarizingPosteriorTransform,
    gen_multi_task_dataset,
    get_pvar_expected,
    get_sample_moments,
    standardize_moments,
)
from botorch.utils.testing import (
    BotorchTestCase,
    get_random_data,
    get_test_posterior,
)
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood

from mfal.models import AutoregressiveGP
from mfal.models.autoregressive_noise import LevelStandardize

DTYPES = (torch.float, torch.double)


def random_data(batch_shape=(), d=1, n=10, **tkwargs):
    """BoTorch's data with the level in the last column: a value is larger in level 1."""
    shape = torch.Size(batch_shape)
    X, Y = get_random_data(batch_shape=shape, m=1, d=d, n=n, **tkwargs)
    level = (torch.arange(n) % 2).to(X).unsqueeze(-1).expand(*shape, n, 1)
    return torch.cat([X, level], dim=-1), Y + level


def random_inputs(*shape, **tkwargs):
    X = torch.rand(*shape, 2, **tkwargs)
    X[..., -1] = X[..., -1].round()
    return X


def fitted(model):
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    fit_gpytorch_mll(mll, n_samples=3)
    return model


@cache
def model_of(dtype, given, fit):
    X, Y = random_data(dtype=dtype)
    model = AutoregressiveGP(X, Y, torch.full_like(Y, 0.01) if given else None)
    return fitted(model) if fit else model


class TestAutoregressiveGP(BotorchTestCase):
    def kinds(self):
        """Models of learned and given noise, before the fit and with draws."""
        kinds = itertools.product(DTYPES, (False, True), (False, True))
        for dtype, given, fit in kinds:
            model = deepcopy(model_of(dtype, given, fit))
            yield model, {"device": self.device, "dtype": dtype}

    def noise(self, model, Y):
        fixed = isinstance(model.likelihood, FixedNoiseGaussianLikelihood)
        return {"noise": torch.full_like(Y, 0.01)} if fixed else {}

    def test_a_fit_leaves_type_device_and_number_of_outputs(self):
        for model, tkwargs in self.kinds():
            self.assertIsInstance(model, Model)
            self.assertEqual(model.num_outputs, 1)
            self.assertEqual(model.batch_shape, torch.Size())
            tensors = [*model.parameters(), model.train_targets, *model.train_inputs]
            for tensor in tensors:
                self.assertEqual(tensor.dtype, tkwargs["dtype"])
                self.assertEqual(tensor.device.type, self.device.type)

    def test_posteriors_have_the_shape_of_the_points(self):
        for model, tkwargs in self.kinds():
            for shape in ((3,), (1,), (2, 3), (4, 2, 3), (5, 1), (2, 0)):
                X = random_inputs(*shape, **tkwargs)
                for observed in (False, True, torch.full_like(X[..., :1], 0.1)):
                    posterior = model.posterior(X, observation_noise=observed)
                    self.assertIsInstance(posterior, GPyTorchPosterior)
                    self.assertEqual(posterior.mean.shape, (*shape, 1))
                    self.assertEqual(posterior.variance.shape, (*shape, 1))
                    self.assertEqual(posterior.mean.dtype, tkwargs["dtype"])
                    self.assertEqual(posterior.batch_shape, shape[:-1])
                    self.assertEqual(
                        posterior.distribution.covariance_matrix.shape,
                        (*shape, shape[-1]),
                    )
                    if 0 not in shape:
                        samples = posterior.rsample(torch.Size([2]))
                        self.assertEqual(samples.shape, (2, *shape, 1))

    def test_observed_variances_are_those_of_the_likelihood(self):
        for dtype, given, transform in itertools.product(
            DTYPES, (False, True), (None, "levels", "one")
        ):
            if given and transform == "levels":
                continue  # BoTorch's helper has one mean variance, we one per level
            tkwargs = {"device": self.device, "dtype": dtype}
            X, Y = random_data(**tkwargs)
            outcome = {
                None: None,
                "levels": LevelStandardize(-1, 2),
                "one": Standardize(m=1),
            }[transform]
            Yvar = torch.full_like(Y, 0.01) if given else None
            model = AutoregressiveGP(X, Y, Yvar, outcome_transform=outcome).to(
                **tkwargs
            )
            for shape in ((3,), (2, 3)):
                test_X = random_inputs(*shape, **tkwargs)
                posterior = model.posterior(test_X)
                observed = model.posterior(test_X, observation_noise=True)
                if transform == "levels":
                    mvn = model.likelihood(model(test_X), test_X)
                    expected = outcome.untransform_posterior(
                        GPyTorchPosterior(mvn), X=test_X
                    ).variance
                else:
                    expected = get_pvar_expected(posterior, model, test_X, 1)
                self.assertAllClose(observed.variance, expected, rtol=1e-4, atol=1e-5)

    def test_outcomes_are_untransformed(self):
        for model, tkwargs in self.kinds():
            X = random_inputs(2, 3, **tkwargs)
            posterior = model.posterior(X)
            transform = model.outcome_transform
            del model.outcome_transform
            plain = model.posterior(X)
            model.outcome_transform = transform
            expected = transform.untransform_posterior(plain, X=X)
            self.assertAllClose(posterior.mean, expected.mean)
            self.assertAllClose(posterior.variance, expected.variance)

    def test_inputs_are_transformed(self):
        for dtype in DTYPES:
            tkwargs = {"device": self.device, "dtype": dtype}
            X, Y = random_data(**tkwargs)
            bounds = torch.tensor([[-1.0, 0.0], [1.0, 1.0]], **tkwargs)
            transform = Normalize(d=2, bounds=bounds)
            model = AutoregressiveGP(X, Y, input_transform=transform)
            self.assertTrue(torch.equal(model.train_inputs[0], X))
            fitted(model)
            self.assertTrue(torch.equal(model.train_inputs[0], transform(X)))
            new = random_inputs(4, **tkwargs)
            sampler = SobolQMCNormalSampler(torch.Size([3]))
            fantasies = model.fantasize(new, sampler)
            added = fantasies.train_inputs[0][..., -4:, :]
            self.assertAllClose(added, transform(new).expand(*added.shape))
            model.train()
            self.assertTrue(torch.equal(model.train_inputs[0], X))
            self.assertEqual(model.train_inputs[0].dtype, dtype)

    def test_conditioning_broadcasts_over_batches_of_data_and_points(self):
        for model, tkwargs in self.kinds():
            X, Y = random_data((2,), n=3, **tkwargs)
            same_inputs = {k: v[0] for k, v in self.noise(model, Y).items()}
            conditioned = [
                model.condition_on_observations(X, Y, **self.noise(model, Y)),
                model.condition_on_observations(X[0], Y, **same_inputs),
            ]
            alone = model.condition_on_observations(X[0], Y[0], **same_inputs)
            for many in conditioned:
                self.assertIsInstance(many, AutoregressiveGP)
                self.assertEqual(many.batch_shape, torch.Size([2]))
                for shape in ((4,), (2, 4), (3, 2, 4)):
                    test_X = random_inputs(*shape, **tkwargs)
                    posterior = many.posterior(test_X)
                    wanted = (*shape[:-2], 2, 4, 1)
                    self.assertEqual(posterior.mean.shape, wanted)
                    self.assertEqual(posterior.variance.shape, wanted)
                test_X = random_inputs(4, **tkwargs)
                one, batch = alone.posterior(test_X), many.posterior(test_X)
                self.assertAllClose(batch.mean[0], one.mean, atol=1e-3, rtol=1e-3)
                self.assertAllClose(
                    batch.distribution.covariance_matrix[0],
                    one.distribution.covariance_matrix,
                    atol=1e-3,
                    rtol=1e-3,
                )

    def test_fantasies_are_models_of_the_same_class(self):
        for model, tkwargs in self.kinds():
            sampler = SobolQMCNormalSampler(torch.Size([3]))
            for shape in ((4,), (2, 4)):
                X = random_inputs(*shape, **tkwargs)
                noise = torch.full((1, 1), 0.1, **tkwargs)
                for options in ({}, {"observation_noise": noise}):
                    fantasies = model.fantasize(X=X, sampler=sampler, **options)
                    self.assertIsInstance(fantasies, type(model))
                    self.assertEqual(fantasies.batch_shape, (3, *shape[:-1]))
                    posterior = fantasies.posterior(X)
                    self.assertEqual(posterior.mean.shape, (3, *shape, 1))

    def test_fantasies_of_no_points_are_the_model(self):
        for model, tkwargs in self.kinds():
            empty = random_inputs(0, **tkwargs)
            sampler = SobolQMCNormalSampler(torch.Size([3]))
            X = random_inputs(4, **tkwargs)
            model.posterior(X)
            fantasies = model.fantasize(X=empty, sampler=sampler)
            expected = model.posterior(X).mean.expand(3, 4, 1)
            self.assertAllClose(
                fantasies.posterior(X).mean, expected, rtol=1e-3, atol=1e-3
            )

    def test_values_may_be_samples_of_another_posterior(self):
        for model, tkwargs in self.kinds():
            X = random_inputs(2, 3, **tkwargs)
            other = get_test_posterior(torch.Size([2]), q=3, **tkwargs)
            Y = SobolQMCNormalSampler(torch.Size([4]))(other)
            noise = {k: v[0] for k, v in self.noise(model, Y).items()}
            conditioned = model.condition_on_observations(X, Y, **noise)
            self.assertEqual(conditioned.batch_shape, (4, 2))
            self.assertEqual(conditioned.posterior(X).mean.shape, (4, 2, 3, 1))

    def test_the_subset_of_its_output_is_a_copy(self):
        for model, tkwargs in self.kinds():
            subset = model.subset_output([0])
            X = random_inputs(3, **tkwargs)
            self.assertAllClose(subset.posterior(X).mean, model.posterior(X).mean)
            self.assertAllClose(
                subset.posterior(X).variance, model.posterior(X).variance
            )
            self.assertNotEqual(model, subset)

    def test_inputs_are_constructed_from_datasets(self):
        for dtype, given in itertools.product(DTYPES, (False, True)):
            X, Y = random_data(device=self.device, dtype=dtype)
            Yvar = torch.full_like(Y, 0.01) if given else None
            dataset = SupervisedDataset(
                X, Y, Yvar=Yvar, feature_names=["x", "level"], outcome_names=["y"]
            )
            with self.assertRaisesRegex(TypeError, "argument: 'fidelity_features'"):
                AutoregressiveGP.construct_inputs(dataset)
            with self.assertRaisesRegex(ValueError, "one index, got"):
                AutoregressiveGP.construct_inputs(dataset, fidelity_features=[0, 1])
            inputs = AutoregressiveGP.construct_inputs(dataset, fidelity_features=[1])
            self.assertEqual(inputs["fidelity_column"], 1)
            self.assertTrue(X.equal(inputs["train_X"]))
            self.assertTrue(Y.equal(inputs["train_Y"]))
            self.assertEqual("train_Yvar" in inputs, given)
            model = AutoregressiveGP(**inputs)
            fixed = isinstance(model.likelihood, FixedNoiseGaussianLikelihood)
            self.assertEqual(fixed, given)

    def test_given_variances_are_those_of_the_likelihood(self):
        for dtype in DTYPES:
            X, Y = random_data(device=self.device, dtype=dtype)
            Yvar = 0.01 + 0.1 * torch.rand_like(Y)
            model = AutoregressiveGP(X, Y, Yvar, outcome_transform=None)
            self.assertAllClose(model.likelihood.noise, Yvar.squeeze(-1))

    def test_tasks_of_botorch_are_levels(self):
        for dtype, yvar in itertools.product(DTYPES, (None, 0.01)):
            tkwargs = {"device": self.device, "dtype": dtype}
            dataset, (X, Y, Yvar) = gen_multi_task_dataset(yvar, **tkwargs)
            inputs = AutoregressiveGP.construct_inputs(dataset, fidelity_features=[0])
            model = AutoregressiveGP(**inputs)
            self.assertEqual(model.n_levels, 2)
            self.assertTrue(torch.equal(inputs["train_X"], X))
            self.assertTrue(torch.equal(inputs["train_Y"], Y))
            self.assertEqual(model.posterior(X).mean.shape, Y.shape)
            if Yvar is not None:
                self.assertTrue(torch.equal(inputs["train_Yvar"], Yvar))

    def test_batches_of_data_and_several_outputs_are_refused(self):
        X, Y = random_data((2,), device=self.device, dtype=torch.double)
        errors = (ValueError, BotorchTensorDimensionError, TypeError)
        with self.assertRaises(errors):
            AutoregressiveGP(X, Y)
        with self.assertRaises(errors):
            AutoregressiveGP(X[0], torch.cat([Y[0], Y[0]], dim=-1))

    def test_posteriors_are_transformed(self):
        for model, tkwargs in self.kinds():
            X = random_inputs(2, 3, **tkwargs)
            plain = model.posterior(X)
            weights = torch.full((1,), 2.0, **tkwargs)
            doubled = model.posterior(
                X, posterior_transform=ScalarizedPosteriorTransform(weights, offset=1.0)
            )
            self.assertAllClose(doubled.mean, 2 * plain.mean + 1)
            self.assertAllClose(doubled.variance, 4 * plain.variance)
            self.assertAllClose(
                doubled.distribution.covariance_matrix,
                4 * plain.distribution.covariance_matrix,
            )
            dummy = DummyNonScalarizingPosteriorTransform()
            other = model.posterior(X, posterior_transform=dummy)
            self.assertEqual(other.mean.shape, plain.mean.shape)

    def test_samples_have_the_moments_of_the_posterior(self):
        tkwargs = {"device": self.device, "dtype": torch.double}
        X, Y = random_data(**tkwargs)
        model = AutoregressiveGP(X, Y, outcome_transform=Standardize(m=1))
        fitted(model)
        test_X = random_inputs(3, **tkwargs)
        posterior = model.posterior(test_X)
        shape = torch.Size([4096])
        samples = SobolQMCNormalSampler(shape, seed=0)(posterior).squeeze(-1).detach()
        found = standardize_moments(
            model.outcome_transform, *get_sample_moments(samples, shape)
        )
        mvn = posterior.distribution
        expected = standardize_moments(
            model.outcome_transform, mvn.mean, mvn.covariance_matrix
        )
        for moment, wanted in zip(found, expected, strict=True):
            self.assertAllClose(moment, wanted, rtol=0.05, atol=0.01)


@pytest.mark.filterwarnings("ignore:The model inputs are of type")
def test_a_fit_does_not_depend_on_the_type_of_the_data():
    X, Y = random_data(dtype=torch.float)
    found = []
    for kind in DTYPES:
        model = AutoregressiveGP(X.to(kind), Y.to(kind)).to(X.to(kind))
        fit_gpytorch_mll(
            ExactMarginalLogLikelihood(model.likelihood, model), n_samples=1
        )
        found.append(model.posterior(X.to(kind)).mean.double())
    torch.testing.assert_close(*found, rtol=1e-2, atol=1e-2)
