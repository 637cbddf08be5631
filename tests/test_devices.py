"""The library on a device that is not the CPU: the same numbers, and no waiting in the loop.

`pretend` is that device; what only a real GPU can tell is marked `gpu`, elsewhere.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

# experimental in torch: where it is not there, or not any more, there is no such device
pytestmark = pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch has no backends in Python; try a newer one",
)
SCRIPT = Path(__file__).with_name("on_both_devices.py")


@pytest.fixture(scope="module")
def told() -> dict:
    """Run the script in a process of its own, for the device changes a process for good."""
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_method_trains_and_resumes_there_as_on_the_cpu(told):
    assert len(told["trained"]) == 10
    for name, losses in told["trained"].items():
        # the same kernels; but lookahead's tangents may lie otherwise in memory, which rounds
        # otherwise (measured: 1e-7), and bfloat16 multiplies that over nine steps (to 5e-3)
        tolerance = 2e-2 if "lookahead, bfloat16" in name else 1e-5
        assert losses["pretend"] == pytest.approx(losses["cpu"], rel=tolerance), name


def test_readers_diagnostics_and_meta_gradients_say_there_what_they_say_on_the_cpu(told):
    on_cpu, there = told["measured"]["cpu"], told["measured"]["pretend"]
    assert on_cpu.keys() == there.keys()
    for name in on_cpu:
        # 1e-6: the same kernels, perhaps with the memory laid out otherwise
        assert there[name] == pytest.approx(on_cpu[name], rel=1e-6, abs=1e-6), name


def test_the_host_waits_at_the_ends_of_an_epoch_and_never_within_it(told):
    assert len(told["waits"]) == 5
    for name, (of_3_steps, of_6_steps) in told["waits"].items():
        # the order of the images goes there; losses and the weights' length come back
        assert sum(of_3_steps.values()) == 3, (name, of_3_steps)
        assert of_3_steps == of_6_steps, name


def test_a_loss_that_is_looked_at_each_step_is_seen_to_wait(told):
    of_3_steps, of_6_steps = (sum(one.values()) for one in told["waits of a loss that looks"])
    assert (of_3_steps, of_6_steps) == (3 + 3, 3 + 6)


def test_the_device_sees_what_makes_a_host_wait(told):
    assert len(told["seen to wait"]) == 13
    assert all(told["seen to wait"].values()), told["seen to wait"]


def test_tensors_on_two_devices_are_refused_in_a_sentence(told):
    said = told["refused"]
    assert "two devices" in said["torch"]  # so the device is one
    assert "can't convert" in said["numpy"]
    assert said["nt_xent"] == (
        "ValueError: nt_xent got z1 on cpu and z2 on pretend:0; move one of them"
    )
    assert said["knn_accuracy"].startswith("ValueError: train_h and query_h must lie on one device")
