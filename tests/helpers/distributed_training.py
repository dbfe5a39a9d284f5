"""What several workers run together. Imports neither Keras nor TensorFlow itself."""

import json
import os

import numpy as np


def join_cluster(kind, index, **addresses):
    """Tells TensorFlow of a cluster on this machine, by the ports of each kind of task."""
    cluster = {of: [f"localhost:{port}" for port in ports] for of, ports in addresses.items()}
    os.environ["TF_CONFIG"] = json.dumps(
        {"cluster": cluster, "task": {"type": kind, "index": index}}
    )


def two_replicas():
    """A strategy of two devices, for a process that has used none yet."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def wrapped(keras, clr, rate):
    """An optimizer with schedules, in the way in which wrappers such as Horovod's extend it."""
    optimizer = clr.schedule_hyperparameters(
        keras.optimizers.SGD(rate),
        momentum=clr.Triangular(0.0, 0.9, 6),
        weight_decay=clr.Triangular(0.0, 0.1, 5),
    )

    def apply(self, grads, trainable_variables=None):
        super(kind, self).apply([gradient * 1.0 for gradient in grads], trainable_variables)

    kind = type("Distributed", (type(optimizer),), {"apply": apply})
    return kind.from_config(optimizer.get_config())


def serve(kind, index):
    """Runs what a coordinator sends, until the process is killed."""
    import tensorflow as tf

    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    tf.distribute.Server(resolver.cluster_spec(), job_name=kind, task_index=index).join()


def data(steps, batch_size):
    """Batches of ones, as a dataset that can be shared out among workers."""
    import tensorflow as tf

    ones = np.ones((steps * batch_size, 1), np.float32)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    dataset = tf.data.Dataset.from_tensor_slices((ones, ones)).batch(batch_size)
    return dataset.with_options(options)


def weights_after_each_step(strategy, keras, optimizer, steps):
    """What the one weight of each of this process's replicas is after every step.

    The loop is one's own; the gradients of all replicas together are 1; the optimizer is made
    within the strategy's scope.
    """
    import tensorflow as tf

    with strategy.scope():
        layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
        layer.build((None, 1))
        optimizer = optimizer()
        optimizer.build(layer.trainable_variables)
    (variable,) = layer.trainable_variables
    if not isinstance(variable, tf.Variable):  # that of Keras 3 has one
        variable = variable.value

    @tf.function
    def step():
        def on_replica():
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(layer(tf.ones((1, 1)))) / strategy.num_replicas_in_sync
            gradients = tape.gradient(loss, layer.trainable_variables)
            optimizer.apply_gradients(zip(gradients, layer.trainable_variables, strict=True))

        strategy.run(on_replica)

    found = []
    for _ in range(steps):
        step()
        replicas = strategy.experimental_local_results(variable)
        found.append([np.asarray(replica).item() for replica in replicas])
    return found


def layers_after_steps(strategy, keras, optimizer, steps, compiled=True):
    """The weights of three layers on each replica, and what is left in the optimizer of the steps.

    Every replica has the same data, and the losses of all replicas together are that of one.
    """
    import tensorflow as tf

    with strategy.scope():
        keras.utils.set_random_seed(1)
        names = {"low": 3, "middle": 2, "head": 1}
        layers = [keras.layers.Dense(width, name=name) for name, width in names.items()]
        model = keras.Sequential([keras.layers.Input((2,)), *layers], name="net")
        optimizer = optimizer()
        optimizer.build(model.trainable_variables)

    def on_replica():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(tf.ones((1, 2))) ** 2) / strategy.num_replicas_in_sync
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)

    def step():
        strategy.run(on_replica)

    if compiled:
        step = tf.function(step)
    for _ in range(steps):
        step()
    values = [strategy.experimental_local_results(v.value) for v in model.trainable_variables]
    replicas = [[np.asarray(v).tolist() for v in each] for each in zip(*values, strict=True)]
    return replicas, [name for name in vars(optimizer) if name.startswith("_clr_schedules")]


def error_of_range_test(clr, model):
    """What a range test says at once, before it trains."""
    ones = np.ones((8, 1), np.float32)
    try:
        clr.lr_range_test(model, ones, ones, num_steps=100, verbose=0)
    except ValueError as error:
        return str(error)
    return None
