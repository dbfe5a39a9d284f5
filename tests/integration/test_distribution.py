"""The same rate on every replica at every step, on each way to distribute that a Keras has."""

import numpy as np
import pytest
from helpers.keras_under_test import BACKEND, LEGACY, needs_tensorflow
from helpers.other_process import free_ports, results, run, start, stop
from helpers.weight_model import descend

import clr_schedules as clr

slow = pytest.mark.slow

POLICY = clr.Triangular2(1e-3, 6e-2, 3, 5)
STEPS = 40
RATES = POLICY.values(range(STEPS)).astype(np.float32)
# What the weight is after every step, if its gradient is 1 and it is in one process.
ALONE = [descend(RATES[: i + 1]).item() for i in range(STEPS)]

IMPORTS = """
import numpy as np
import clr_schedules as clr
from clr_schedules import Triangular2
from helpers.keras_under_test import keras
from helpers.weight_model import weight, weight_model
from helpers.distributed_training import *
optimizer = lambda: keras.optimizers.SGD(eval(policy))
"""
SAID = "that several processes train together"


@slow
def test_what_a_single_process_does():
    """The measure of all the others, by a training in this one."""
    from helpers.keras_under_test import keras
    from helpers.weight_model import fit, weight, weight_model

    model = weight_model(keras.optimizers.SGD(POLICY))
    fit(model, STEPS)
    assert weight(model) == ALONE[-1]


# ---- Two replicas in a process: in another one than this, which has its devices already

TWO_REPLICAS = """
import tensorflow as tf
strategies = {"two": two_replicas(), "one": tf.distribute.MirroredStrategy(["CPU:0"])}
found = {"loop": weights_after_each_step(strategies["two"], keras, optimizer, steps)}

def make(rate):
    with strategies["two"].scope():
        return weight_model(keras.optimizers.SGD(rate))

def fit(model, steps, **arguments):
    ones = np.ones((2 * steps, 1), np.float32)
    model.fit(ones, ones, batch_size=2, verbose=0, **arguments)

# Keras 3.6 adds the gradients of the replicas up, where later ones take their mean.
unit = make(1.0)
fit(unit, 1)
callbacks = {
    "logger": (eval(policy), clr.LearningRateLogger()),
    "callback": (0.25, clr.CyclicalLR(1e-3, 6e-2, 3, "triangular2")),
}
for name, (rate, callback) in callbacks.items():
    model = make(rate)
    for epochs in (1, 2):
        fit(model, 10, epochs=epochs, callbacks=[callback])
    rate = float(np.asarray(model.optimizer.learning_rate))
    found[name] = callback.history, weight(model) / weight(unit), rate
"""

HYPERPARAMETERS = """
made = []
def make_optimizer():
    made.append(wrapped(keras, clr, eval(policy)))
    return made[-1]

found["hyperparameters"] = {
    name: weights_after_each_step(strategy, keras, make_optimizer, steps)
    for name, strategy in strategies.items()
}
found["constants"] = [[each.momentum, each.weight_decay] for each in made]

class Counted(keras.optimizers.schedules.LearningRateSchedule):
    calls = 0
    def __call__(self, step):
        self.calls += 1
        return 0.01 * keras.ops.cos(keras.ops.cast(step, "float32"))

found["asked for"] = {}
for name, strategy in strategies.items():
    rate = Counted()
    make_optimizer = lambda: clr.schedule_hyperparameters(
        keras.optimizers.AdamW(rate), weight_decay=clr.Triangular(0.0, 0.1, 5),
        beta_1=clr.Triangular(0.8, 0.9, 5))
    weights = weights_after_each_step(strategy, keras, make_optimizer, 5)
    found["asked for"][name] = rate.calls, weights
"""

LAYERS = """
thawing = clr.Piecewise([0.0, 0.5, 0.0, 1.0], [2, 4, 6])
multipliers = {"net/low/.*": thawing, "net/middle/.*": 0.1, "net/head/bias": 0.0}
makers = {
    "AdamW": lambda: keras.optimizers.AdamW(eval(policy), weight_decay=0.1),
    "SGD": lambda: clr.schedule_hyperparameters(
        keras.optimizers.SGD(eval(policy), nesterov=True, weight_decay=0.1),
        momentum=clr.Triangular(0.0, 0.9, 6)),
}
strategies = {"two": strategies["two"], "none": tf.distribute.get_strategy()}
found["layers"] = {
    f"{name} {'compiled' if compiled else 'eager'}": {
        strategy: layers_after_steps(
            strategies[strategy], keras,
            lambda: clr.scale_learning_rates(make_one(), multipliers), 8, compiled)
        for strategy in strategies
    }
    for name, make_one in makers.items() for compiled in (True, False)
}
"""


@pytest.fixture(scope="module")
def on_two_replicas():
    """What one process has found on two replicas, for all tests of them."""
    code = IMPORTS + TWO_REPLICAS + ("" if LEGACY else HYPERPARAMETERS + LAYERS)
    return run(code + "print(json.dumps(found))", policy=repr(POLICY), steps=STEPS)


@needs_tensorflow
def test_two_replicas_with_a_loop_of_their_own(on_two_replicas):
    assert on_two_replicas["loop"] == [[weight] * 2 for weight in ALONE]


@needs_tensorflow
def test_both_callbacks_know_the_rate_of_all_replicas(on_two_replicas):
    history, taken, _ = on_two_replicas["logger"]
    assert history["iteration"] == list(range(30))
    assert history["learning_rate"] == RATES[:30].tolist()
    assert taken == pytest.approx(RATES[:30].sum(), rel=1e-5)
    history, taken, former = on_two_replicas["callback"]
    expected = clr.Triangular2(1e-3, 6e-2, 3).values(range(30)).astype(np.float32)
    assert history == {"lr": expected.tolist(), "iter": list(range(30))}
    assert taken == pytest.approx(expected.sum(), rel=1e-5)
    assert former == 0.25


hyperparameters = pytest.mark.skipif(LEGACY, reason="the hyperparameters of Keras 3")


@needs_tensorflow
@hyperparameters
def test_replicas_share_the_values_of_hyperparameters(on_two_replicas):
    """In an optimizer that a wrapper for distributed training has made a subclass of."""
    found = on_two_replicas["hyperparameters"]
    assert found["two"] == [weight * 2 for weight in found["one"]]
    assert found["one"] != [[weight] for weight in ALONE]  # with the momentum
    assert on_two_replicas["constants"] == [[0.0, None]] * 2


@needs_tensorflow
@hyperparameters
def test_replicas_ask_for_the_rate_once(on_two_replicas):
    found = on_two_replicas["asked for"]
    assert found["two"] == [1, [weight * 2 for weight in found["one"][1]]]
    assert found["one"][0] == 1


@needs_tensorflow
@hyperparameters
def test_replicas_share_the_rates_of_layers(on_two_replicas):
    """Each replica has the weights of a training without replicas, compiled and not."""
    found = on_two_replicas["layers"]
    assert len(found) == 4
    for way, of_strategy in found.items():
        (expected,), left_over = of_strategy["none"]
        assert left_over == []
        assert of_strategy["two"] == [[expected, expected], []], way


# ---- Several processes


WORKER = (
    """
from helpers.distributed_training import join_cluster
join_cluster("worker", index, worker=ports)
import tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()
"""
    + IMPORTS
)


def two_workers(code, **arguments):
    ports = free_ports(2)
    return results(
        [
            start(WORKER + code, index=index, ports=ports, policy=repr(POLICY), **arguments)
            for index in range(2)
        ],
        timeout=120,
    )


@slow
@needs_tensorflow
def test_two_workers_with_a_loop_of_their_own():
    code = "print(json.dumps(weights_after_each_step(strategy, keras, optimizer, steps)))"
    for found in two_workers(code, steps=STEPS):
        assert found == [[weight] for weight in ALONE]


FIT = """
with strategy.scope():
    model = weight_model(make())
logger = clr.LearningRateLogger(log_dir=f"{folder}/{index}")
try:
    model.fit(data(steps, 2), verbose=0, callbacks=[logger] * with_logger)
    error = None
except Exception as caught:
    error = str(caught)
print(json.dumps([error, weight(model), logger.history["learning_rate"] if with_logger else None,
                  error_of_range_test(clr, model)]))
"""


@slow
@pytest.mark.skipif(not LEGACY, reason="the `fit` of Keras 3 does not know several workers")
def test_two_workers_with_fit(tmp_path):
    code = "make = optimizer" + FIT
    for found in two_workers(code, steps=STEPS, folder=str(tmp_path), with_logger=True):
        error, weight, logged, said = found
        assert error is None
        assert weight == ALONE[-1]
        assert logged == RATES.tolist()
        assert SAID in said
    written = [path.parent.name for path in tmp_path.rglob("*") if path.is_file()]
    assert written == ["0"]  # by the chief alone


@slow
@needs_tensorflow
@pytest.mark.skipif(LEGACY, reason="about the `fit` of Keras 3")
@pytest.mark.parametrize("rate", ["0.25", repr(POLICY)], ids=["without us", "with us"])
def test_with_two_workers_the_fit_of_keras_3_fails_by_itself(rate, tmp_path):
    code = f"make = lambda: keras.optimizers.SGD({rate})" + FIT
    for found in two_workers(code, steps=STEPS, folder=str(tmp_path), with_logger=False):
        error, _, _, said = found
        assert "PerReplica" in error
        assert SAID in said


@slow
@pytest.mark.skipif(not LEGACY, reason="the `fit` of Keras 3 does not know parameter servers")
def test_parameter_servers_with_fit(tmp_path):
    """Two workers, which do not wait for each other: a step is what the server counts as one."""
    coordinator, *workers, server = free_ports(4)
    join = "join_cluster(kind, index, chief=[coordinator], worker=workers, ps=[server])\n"
    cluster = {"coordinator": coordinator, "workers": workers, "server": server}
    served = [
        start(
            f"from helpers.distributed_training import *\n{join}serve(kind, index)",
            kind=kind,
            index=index,
            **cluster,
        )
        for kind, index in [("worker", 0), ("worker", 1), ("ps", 0)]
    ]
    code = (
        f"from helpers.distributed_training import *\n{join}"
        """
import os
import tensorflow as tf
resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
strategy = tf.distribute.ParameterServerStrategy(resolver)
"""
        + IMPORTS
        + """
with strategy.scope():
    model = weight_model(optimizer())
logger = clr.LearningRateLogger()
model.fit(data(steps, 1).repeat(), epochs=2, steps_per_epoch=steps // 2, verbose=0,
          callbacks=[logger])
print(json.dumps([weight(model), logger.history["learning_rate"], error_of_range_test(clr, model)]),
      flush=True)
os._exit(0)  # the coordinator would go on asking after its servers
"""
    )
    try:
        ((weight, logged, said),) = results(
            [start(code, kind="chief", index=0, policy=repr(POLICY), steps=STEPS, **cluster)],
            timeout=120,
        )
    finally:
        stop(served)
    # Two workers may subtract in another order than one.
    assert weight == pytest.approx(ALONE[-1], rel=1e-6)
    assert logged == RATES.tolist()
    assert SAID in said


NOTE = """
found = []
class Note(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        shards = self.model.trainable_variables[0].value.addressable_shards
        found.append([np.asarray(shard.data).item() for shard in shards])
logger = clr.LearningRateLogger(log_dir=f"{folder}/{index}")
model = weight_model(optimizer())
"""


@slow
@pytest.mark.skipif(BACKEND != "jax", reason="about JAX")
def test_four_devices_of_jax(tmp_path):
    code = (
        'import os\nos.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"\n'
        + IMPORTS
        + "keras.distribution.set_distribution(keras.distribution.DataParallel())\n"
        + NOTE
        + """
ones = np.ones((4 * steps, 1), np.float32)
model.fit(ones, ones, batch_size=4, verbose=0, callbacks=[Note(), logger])
print(json.dumps([found, logger.history["learning_rate"]]))
"""
    )
    found, logged = run(code, policy=repr(POLICY), steps=STEPS, folder=str(tmp_path), index=0)
    assert found == [[weight] * 4 for weight in ALONE]
    assert logged == RATES.tolist()


@slow
@pytest.mark.skipif(BACKEND != "jax", reason="about JAX")
def test_two_devices_of_jax_share_the_rates_of_layers():
    code = (
        'import os\nos.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"\n'
        + IMPORTS
        + """
x = np.repeat(np.random.default_rng(0).normal(size=(steps, 2)).astype("float32"), 2, axis=0)

def train(make_one):
    keras.utils.set_random_seed(1)
    names = {"low": 3, "middle": 2, "head": 1}
    layers = [keras.layers.Dense(width, name=name) for name, width in names.items()]
    model = keras.Sequential([keras.layers.Input((2,)), *layers], name="net")
    thawing = clr.Piecewise([0.0, 0.5, 0.0, 1.0], [10, 20, 30])
    multipliers = {"net/low/.*": thawing, "net/middle/.*": 0.1, "net/head/bias": 0.0}
    model.compile(clr.scale_learning_rates(make_one(), multipliers), "mse")
    model.fit(x, x[:, :1], batch_size=2, shuffle=False, verbose=0)
    return model.trainable_variables

makers = {
    "AdamW": lambda: keras.optimizers.AdamW(eval(policy)),
    "SGD": lambda: keras.optimizers.SGD(eval(policy), momentum=0.9, nesterov=True),
}
found = {name: [np.asarray(v).tolist() for v in train(make)] for name, make in makers.items()}
keras.distribution.set_distribution(keras.distribution.DataParallel())
shards = {
    name: [
        [np.asarray(shard.data).tolist() for shard in v.value.addressable_shards]
        for v in train(make)
    ]
    for name, make in makers.items()
}
print(json.dumps([found, shards]))
"""
    )
    found, shards = run(code, policy=repr(POLICY), steps=STEPS)
    for name, expected in found.items():
        for on_devices, alone in zip(shards[name], expected, strict=True):
            assert len(on_devices) == 2
            assert on_devices[0] == on_devices[1]
            # The devices may add up the gradients of the two equal rows in another order.
            np.testing.assert_allclose(on_devices[0], alone, rtol=2e-6, atol=2e-6)


@slow
@pytest.mark.skipif(BACKEND != "jax", reason="about JAX")
def test_two_processes_of_jax(tmp_path):
    code = (
        """
import jax
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"localhost:{port}", 2, index)
"""
        + IMPORTS
        + """
keras.distribution.set_distribution(keras.distribution.DataParallel(
    devices=keras.distribution.list_devices(), auto_shard_dataset=False))
"""
        + NOTE
        + """
ones = np.ones((2 * steps, 1), np.float32)
model.fit(ones, ones, batch_size=2, verbose=0, callbacks=[Note(), logger])
print(json.dumps([found, logger.history["learning_rate"], error_of_range_test(clr, model)]))
"""
    )
    (port,) = free_ports(1)
    arguments = {"policy": repr(POLICY), "steps": STEPS, "folder": str(tmp_path), "port": port}
    processes = [start(code, index=index, **arguments) for index in range(2)]
    for found, logged, said in results(processes, timeout=120):
        assert found == [[weight] for weight in ALONE]
        assert logged == RATES.tolist()
        assert SAID in said
    written = [path.parent.name for path in tmp_path.rglob("*") if path.is_file()]
    assert written == ["0"]


@slow
@pytest.mark.skipif(BACKEND != "torch", reason="about PyTorch")
def test_two_processes_of_torch(tmp_path):
    """A loop of one's own around `DistributedDataParallel`; then a `fit` for the logger."""
    code = (
        """
import torch
torch.distributed.init_process_group(
    "gloo", init_method=f"tcp://localhost:{port}", rank=index, world_size=2)
"""
        + IMPORTS
        + """
model, found = weight_model(optimizer()), []
model.optimizer.build(model.trainable_variables)
shared = torch.nn.parallel.DistributedDataParallel(model)
for _ in range(steps):
    shared.zero_grad()
    loss = shared(torch.ones(1, 1)).sum() * 2 * index  # with gradients of 0 and 2
    loss.backward()
    model.optimizer.apply([variable.value.grad for variable in model.trainable_variables])
    found.append(weight(model))
logger = clr.LearningRateLogger(log_dir=f"{folder}/{index}")
alone = weight_model(optimizer())
ones = np.ones((steps, 1), np.float32)
alone.fit(ones, ones, batch_size=1, verbose=0, callbacks=[logger])
said = error_of_range_test(clr, alone)
torch.distributed.destroy_process_group()
print(json.dumps([found, logger.history["learning_rate"], said]))
"""
    )
    (port,) = free_ports(1)
    arguments = {"policy": repr(POLICY), "steps": STEPS, "folder": str(tmp_path), "port": port}
    processes = [start(code, index=index, **arguments) for index in range(2)]
    for found, logged, said in results(processes, timeout=120):
        assert found == ALONE
        assert logged == RATES.tolist()
        assert SAID in said
    written = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")}
    assert written == {"0"}
