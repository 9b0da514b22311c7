"""Everything that changes during training, in one pytree: what is here is in every checkpoint."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from train_jax.early_stop import EarlyStopState
from train_jax.plateau import PlateauState


@flax.struct.dataclass
class TrainState:
    step: jax.Array  # i32[], optimizer updates done
    params: Any  # the trainable parameters
    batch_stats: Any  # running mean and variance of batch norm; {} without it
    opt_state: Any  # optax
    ema: Any  # moving average of (params, batch_stats); None where it is off
    plateau: PlateauState
    early_stop: EarlyStopState
    metrics: dict  # sums over the epoch in progress, so that an interrupted epoch resumes exactly
    bad_step: jax.Array  # i32[], first step with a loss that is not finite; -1 while there is none
    bad_loss: jax.Array  # f32[], that loss
    key: jax.Array  # key[], never split: step t draws from fold_in(key, t)

    def eval_variables(self) -> dict:
        """What a prediction is made with: the moving average where there is one."""
        params, batch_stats = self.ema or (self.params, self.batch_stats)
        return {"params": params, "batch_stats": batch_stats}


def create(*, variables, optimizer, plateau, early_stop, metrics, ema_decay, key) -> TrainState:
    """The state before the first step. `metrics` is a dict of TotalAndCount that are all 0."""
    params, batch_stats = variables["params"], variables.get("batch_stats", {})

    @jax.jit  # one program, not one per array, which takes a second
    def begin(params, batch_stats):
        # copies: the state is donated, and no buffer may be in it twice
        ema = jax.tree.map(jnp.copy, (params, batch_stats)) if ema_decay else None
        return optimizer.init(params), ema

    opt_state, ema = begin(params, batch_stats)
    return TrainState(
        step=jnp.array(0, jnp.int32),
        params=params,
        batch_stats=batch_stats,
        opt_state=opt_state,
        ema=ema,
        plateau=plateau,
        early_stop=early_stop,
        metrics=metrics,
        bad_step=jnp.array(-1, jnp.int32),
        bad_loss=jnp.array(0, jnp.float32),
        key=key,
    )
