"""A brief training of a small copy: the same each time, on any executor."""

import dataclasses
import functools

import numpy as np
import pytest

from edgetpu_lib import specs
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.search import evolution, proxy
from edgetpu_lib.search import space as search_space

# Two stages of one block: quick to build.
SHALLOW = tuple(dataclasses.replace(s, repeats=1) for s in specs.STAGES[:2])


@pytest.fixture(scope="module")
def task():
    """Return a task of two colours, which a few steps tell apart."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    images = rng.normal(60 + 130 * labels[:, None, None, None], 8, (40, 36, 36, 3))
    images_u8 = images.clip(0, 255).astype(np.uint8)
    return proxy.ProxyTask(
        train_u8=images_u8[:24],
        train_labels=labels[:24],
        held_out_u8=images_u8[24:, :32, :32],
        held_out_labels=labels[24:],
        image_size=32,
        width_coefficient=0.25,
        epochs=12,
        batch_size=8,
    )


def test_copy_is_the_network_with_fewer_channels(task):
    copy = proxy.copy_spec(SHALLOW, task)
    assert copy.stages == SHALLOW
    assert (copy.image_size, copy.num_classes) == (32, 2)
    deployed = evolution.deployed_spec(SHALLOW)
    assert specs.count_parameters(copy)[0] < 0.5 * specs.count_parameters(deployed)[0]


def test_photos_are_divided_without_overlap(images):
    task = proxy.load_task(images, image_size=32, seed=3)
    assert task.train_u8.shape[1:] == (37, 37, 3)
    assert task.held_out_u8.shape[1:] == (32, 32, 3)
    assert (len(task.train_u8), len(task.held_out_u8)) == (18, 12)
    assert len(task.train_labels) == 18
    counts = np.bincount(task.train_labels) + np.bincount(task.held_out_labels)
    assert counts.tolist() == [10, 10, 10]
    again = proxy.load_task(images, image_size=32, seed=3)
    assert again.facts() == task.facts()
    assert proxy.load_task(images, image_size=32, seed=4).facts() != task.facts()


def test_facts_tell_photos_and_settings_apart(task):
    other = task.train_u8.copy()
    other[0, 0, 0, 0] ^= 1
    assert dataclasses.replace(task, train_u8=other).facts() != task.facts()
    assert dataclasses.replace(task, epochs=9).facts() != task.facts()
    assert dataclasses.replace(task, epochs=9).digest != task.digest
    assert dataclasses.replace(task).digest == task.digest


def test_too_few_photos_are_refused(images):
    with pytest.raises(InputError, match="too few"):
        proxy.load_task(images.take([0, 10]), image_size=32)


def test_processes_judge_what_the_search_proposes(task):
    judge = functools.partial(proxy.proxy_top1, task=task)
    config = evolution.SearchConfig(candidates=2, strategy="random", seed=5)
    space = search_space.SearchSpace(repeats=(1,), baseline=SHALLOW)
    with proxy.worker_pool(1) as pool:
        found = list(evolution.search(space, judge, config, pool))
        again = pool.submit(judge, found[1].stages).result()
    assert found[1].top1 == again
    assert max(c.top1 for c in found) > 0.6
    assert all(0 <= c.top1 <= 1 for c in found)


def test_dask_runs_the_same_search(task):
    distributed = pytest.importorskip("distributed")
    judge = functools.partial(data_free_judge, sizes=(3, 5))
    config = evolution.SearchConfig(candidates=12)
    space = search_space.SearchSpace()
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            host="127.0.0.1",
        ) as cluster,
        distributed.Client(cluster) as client,
        client.get_executor() as on_cluster,
        proxy.worker_pool(1) as here,
    ):
        found = list(evolution.search(space, judge, config, on_cluster))
        assert found == list(evolution.search(space, judge, config, here))
        top1 = on_cluster.submit(proxy.proxy_top1, SHALLOW, task).result()
    assert 0.5 <= top1 <= 1


def data_free_judge(stages, sizes):
    """Judge without training: the share of stages with the larger kernel."""
    return sum(stage.kernel_size == max(sizes) for stage in stages) / len(stages)
