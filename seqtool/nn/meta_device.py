"""Networks that are built only for the shapes of their tensors, on torch's meta device."""

from __future__ import annotations

import torch


def only_shapes() -> bool:
    """Whether what is built now has no values, as inside of `with torch.device("meta")`.

    Initializers that compute something ask, for three reasons: there is nothing to compute with, what goes
    through torch's Python reference functions imports its compiler (a second), and what is restored from
    a folder gets its values there.
    """
    return torch.get_default_device().type == "meta"
