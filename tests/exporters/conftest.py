"""What the conversion's tests share."""

import pytest


@pytest.fixture(scope="module")
def one_thread():
    """PyTorch on one thread: on small networks more of them wait for each other longer than they work."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
