"""Where jit lives: the training step and the evaluation step.

K = steps per call, B = batch size.
"""

import jax
import jax.numpy as jnp
import optax

from train_jax import early_stop as early_stop_lib
from train_jax import metrics
from train_jax import plateau as plateau_lib
from train_jax.compiler import forward_options, step_options
from train_jax.parallel import by_rows, platform_of, replicated


def make_train_step(*, loss, optimizer, ema_decay, mesh, scale=lambda state: state.plateau.scale):
    """The compiled training call: (state, data, index, mask, columns=None) -> (state, token).

    Args:
      loss: `Task.loss`.
      optimizer: optax transformation.
      scale: state -> f32[], multiplies its updates.
      ema_decay: of the moving average of parameters and batch statistics; 0 turns it off.
      mesh: the devices that share each batch; see parallel.py.

    The call takes the whole train split `data` (dict of arrays that lie on the devices),
    `index` i32[K, B], the rows of each of the K steps, and `mask` f32[K, B], 0 for rows that only
    fill up their batch. Each K is compiled once. `columns`, a number, cuts the arrays of a batch to
    so many columns: see epoch.py. `state` is donated. `token` i32[] is `state.bad_step` once more:
    it stays readable when the state has been donated.
    """

    def one_step(state, batch):
        key = jax.random.fold_in(state.key, state.step)
        (value, (sums, batch_stats)), gradients = jax.value_and_grad(loss, has_aux=True)(
            state.params, state.batch_stats, batch, key
        )
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        factor = scale(state)
        updates = jax.tree.map(lambda u: u * factor.astype(u.dtype), updates)
        params = optax.apply_updates(state.params, updates)
        ema = state.ema
        if ema_decay:
            # A short warm-up, or the first epochs would be an average with the random start
            # (as in tensorflow's ExponentialMovingAverage with num_updates).
            step = state.step.astype(jnp.float32)
            decay = jnp.minimum(ema_decay, (1 + step) / (10 + step))
            ema = optax.incremental_update((params, batch_stats), ema, 1 - decay)
        first_bad = (state.bad_step < 0) & ~jnp.isfinite(value)
        return state.replace(
            step=state.step + 1,
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
            ema=ema,
            metrics=metrics.add(state.metrics, sums),
            bad_step=jnp.where(first_bad, state.step, state.bad_step),
            bad_loss=jnp.where(first_bad, value, state.bad_loss),
        )

    def train_step(state, data, index, mask, columns=None):
        def scan_body(state, rows):
            return one_step(state, take(data, *rows, mesh, columns)), None

        if index.shape[0] == 1:  # a convolution inside scan is 35 times slower on the CPU backend
            state, _ = scan_body(state, (index[0], mask[0]))
        else:
            state, _ = jax.lax.scan(scan_body, state, (index, mask))
        return state, state.bad_step + 0

    return jax.jit(
        train_step, static_argnames="columns", donate_argnums=0, out_shardings=replicated(mesh),
        compiler_options=step_options(platform_of(mesh)),
    )  # fmt: skip


def make_eval_step(evaluate, mesh):
    """The compiled evaluation call: (variables, data, index i32[B], mask f32[B]) -> metrics.

    `columns` as in `make_train_step`.
    """

    def eval_step(variables, data, index, mask, columns=None):
        return evaluate(variables, take(data, index, mask, mesh, columns))

    return jax.jit(
        eval_step,
        static_argnames="columns",
        out_shardings=replicated(mesh),
        compiler_options=forward_options(platform_of(mesh)),
    )


def take(data, index, mask, mesh, columns=None):
    """The rows `index` i32[B] of every array of `data`, with `mask` f32[B] next to them.

    `columns`: only so many of the second axis, where there is one; None for all.

    They are divided over the devices, wherever in `data` they lie.
    """
    cut = lambda a: a[:, :columns] if columns and a.ndim > 1 else a  # noqa: E731
    batch = {name: cut(array)[index] for name, array in data.items()} | {"mask": mask}
    return jax.lax.with_sharding_constraint(batch, by_rows(mesh))


def make_epoch_end(*, plateau, early_stop, mesh):
    """The compiled end of an epoch: (state, plateau value, early-stop value, epoch) -> state.

    `plateau` and `early_stop` are the Settings of both. The sums of the epoch are set back to 0.
    """

    def epoch_end(state, plateau_value, early_stop_value, epoch):
        if plateau.enabled:
            state = state.replace(plateau=plateau_lib.update(state.plateau, plateau_value, plateau))
        if early_stop.enabled:
            new = early_stop_lib.update(state.early_stop, early_stop_value, epoch, early_stop)
            state = state.replace(early_stop=new)
        return state.replace(metrics=jax.tree.map(jnp.zeros_like, state.metrics))

    return jax.jit(epoch_end, donate_argnums=0, out_shardings=replicated(mesh))
