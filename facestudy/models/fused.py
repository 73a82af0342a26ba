"""Batch normalisation and Adam as single TensorFlow kernels.

Keras composes both from elementary operations, about ten per layer and fifteen per weight array, and small
networks spend more time on starting them than on computing. `python -m benchmarks.training` measures the
difference. With another backend, both classes do what Keras's do.

No kernel may use the CPU's instructions for approximate reciprocals and reciprocal roots, which AMD and Intel round
differently: docs/reproducibility.md lists the operations that do.
"""

from __future__ import annotations

from typing import Any

from facestudy.runtime import backend
from facestudy.runtime.backend import keras


@keras.saving.register_keras_serializable("facestudy")
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation over the last axis of (batch, h, w, channels); other forms are left to Keras.

    The moving variance is estimated with n - 1, as in PyTorch, where Keras divides by n; n is the number of
    values of a channel in a batch.

    References
    ----------
    Ioffe and Szegedy 2015, "Batch normalization", algorithms 1 and 2.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise a batch, as Keras's layer of this name.

        Parameters
        ----------
        inputs : tensor of shape (batch, h, w, channels)
            The activations.
        training
            Whether to use the statistics of the batch and update the moving ones.
        mask
            As in Keras.

        Returns
        -------
        tensor of the same shape
        """
        last_axis = len(inputs.shape) == 4 and self.axis in (-1, 3) and mask is None
        plain = self.scale and self.center and not self.renorm and not self.synchronized
        if backend.name() != "tensorflow" or not (last_axis and plain):
            return super().call(inputs, training=training, mask=mask)
        from tensorflow import raw_ops

        scale, offset, mean, variance = (
            keras.ops.convert_to_tensor(weight)
            for weight in (self.gamma, self.beta, self.moving_mean, self.moving_variance)
        )
        if not (training and self.trainable):
            # TensorFlow would merge FusedBatchNormV3 into a convolution, and a division by a root into a product, both
            # with approximate reciprocal roots. These exist for float32 only.
            root = keras.ops.sqrt(keras.ops.cast(variance, "float64") + self.epsilon)
            scale = keras.ops.cast(keras.ops.cast(scale, "float64") / root, "float32")
            return inputs * scale + (offset - mean * scale)
        result = raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=scale,
            offset=offset,
            mean=mean,
            variance=variance,
            epsilon=self.epsilon,
            exponential_avg_factor=1 - self.momentum,
            is_training=True,
        )
        self.moving_mean.assign(result.batch_mean)
        self.moving_variance.assign(result.batch_variance)
        return result.y


@keras.saving.register_keras_serializable("facestudy")
class Adam(keras.optimizers.Adam):
    """Adam, one kernel per weight array; its variant AMSGrad is left to Keras.

    References
    ----------
    Kingma and Ba 2015, "Adam", the formula before section 2.1, where epsilon is added to the root of the
    uncorrected second moment.
    """

    def _backend_update_step(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
        if backend.name() != "tensorflow" or self.amsgrad:
            super()._backend_update_step(grads, trainable_variables, learning_rate)
            return
        from tensorflow import raw_ops

        step = keras.ops.cast(self.iterations + 1, "float32")
        powers = {"beta1_power": keras.ops.power(self.beta_1, step), "beta2_power": keras.ops.power(self.beta_2, step)}
        rates = {"lr": learning_rate, "beta1": self.beta_1, "beta2": self.beta_2, "epsilon": self.epsilon}
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            index = self._get_variable_index(variable)
            raw_ops.ResourceApplyAdam(
                var=variable.value.handle,
                m=self._momentums[index].value.handle,
                v=self._velocities[index].value.handle,
                grad=gradient,
                **powers,
                **rates,
            )
