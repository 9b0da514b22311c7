"""The many-to-many networks of the original study: one target token a source token (flax.linen).

encoder_decoder.py has the others, `make_model` all.

B = batch, T = tokens per side, D = embedding, H = units, V = target vocabulary. A model is called
as `model.apply(variables, source, train=...)` with source i32[B, T], 0 after the last token, and
returns logits f32[B, T, V]; in training it draws from the 'dropout' key.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from seq_jax.encoder_decoder import EncoderDecoder
from seq_jax.recurrent import Bidirectional, Recurrent
from train_jax import bfloat16 as bfloat16_lib
from train_jax.dropout import Dropout
from train_jax.run.errors import no_choice

MODELS = ("many_to_many", "encoder_decoder")


def make_model(name, *, source_vocabulary, target_vocabulary, **settings) -> nn.Module:
    """The model of a config: `config.model.name` and the fields of that class."""
    sizes = {"source_vocabulary": source_vocabulary, "target_vocabulary": target_vocabulary}
    if name == "many_to_many":
        return ManyToMany(**sizes, **settings)
    if name == "encoder_decoder":
        return EncoderDecoder(**sizes, **settings)
    raise no_choice("name", name, MODELS)


class ManyToMany(nn.Module):
    """Embedding, one recurrent layer, and at each step a dense layer and one over the vocabulary.

    The output at position t is target token t. Reading left to right it depends on source tokens 0
    to t alone, so it cannot reorder: a bidirectional layer sees all of them. The recurrence is not
    masked: the <PAD> steps after a short source are where the rest of a longer target comes out.
    """

    source_vocabulary: int  # numbers of tokens, <PAD> and its like included
    target_vocabulary: int
    embedding: int  # D; 0: none, the token number itself, as it is, is the one input feature
    cell: str  # simple_rnn, gru or lstm
    units: int  # H, in each direction
    bidirectional: bool  # a second layer reads from right to left; both outputs are put together
    reset_after: bool  # gru only, see cells.py
    recurrent_init: str  # 'kernel', as Keras, or 'gates'; see cells.py
    recurrent_dropout: float  # share of h set to 0 where it enters the recurrent matmul
    dense: int  # units of the dense layer
    dropout: float  # share of its outputs set to 0
    bfloat16: bool  # matrix products, with f32 sums

    @nn.compact
    def __call__(self, source, *, train: bool):
        for name, lowest in {"embedding": 0, "units": 1, "dense": 1}.items():
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} must be >= {lowest}, got {getattr(self, name)}")
        if self.embedding:
            embed = nn.Embed(
                self.source_vocabulary, self.embedding, embedding_init=embedding_init, name="embed"
            )
            x = embed(source)
        else:
            x = source[..., None].astype(jnp.float32)
        layer = Recurrent(
            cell=self.cell,
            units=self.units,
            reset_after=self.reset_after,
            recurrent_dropout=self.recurrent_dropout,
            recurrent_init=self.recurrent_init,
            bfloat16=self.bfloat16,
            parent=None,
        )
        if self.bidirectional:
            layer = Bidirectional(layer, parent=None)  # type: ignore[assignment]
        _, x = layer.clone(parent=self, name="recurrent")(x, train=train)
        x = nn.relu(dense(self.dense, bfloat16=self.bfloat16, name="hidden")(x))
        x = Dropout(self.dropout, deterministic=not train)(x)
        return dense(self.target_vocabulary, bfloat16=self.bfloat16, name="logits")(x)


def embedding_init(key, shape, dtype=jnp.float32):
    """Uniform in [-0.05, 0.05), as Keras."""
    return jax.random.uniform(key, shape, dtype, -0.05, 0.05)


def dense(features, *, bfloat16, name):
    """A dense layer, initialised as Keras does."""
    product = bfloat16_lib.dot_general if bfloat16 else None
    init = nn.initializers.glorot_uniform()
    return nn.Dense(features, kernel_init=init, dot_general=product, name=name)
