"""The rules by which weights move."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras

from recbatch.config.models import Training
from recbatch.model.features import is_sparse


class SparseAdam(keras.optimizers.Adam):
    """Adam that leaves rows alone which a step has no gradient for.

    Kingma and Ba's rule decays the moments of every weight in every step, and moves every row; for an embedding of
    millions of ids a step would then cost as much as the whole table. Rows' moments stay as they are between two
    batches that hold them (as TensorFlow Addons' LazyAdam does).
    """

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        """One step of ``variable``; Keras has summed the gradients of a repeated row before."""
        if not isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable)
            return
        place = self._index_dict[self._var_key(variable)]
        rows, values = gradient.indices, gradient.values
        step = tf.cast(self.iterations + 1, variable.dtype)
        scale = tf.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
        moment = self.beta_1 * tf.gather(self._momentums[place], rows) + (1 - self.beta_1) * values
        square = self.beta_2 * tf.gather(self._velocities[place], rows) + (1 - self.beta_2) * tf.square(values)
        self._momentums[place].scatter_update(tf.IndexedSlices(moment, rows))
        self._velocities[place].scatter_update(tf.IndexedSlices(square, rows))
        rate = tf.cast(self.learning_rate, variable.dtype) * scale
        variable.scatter_sub(tf.IndexedSlices(rate * moment / (tf.sqrt(square) + self.epsilon), rows))


def make_optimizer(training: Training, num_steps: int) -> keras.optimizers.Optimizer:
    """The configured optimizer; not compiled by XLA, which would take longer than a small fit.

    Args:
        training: which one, and its learning rate.
        num_steps: after so many steps the cosine schedule reaches zero.
    """
    kinds: dict[str, Any] = {"adam": SparseAdam, "adagrad": keras.optimizers.Adagrad}
    rate: Any = training.learning_rate
    if training.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(training.learning_rate, max(1, num_steps))
    return kinds[training.optimizer](rate, jit_compile=False)


def densified(gradients: list, variables: list[tf.Variable]) -> list:
    """Gradients of small embeddings as whole tensors, which is faster than row by row."""
    return [
        tf.convert_to_tensor(gradient)
        if isinstance(gradient, tf.IndexedSlices) and not is_sparse(variable)
        else gradient
        for gradient, variable in zip(gradients, variables, strict=True)
    ]
