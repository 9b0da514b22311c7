"""How to train, as `train_jax.loop.fit` takes it: one frozen object a section of the config."""

import dataclasses
import math

from train_jax import early_stop, plateau
from train_jax.optim import make_optimizer, make_schedule
from train_jax.run.errors import UserError, naming


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer:
    """See `optim.make_optimizer`."""

    name: str
    weight_decay: float
    momentum: float
    clip_norm: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """See `optim.make_schedule`, which takes the warm-up in steps."""

    name: str
    learning_rate: float
    warmup_epochs: float
    decay: float
    final_fraction: float

    def __post_init__(self):
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be finite and > 0, got {self.learning_rate}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Which epoch is the best one, see `run.checkpoint.Checkpoints`."""

    select: str
    monitor: str
    mode: str
    min_seconds: float  # see `run.saver.Saver`


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    seed: int  # of parameters, order and noise, in [0, 2**32)
    prng: str  # 'threefry2x32', or 'rbg', whose bits are cheaper on a CPU
    epochs: int  # passes over the train split, at most
    batch_size: int  # examples
    eval_batch_size: int  # examples
    steps_per_call: int  # in one compiled call; 0: see `epoch.default_steps_per_call`
    ema_decay: float  # of the moving average that is validated in place of the parameters; 0 = off
    devices: int  # that share each batch, of all processes; 0 for all
    optimizer: Optimizer
    schedule: Schedule
    plateau: plateau.Settings
    early_stop: early_stop.Settings
    checkpoint: Checkpoint

    def __post_init__(self):
        if not 0 <= self.seed < 2**32:  # jax.random.key takes its lower half, and says nothing
            raise ValueError(f"seed must be in [0, 2**32), got {self.seed}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must be in [0, 1), got {self.ema_decay}")
        for name in ("epochs", "batch_size", "eval_batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.steps_per_call < 0:
            raise ValueError(f"steps_per_call must be at least 0, got {self.steps_per_call}")


def check(config):
    """As `of_config`, and whether there are such an optimizer and schedule: before data is read."""
    settings = of_config(config)
    with naming("schedule"):
        if not 0 <= settings.schedule.warmup_epochs < math.inf:
            warmup = settings.schedule.warmup_epochs
            raise ValueError(f"warmup_epochs must be finite and >= 0, got {warmup}")
        fields = dataclasses.asdict(settings.schedule)
        del fields["warmup_epochs"]
        schedule = make_schedule(**fields, warmup_steps=0, total_steps=1)
    with naming("optimizer"):
        make_optimizer(**dataclasses.asdict(settings.optimizer), schedule=schedule)


def of_config(config) -> Settings:
    """The settings in a config, whose `train` may hold more. UserError, which names the field, if
    one is out of its range."""

    def section(name, kind, **more):
        try:
            return kind(**config[name].to_dict(), **more)
        except ValueError as error:
            raise UserError(f"config.{name}.{error}") from error

    parts = {
        "optimizer": section("optimizer", Optimizer),
        "schedule": section("schedule", Schedule),
        "plateau": section("plateau", plateau.Settings, base_lr=config.schedule.learning_rate),
        "early_stop": section("early_stop", early_stop.Settings),
        "checkpoint": section("checkpoint", Checkpoint),
    }
    own = {f.name for f in dataclasses.fields(Settings)} - parts.keys() - {"devices"}
    train = {name: config.train[name] for name in own}
    try:
        return Settings(**train, devices=config.distributed.devices, **parts)
    except ValueError as error:
        raise UserError(f"config.train.{error}") from error
