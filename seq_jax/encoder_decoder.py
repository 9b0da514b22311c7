"""Encoder-decoder with attention (flax.linen), on the cells of cells.py.

B = batch, S = source steps, T = target steps, D = embedding, E = units of the encoder in each
direction, M = 2E, H = units of the decoder, V = target vocabulary.

In training `model.apply(variables, source, target, train=True)` gives the logits f32[B, T, V] that
follow each target token, given the true ones before it (teacher forcing). To decode, `encode` reads
the source once and `step` adds one token; training scans the same `advance` over the target.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from seq_jax import attention, cells
from seq_jax.recurrent import RECURRENT_INITS, Bidirectional, Recurrent
from seq_jax.text import PAD, SPECIALS, UNK
from train_jax import bfloat16 as bfloat16_lib

PAD_ID, UNK_ID = SPECIALS.index(PAD), SPECIALS.index(UNK)


class Memory(NamedTuple):
    """What the decoder knows of the source, the same at every step."""

    values: jax.Array  # f32[B, S, M], outputs of the encoder
    keys: jax.Array | None  # f32[B, S, H], see attention.py; None without attention
    words: jax.Array | None  # f32[B, S, D], embeddings of the source, for the lexical term
    mask: jax.Array  # bool[B, S], False where the source is <PAD>


class State(NamedTuple):
    """What the decoder hands from step to step."""

    carries: tuple[Any, ...]  # of each layer, see cells.py
    feed: jax.Array  # f32[B, D], the readout of the step before; zeros at the start


class Output(NamedTuple):
    """What `advance` gives at each step, for the logits."""

    readout: jax.Array  # f32[B, D]
    lexical: jax.Array | None  # f32[B, D], the source embeddings under the attention
    weights: jax.Array | None  # f32[B, S], the attention


class EncoderDecoder(nn.Module):
    """Bidirectional encoder; decoder with attention and input feeding (Luong et al. 2015).

    One step of the decoder, for target token y:
        x      = [embedding of y; readout of the step before]     the latter is the input feeding
        h      = the layers' cells, one above the other
        a      = softmax(score(h, memory)),  c = sum_s a_s memory_s
        r      = tanh([h; c] W_c)                                 the readout, of the embedding's
        logits = r E^T + b + (tanh(l W_l) + l) L^T                width, so that E can be tied
    E is the target embedding (Press & Wolf 2017); the last term is the lexical one of Nguyen &
    Chiang 2018, arXiv 1710.01329, with l = tanh(sum_s a_s (embedding of source token s)). Without
    attention this is the net of Sutskever et al. 2014, arXiv 1409.3215: c = 0.
    """

    source_vocabulary: int  # numbers of tokens, <PAD> and its like included
    target_vocabulary: int
    embedding: int  # D, on both sides
    cell: str  # simple_rnn, gru or lstm
    encoder_units: int  # E
    encoder_layers: int
    units: int  # H
    layers: int  # of the decoder
    attention: str  # luong, bahdanau or none
    input_feeding: bool
    lexical: bool  # the lexical term
    reset_after: bool  # gru only, see cells.py
    recurrent_init: str  # 'kernel', as Keras, or 'gates'; see cells.py
    dropout: float  # of embeddings, between layers and of the readout: one mask per sequence
    word_dropout: float  # share of the tokens of both sides that the net reads as <unk>
    bfloat16: bool  # matrix products, with f32 sums; all else is f32

    def setup(self):
        self.check()
        normal = nn.initializers.normal(self.embedding**-0.5)
        self.source_embed = nn.Embed(self.source_vocabulary, self.embedding, embedding_init=normal)
        self.target_embed = nn.Embed(self.target_vocabulary, self.embedding, embedding_init=normal)
        layer = Recurrent(
            cell=self.cell, units=self.encoder_units, reset_after=self.reset_after,
            dropout=self.dropout, recurrent_init=self.recurrent_init, bfloat16=self.bfloat16,
            parent=None,
        )  # fmt: skip
        self.encoder = [Bidirectional(layer) for _ in range(self.encoder_layers)]
        self.the_cell = cells.make_cell(self.cell, reset_after=self.reset_after)
        fields = len(self.the_cell.carry._fields)
        product = bfloat16_lib.dot_general if self.bfloat16 else None
        self.bridge = nn.Dense(self.layers * fields * self.units, dot_general=product)
        decoder = self.param("decoder", self.init_decoder)
        self.decoder = jax.tree.map_with_path(self.rounded, decoder)
        if self.lexical:
            self.lexical_dense = nn.Dense(self.embedding, use_bias=False, dot_general=product)
            self.lexical_embed = self.param(
                "lexical_embed", normal, (self.target_vocabulary, self.embedding)
            )
        self.logit_bias = self.param("logit_bias", nn.initializers.zeros, self.target_vocabulary)

    def check(self):
        """Raises ValueError, naming the value, if a field is outside its range."""
        if self.attention not in attention.ATTENTIONS:
            raise ValueError(
                f"attention must be one of {attention.ATTENTIONS}, got {self.attention!r}"
            )
        if self.lexical and self.attention == "none":
            raise ValueError("lexical=True needs an attention, got attention='none'")
        for name in ("embedding", "encoder_layers", "layers", "encoder_units", "units"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        for name in ("dropout", "word_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")

    def rounded(self, path, array):
        """A parameter as it is used: what a product multiplies is in bfloat16, if that is asked."""
        multiplied = path[-1].key.endswith(("kernel", "readout"))
        return array.astype(jnp.bfloat16) if self.bfloat16 and multiplied else array

    def init_decoder(self, key):
        """{'layer_0': parameters of cells.py, ..., 'attention': ..., 'readout': f32[H + M, D]}.

        The rows of layer_0's kernel are those of [embedding; feed].
        """
        cell, units, memory = self.the_cell, self.units, 2 * self.encoder_units
        glorot = nn.initializers.glorot_uniform()
        *keys, last = jax.random.split(key, self.layers + 1)
        params = {}
        for i, key in enumerate(keys):
            width = units if i else self.embedding * (1 + self.input_feeding)
            first, second = jax.random.split(key)
            recurrent = RECURRENT_INITS[self.recurrent_init]
            params[f"layer_{i}"] = {
                "kernel": cells.kernel_init(first, (width, cell.gates * units)),
                "recurrent_kernel": recurrent(second, (units, cell.gates * units)),
                "bias": cells.initial_bias(cell, units),
            }
        first, second, third, fourth = jax.random.split(last, 4)
        if self.attention == "luong":
            params["attention"] = {"key_kernel": glorot(first, (memory, units))}
        elif self.attention == "bahdanau":
            params["attention"] = {
                "key_kernel": glorot(first, (memory, units)),
                "query_kernel": glorot(second, (units, units)),
                "bias": jnp.zeros(units),
                "score": glorot(third, (units, 1))[:, 0],
            }
        wide = units + memory * (self.attention != "none")
        params["readout"] = glorot(fourth, (wide, self.embedding))
        return params

    def __call__(self, source, target, *, train: bool):
        """source i32[B, S], target i32[B, T] from <start> on -> logits f32[B, T, V]."""
        memory, state = self.encode(source, train=train)
        drops = self.draw_masks(len(source)) if train and self.dropout else None
        if train:
            target = self.drop_words(target)
        x = self.target_embed(target)
        if drops:
            x = x * drops[0][:, None]
        projected = cells.project(self.layer_0_of_embedding(), rearrange(x, "b t d -> t b d"))

        def body(state, projected):
            return self.advance(memory, state, projected, drops)

        _, output = jax.lax.scan(body, state, projected)
        readout = output.readout if drops is None else output.readout * drops[-1][None]
        return rearrange(self.logits(output._replace(readout=readout)), "t b v -> b t v")

    def encode(self, source, *, train: bool):
        """source i32[B, S], <PAD> after the last token -> (Memory, State before the first step)."""
        mask = source != PAD_ID
        if train:
            source = self.drop_words(source)
        words = x = self.source_embed(source)
        for layer in self.encoder:  # which drops features of its input
            carry, x = layer(x, train=train, mask=mask)
        last = jnp.concatenate([carry.forward.h, carry.backward.h], -1)
        start = jnp.split(jnp.tanh(self.bridge(last)), self.bridge.features // self.units, -1)
        fields = len(self.the_cell.carry._fields)
        carries = tuple(
            self.the_cell.carry(*start[i * fields : (i + 1) * fields]) for i in range(self.layers)
        )
        keys = None
        if self.attention != "none":
            make_keys = {"luong": attention.luong_keys, "bahdanau": attention.bahdanau_keys}
            keys = make_keys[self.attention](self.decoder["attention"], x)
        memory = Memory(x, keys, words if self.lexical else None, mask)
        return memory, State(carries, jnp.zeros((source.shape[0], self.embedding), x.dtype))

    def step(self, memory, state, tokens):
        """Adds tokens i32[B]: (State, logits f32[B, V] of the tokens after them, weights)."""
        x = self.target_embed(tokens)
        projected = cells.project(self.layer_0_of_embedding(), x)
        state, output = self.advance(memory, state, projected, None)
        return state, self.logits(output), output.weights

    def advance(self, memory, state, projected, drops):
        """(State, what layer_0 makes of the embedding f32[B, G*H]) -> (State, Output)."""
        params = self.decoder
        if self.input_feeding:
            feed = cells.times(state.feed, params["layer_0"]["kernel"][self.embedding :])
            projected = projected + feed
        carries = []
        for i, carry in enumerate(state.carries):
            if i:
                h = h if drops is None else h * drops[i]  # noqa: F821, of the layer below
                projected = cells.project(params[f"layer_{i}"], h)
            carries.append(self.the_cell.step(params[f"layer_{i}"], carry, projected, None))
            h = carries[-1].h
        lexical = weights = None
        if self.attention != "none":
            score = {"luong": attention.luong_scores, "bahdanau": attention.bahdanau_scores}
            scores = score[self.attention](params["attention"], h, memory.keys)
            weights = attention.softmax(scores, memory.mask)
            h = jnp.concatenate([h, attention.context(weights, memory.values)], -1)
            if self.lexical:
                lexical = attention.context(weights, memory.words)
        readout = jnp.tanh(cells.times(h, params["readout"]))
        return State(tuple(carries), readout), Output(readout, lexical, weights)

    def logits(self, output):
        """f32[..., V] of an Output of any leading axes."""
        kind = jnp.bfloat16 if self.bfloat16 else jnp.float32
        logits = cells.times(output.readout, self.target_embed.embedding.T.astype(kind))
        if self.lexical:
            x = jnp.tanh(output.lexical)
            x = jnp.tanh(self.lexical_dense(x)) + x
            logits = logits + cells.times(x, self.lexical_embed.T.astype(kind))
        return logits + self.logit_bias.reshape((1,) * (logits.ndim - 1) + (-1,))

    def layer_0_of_embedding(self):
        """The parameters of layer_0 with the rows of the kernel that meet the embedding."""
        params = self.decoder["layer_0"]
        return {**params, "kernel": params["kernel"][: self.embedding]}

    def draw_masks(self, batch):
        """Dropout masks, the same at every step: of the embedding, of h below each further layer,
        of the readout."""
        widths = [self.embedding, *[self.units] * (self.layers - 1), self.embedding]
        keys = jax.random.split(self.make_rng("dropout"), len(widths))
        keep = 1 - self.dropout
        return [
            jax.random.bernoulli(key, keep, (batch, width)).astype(jnp.float32) / keep
            for key, width in zip(keys, widths, strict=True)
        ]

    def drop_words(self, tokens):
        """i32[B, T] with some tokens read as <unk>, none of <PAD> and the other markers."""
        if not self.word_dropout:
            return tokens
        drop = jax.random.bernoulli(self.make_rng("dropout"), self.word_dropout, tokens.shape)
        return jnp.where(drop & (tokens >= len(SPECIALS)), UNK_ID, tokens)
