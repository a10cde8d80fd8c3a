"""Building networks without values, for the shapes of their tensors, on PyTorch's meta device."""

from __future__ import annotations

import torch


def only_shapes() -> bool:
    """Whether modules are being built without values, inside `with torch.device("meta")`.

    Initialisers that compute something check this, for three reasons: there are no values to compute with;
    operations that go through PyTorch's Python reference functions import its compiler, which takes a second;
    and a model that is restored from a folder gets its values from there.
    """
    return torch.get_default_device().type == "meta"
