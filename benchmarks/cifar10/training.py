"""The post's network, and one way to train it on each backend of Keras.

`fit` starts every step, or group of steps, from Python and copies what it needs. Here the images
stay on the device as uint8, and an epoch with the test after it is one compiled call (on PyTorch, a
loop). What a step does is what Keras's own `train_step` does; the tests compare the two.
"""

from __future__ import annotations

import functools
import importlib
import platform
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

import clr_schedules
from benchmarks import report
from benchmarks.cifar10.data import SHAPE, Data

BACKEND: str = keras.config.backend()
_TEST_BATCH = 1000

State = list[NDArray[Any]]
Order = NDArray[np.int32]


class Scores(NamedTuple):
    """What an epoch comes to: the mean loss of its batches, then loss and accuracy of the test."""

    train_loss: float
    test_loss: float
    test_accuracy: float


def network() -> Any:
    """The post's network; it takes pixels from 0 to 255 and scales them to 1."""
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10),
        ]
    )


def loss() -> Any:
    """The post's loss."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class Training:
    """A network under training. Make one with `training`.

    Args:
        learning_rate: A rate or a schedule.
        data: The images.
        seed: Of the first weights.
    """

    def __init__(self, learning_rate: Any, data: Data, seed: int) -> None:
        keras.utils.set_random_seed(seed)
        self.model = network()
        self.optimizer = keras.optimizers.Adam(learning_rate)
        self.optimizer.build(self.model.trainable_variables)
        self.loss = loss()
        self.data = _on_device(data)

    def epoch(self, order: Order) -> Scores:
        """Trains on batches of these images, one row after the other, and tests.

        Args:
            order: The indices of the images of each batch, shape ``(steps, batch)``.
        """
        raise NotImplementedError

    @property
    def variables(self) -> list[Any]:
        """The weights, and the optimizer's state."""
        return [*self.model.variables, *self.optimizer.variables]

    def state(self) -> State:
        """A copy of all that a training goes on from."""
        return [np.array(ops.convert_to_numpy(variable)) for variable in self.variables]

    def restore(self, state: State) -> None:
        """Goes back to what `state` returned."""
        for variable, value in zip(self.variables, state, strict=True):
            variable.assign(value)


def training(learning_rate: Any, data: Data, seed: int) -> Training:
    """A network with its first weights, to be trained on the backend that Keras runs on.

    Args:
        learning_rate: A rate or a schedule.
        data: The images.
        seed: Of the first weights. Networks with the same seed begin alike, whatever their rate.
    """
    kinds: dict[str, type[Training]] = {"jax": _Jax, "tensorflow": _TensorFlow, "torch": _Torch}
    if BACKEND not in kinds:
        raise ValueError(f"Keras must run on one of {', '.join(kinds)}. Received: {BACKEND}")
    return kinds[BACKEND](learning_rate, data, seed)


def batches(seed: int, epoch: int, images: int, batch: int) -> Order:
    """Which images the batches of an epoch hold; a function of the seed, so that arms are alike.

    Images that fill no batch are left out, other ones in each epoch.
    """
    order = np.random.default_rng((seed, epoch)).permutation(images).astype(np.int32)
    return order[: images // batch * batch].reshape(-1, batch)


_last: tuple[Data, tuple[Any, ...]] | None = None


def _on_device(data: Data) -> tuple[Any, ...]:
    """The arrays as tensors, which all trainings of a process share."""
    global _last
    if _last is None or _last[0] is not data:
        arrays = (data.x_train, data.y_train, data.x_test, data.y_test)
        _last = data, tuple(ops.convert_to_tensor(array) for array in arrays)
    return _last[1]


def _chunk(images: int) -> int:
    """The largest number of images at a time, up to a thousand, that goes into all of them."""
    return next(n for n in range(min(_TEST_BATCH, images), 0, -1) if images % n == 0)


def _measures(logits: Any, labels: Any, loss: Any) -> tuple[Any, Any]:
    """The mean loss and the accuracy of some images, as tensors."""
    hits = ops.equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), labels)
    return loss(labels, logits), ops.mean(ops.cast(hits, "float32"))


class _Jax(Training):
    """On JAX: a scan over the batches, one over the test, and a state that is given away."""

    def __init__(self, learning_rate: Any, data: Data, seed: int) -> None:
        super().__init__(learning_rate, data, seed)
        # Constant rates are part of the optimizer's state, so that one program does for all.
        kind = "constant" if isinstance(learning_rate, float) else repr(learning_rate)
        key = kind, tuple(array.shape for array in self.data)
        # The first of a kind compiles for all of it: to what is compiled, a model is a function.
        self._program = _programs.setdefault(key, _program(self.model, self.optimizer, self.loss))
        self._take_state()

    def _take_state(self) -> None:
        # Copies, since each call takes over the memory of the state that it is given.
        self._state = tuple(
            [variable.value.copy() for variable in variables]
            for variables in (
                self.model.trainable_variables,
                self.model.non_trainable_variables,
                self.optimizer.variables,
            )
        )

    def epoch(self, order: Order) -> Scores:
        self._state, scores = self._program(self._state, order, *self.data)
        return Scores(*np.asarray(scores).tolist())

    def state(self) -> State:
        trainable, non_trainable, optimizer = self._state
        for variables, values in (
            (self.model.trainable_variables, trainable),
            (self.model.non_trainable_variables, non_trainable),
            (self.optimizer.variables, optimizer),
        ):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        found = super().state()
        self._take_state()
        return found

    def restore(self, state: State) -> None:
        super().restore(state)
        self._take_state()


_programs: dict[Any, Callable[..., Any]] = {}


def _program(model: Any, optimizer: Any, loss: Any) -> Callable[..., Any]:
    """An epoch and the test after it, as one compiled function of the state."""
    import jax
    from jax import numpy as jnp

    def loss_of(trainable: Any, non_trainable: Any, x: Any, y: Any) -> Any:
        logits, non_trainable = model.stateless_call(trainable, non_trainable, x, training=True)
        return loss(y, logits), non_trainable

    gradient = jax.value_and_grad(loss_of, has_aux=True)

    def epoch(state: Any, order: Any, x: Any, y: Any, x_test: Any, y_test: Any) -> Any:
        def step(state: Any, batch: Any) -> Any:
            trainable, non_trainable, optimizer_state = state
            (value, non_trainable), gradients = gradient(
                trainable, non_trainable, x[batch].astype(jnp.float32), y[batch]
            )
            trainable, optimizer_state = optimizer.stateless_apply(
                optimizer_state, gradients, trainable
            )
            return (trainable, non_trainable, optimizer_state), value

        state, losses = jax.lax.scan(step, state, order)

        def test(images: Any) -> Any:
            x, y = images
            logits, _ = model.stateless_call(state[0], state[1], x.astype(jnp.float32))
            return jnp.stack(_measures(logits, y, loss))

        n = _chunk(len(x_test))
        chunks = x_test.reshape(-1, n, *x_test.shape[1:]), y_test.reshape(-1, n)
        tested = jnp.mean(jax.lax.map(test, chunks), axis=0)
        return state, jnp.concatenate([jnp.mean(losses)[None], tested])

    program: Callable[..., Any] = jax.jit(epoch, donate_argnums=0)
    return program


class _TensorFlow(Training):
    """On TensorFlow: a graph with a loop over the batches, one with a loop over the test."""

    def __init__(self, learning_rate: Any, data: Data, seed: int) -> None:
        super().__init__(learning_rate, data, seed)
        import tensorflow as tf

        # It takes the graphs of several networks for one that is traced again.
        tf.get_logger().setLevel("ERROR")
        x, y, x_test, y_test = self.data
        images, n = len(x_test), _chunk(len(x_test))

        def step(batch: Any) -> Any:
            with tf.GradientTape() as tape:
                logits = self.model(tf.gather(x, batch), training=True)
                value = self.loss(tf.gather(y, batch), logits)
            weights = self.model.trainable_variables
            self.optimizer.apply(tape.gradient(value, weights), weights)
            return value

        # Not by XLA, whose convolutions are four times slower on a CPU.
        @tf.function  # type: ignore[untyped-decorator]
        def epoch(order: Any) -> Any:
            steps = tf.shape(order)[0]
            total = tf.zeros(())
            for i in tf.range(steps):
                total += step(order[i])
            tested = tf.zeros(2)
            for i in tf.range(0, images, n):
                logits = self.model(x_test[i : i + n])
                tested += tf.stack(_measures(logits, y_test[i : i + n], self.loss))
            train_loss = total / tf.cast(steps, tf.float32)
            return tf.concat([[train_loss], tested * (n / images)], axis=0)

        self._epoch = epoch

    def epoch(self, order: Order) -> Scores:
        import tensorflow as tf

        return Scores(*self._epoch(tf.constant(order)).numpy().tolist())


class _Torch(Training):
    """On PyTorch: a loop, whose losses stay on the device until it is over."""

    def epoch(self, order: Order) -> Scores:
        import torch

        x, y, x_test, y_test = self.data
        weights = self.model.trainable_variables
        losses = []
        for batch in ops.convert_to_tensor(order).long():
            self.model.zero_grad()
            value = self.loss(y[batch], self.model(x[batch], training=True))
            value.backward()
            with torch.no_grad():
                self.optimizer.apply([weight.value.grad for weight in weights], weights)
            losses.append(value.detach())
        with torch.no_grad():
            n = _chunk(len(x_test))
            tested = [
                torch.stack(_measures(self.model(images), labels, self.loss))
                for images, labels in zip(x_test.split(n), y_test.split(n), strict=True)
            ]
            train_loss = torch.stack(losses).mean()[None]
            scores = torch.cat([train_loss, torch.stack(tested).mean(0)])
        return Scores(*scores.cpu().tolist())


@functools.cache
def environment() -> dict[str, Any]:
    """The machine and the versions."""
    engine = importlib.import_module(BACKEND)
    modules = (keras, engine, np, clr_schedules)
    return {
        "backend": BACKEND,
        "device": _device() or report.cpu(),
        "precision": _precision(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version()}
        | {module.__name__: str(module.__version__) for module in modules},
    }


def _device() -> str | None:
    """The accelerator, if there is one."""
    if BACKEND == "jax":
        import jax

        device = jax.devices()[0]
        return None if device.platform == "cpu" else str(device.device_kind)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        found = tf.config.list_physical_devices("GPU")
        if not found:
            return None
        return str(tf.config.experimental.get_device_details(found[0]).get("device_name", "GPU"))
    import torch

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else None


def _precision() -> str:
    """In what numbers are kept, and products computed."""
    kept = keras.config.dtype_policy().name
    if BACKEND == "jax":
        import jax

        chosen = jax.config.jax_default_matmul_precision
        return f"{kept}, products: {chosen or 'default (on a GPU, TF32 if it has that)'}"
    if BACKEND == "tensorflow":
        import tensorflow as tf

        tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
        return f"{kept}, products: {'TF32 where there is' if tf32 else 'the same'}"
    import torch

    return f"{kept}, products: {torch.get_float32_matmul_precision()}"
