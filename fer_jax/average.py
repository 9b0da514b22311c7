"""Several classifiers as one: the mean of their probabilities."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import weights as weights_lib
from fer_jax.weights import Classifier
from train_jax.run.errors import UserError


class Average(NamedTuple):
    """Stands where a flax module does: a prediction asks for nothing but `apply`."""

    models: tuple  # flax modules
    temperatures: tuple  # float, of the single view, one a model

    @property
    def any_size(self) -> bool:
        return all(getattr(model, "any_size", False) for model in self.models)

    def apply(self, variables, images, *, train):
        """The log of the mean of the models' probabilities, each at its temperature.

        Args:
          variables: a tuple, one a model.
          images: f32[B, H, W, 1].

        Returns:
          f32[B, K].
        """
        parts = zip(self.models, variables, self.temperatures, strict=True)
        logp = [jax.nn.log_softmax(m.apply(v, images, train=train) / t) for m, v, t in parts]
        return jax.nn.logsumexp(jnp.stack(logp), axis=0) - np.float32(np.log(len(logp)))


def load(folders: str) -> Classifier:
    """The classifier of a folder; of several, with commas between them, their average.

    An average has the temperature 1 until --mode=eval fits one on its validation images, which
    there are if all nets were trained on the same images.

    Raises:
      UserError: see `weights.load`; or their classes are not the same, in the same order.
    """
    found = [weights_lib.load(Path(folder)) for folder in folders.split(",")]
    if len(found) == 1:
        return found[0]
    for other in found[1:]:
        if other.card["classes"] != found[0].card["classes"]:
            raise UserError(
                f"--weights: {found[0].folder} tells {', '.join(found[0].card['classes'])} apart, "
                f"and {other.folder} {', '.join(other.card['classes'])}: there is no mean of them"
            )
    shared = len({c.card["trained_on"]["train_valid_sha256"] for c in found}) == 1
    trained_on = found[0].card["trained_on"]
    card = found[0].card | {
        "epoch": ", ".join(str(c.card["epoch"]) for c in found),
        "trained_on": trained_on if shared else trained_on | {"train_valid_sha256": ""},
    }
    return Classifier(
        folder=Path(folders),
        model=Average(tuple(c.model for c in found), tuple(c.temperature["none"] for c in found)),
        variables=tuple(c.variables for c in found),
        temperature=dict.fromkeys(set.intersection(*(set(c.temperature) for c in found)), 1.0),
        card=card,
    )
