"""Optimizers and learning-rate schedules, by optax."""

import math

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from train_jax.run.errors import check_choice

OPTIMIZERS = ("adam", "adamw", "sgd", "muon")
SCHEDULES = ("constant", "inverse_time", "cosine")


def make_schedule(*, name, learning_rate, warmup_steps, total_steps, decay, final_fraction):
    """The learning rate as a function of the step, before ReduceLROnPlateau scales it.

    Args:
      name: 'constant'; 'inverse_time', lr / (1 + decay * t), which is `decay` of the Keras
        optimizers of 2021; or 'cosine', half a period down to `final_fraction` of the peak.
      learning_rate: the peak.
      warmup_steps: linear warm-up from 0; t counts from its end.
      total_steps: steps of the whole training, where the cosine ends.
      decay: for 'inverse_time', a step.
      final_fraction: for 'cosine', in [0, 1].
    """
    _check("learning_rate", learning_rate, 0 < learning_rate < math.inf, "finite and > 0")
    _check("warmup_steps", warmup_steps, warmup_steps >= 0, ">= 0 (see warmup_epochs)")
    _check("decay", decay, 0 <= decay < math.inf, "finite and >= 0")
    _check("final_fraction", final_fraction, 0 <= final_fraction <= 1, "in [0, 1]")
    if name == "constant":
        schedule = optax.constant_schedule(learning_rate)
    elif name == "inverse_time":
        # floats: optax.inverse_time_decay would divide the integer step
        schedule = lambda t: learning_rate / (1 + decay * jnp.asarray(t, jnp.float32))  # noqa: E731
    elif name == "cosine":
        schedule = optax.cosine_decay_schedule(
            learning_rate, max(total_steps - warmup_steps, 1), final_fraction
        )
    else:
        check_choice("name", name, SCHEDULES)
    if warmup_steps:
        warmup = optax.linear_schedule(0.0, learning_rate, warmup_steps)
        schedule = optax.join_schedules([warmup, schedule], [warmup_steps])
    return schedule


def make_optimizer(*, name, schedule, weight_decay, momentum, clip_norm):
    """The optax transformation. Two things are optax's and not Keras's: 'sgd' multiplies by the
    learning rate when the velocity is applied, Keras when a gradient enters it, so that a changed
    rate acts at once here; and Adam's epsilon is 1e-8, in Keras 1e-7.

    Args:
      name: 'adam' (Kingma & Ba 2015), 'adamw' (Loshchilov & Hutter 2019), 'sgd' with Nesterov
        momentum, or 'muon' (Jordan et al. 2024): the momentum of each convolution's kernel, as a
        matrix [h * w * C_in, C_out], with all its singular values set to about 1, and scaled to the
        size of Adam's updates (Liu et al. 2025); Adam, with Nesterov's momentum, for other arrays.
      schedule: from `make_schedule`.
      weight_decay: on arrays of 2 or more axes only (kernels, not biases or batch-norm scales).
        'adamw': decoupled, times the learning rate; 'muon': the same, for what is not left to Adam.
        'sgd': coupled, as torch.optim.SGD: the decay times the parameter is added to the gradient,
        before the momentum and after the clipping.
      momentum: 'sgd' and 'muon' only.
      clip_norm: largest global norm of the gradient; 0 turns it off.
    """
    _check("weight_decay", weight_decay, 0 <= weight_decay < math.inf, "finite and >= 0")
    _check("momentum", momentum, 0 <= momentum < 1, "in [0, 1)")
    _check("clip_norm", clip_norm, 0 <= clip_norm < math.inf, "finite and >= 0")
    if weight_decay and name == "adam":
        raise ValueError(f"weight_decay is for 'adamw' and 'sgd', got {weight_decay} with {name!r}")
    kernels = lambda params: jax.tree.map(lambda p: p.ndim > 1, params)  # noqa: E731
    if name == "adam":
        optimizer = optax.adam(schedule)
    elif name == "adamw":
        optimizer = optax.adamw(schedule, weight_decay=weight_decay, mask=kernels)
    elif name == "sgd":
        optimizer = optax.sgd(schedule, momentum=momentum, nesterov=True)
        if weight_decay:
            optimizer = optax.chain(optax.add_decayed_weights(weight_decay, kernels), optimizer)
    elif name == "muon":
        optimizer = optax.contrib.muon(
            schedule, beta=momentum, weight_decay=weight_decay, consistent_rms=0.2,
            muon_weight_dimension_numbers=_matrices,
        )  # fmt: skip
    else:
        check_choice("name", name, OPTIMIZERS)
    if clip_norm:
        optimizer = optax.chain(optax.clip_by_global_norm(clip_norm), optimizer)
    return optimizer


def _matrices(params):
    """How kernels [h, w, C_in, C_out] are matrices; None for other arrays."""
    numbers = optax.contrib.MuonDimensionNumbers(reduction_axis=(0, 1, 2), output_axis=3)
    return jax.tree.map(lambda p: numbers if p.ndim == 4 else None, params)


def _check(name, value, fine, expected):
    if not fine:
        raise ValueError(f"{name} must be {expected}, got {value}")
