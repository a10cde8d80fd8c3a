"""The settings that the `[model]` tables of all tasks share."""

from __future__ import annotations

from typing import Any

import pytest

from seqtool.errors import SettingsError
from seqtool.lm import settings as lm
from seqtool.nn.cell_names import BATCH_NORMALISED, CELL_NAMES
from seqtool.nn.cell_options import WITHOUT, CellOptions, LayerOptions
from seqtool.settings import validate
from seqtool.tagging import settings as tagging
from seqtool.training.network_settings import NetworkSettings
from seqtool.translation import settings as translation

MODELS: dict[str, tuple[type[NetworkSettings], dict[str, Any]]] = {
    "lm": (lm.ModelSettings, {"layers": 2}),
    "tagging": (tagging.ModelSettings, {"layers": 2}),
    "translation": (translation.ModelSettings, {"decoder_layers": 2}),
}
VALUES: dict[str, Any] = {
    "weight_drop": 0.1, "recurrent_dropout": 0.2, "zoneout": 0.3, "zoneout_hidden": 0.05,
    "input_init": "kaiming", "recurrent_init": "identity", "forget_bias": 2.0, "spectral_radius": 0.5,
}  # fmt: skip
LAYERS: dict[str, Any] = {"residual": True, "highway": True, "dilation": 3, "learned_start": True}
every_model = pytest.mark.parametrize("task", MODELS)


def settings_of(task: str, **values: Any) -> NetworkSettings:
    kind, usual = MODELS[task]
    return validate(kind, {**usual, **values}, "model")


@every_model
def test_everything_reaches_the_layers(task: str):
    found = settings_of(task, cell="lstm", dilation=3, highway=True, learned_start=True, weight_drop=0.1)
    assert found.layer_options == LayerOptions(
        "lstm", CellOptions(weight_drop=0.1), highway=True, dilation=3, learned_start=True
    )
    for name, value in VALUES.items():
        cell = "echo_state" if name == "spectral_radius" else "lstm"
        assert settings_of(task, cell=cell, **{name: value}).layer_options.of_cells == CellOptions(
            **{name: value}
        )
    assert settings_of(task, chrono=9).layer_options.of_cells == CellOptions(chrono=9)


@every_model
@pytest.mark.parametrize("option", WITHOUT)
def test_what_has_no_effect_on_a_cell_is_refused_with_the_reason(task: str, option: str):
    value = {**VALUES, **LAYERS, "chrono": 9}[option]
    for cell in CELL_NAMES:
        if task == "translation" and cell in BATCH_NORMALISED:
            continue  # refused altogether
        reason = WITHOUT[option].get(cell)
        if reason is None:
            assert getattr(settings_of(task, cell=cell, **{option: value}), option) == value
            continue
        with pytest.raises(SettingsError) as caught:
            settings_of(task, cell=cell, **{option: value})
        assert f"{option} does not go with cell = '{cell}', which {reason}; leave it out" in str(caught.value)


@every_model
def test_dropout_that_has_no_place_is_refused(task: str):
    single = {"layers": 1} if task != "translation" else {"decoder_layers": 1}
    placed = {"embedding_dropout": 0.1, "output_dropout": 0.2}
    assert settings_of(task, **placed, dropout=0.6).drops
    with pytest.raises(SettingsError, match="dropout has no effect with one layer when"):
        settings_of(task, **single, **placed, dropout=0.6)
    assert settings_of(task, **single, **placed).of_outputs == 0.2  # the default counts as not given
    none = {"dropout": 0.0, "embedding_dropout": 0.0}
    with pytest.raises(SettingsError, match="locked = false has no effect without dropout; set dropout"):
        settings_of(task, **none, locked=False)
    assert settings_of(task, **none, output_dropout=0.1, locked=False).draws


def test_dilation_is_of_the_side_that_has_layers_to_dilate():
    both = {"encoder_layers": 1, "decoder_layers": 2, "dilation": 2}
    found = settings_of("translation", **both, cell="light_gru", decoder_cell="gru")
    assert found.layers_of("gru").dilation == 2
    with pytest.raises(SettingsError, match="decoder_cell = 'light_gru' normalises over the rows"):
        settings_of(
            "translation",
            cell="gru",
            decoder_cell="light_gru",
            encoder_layers=2,
            decoder_layers=1,
            dilation=2,
        )
    with pytest.raises(SettingsError, match="dilation does not go with cell = 'light_gru'"):
        settings_of("translation", cell="light_gru", decoder_cell="gru", encoder_layers=2, dilation=2)


@pytest.mark.parametrize("cell", sorted(BATCH_NORMALISED))
def test_types_are_not_dropped_where_zeros_are_padding(cell: str):
    for task in ("lm", "tagging"):
        with pytest.raises(SettingsError) as caught:
            settings_of(task, cell=cell, type_dropout=0.1)
        assert (
            f"type_dropout does not go with cell = '{cell}', which takes a position of zeros for padding"
            in str(caught.value)
        )


@every_model
@pytest.mark.parametrize("option", ["residual", "highway", "dilation"])
def test_what_stands_between_layers_needs_two(task: str, option: str):
    one = dict.fromkeys(MODELS[task][1], 1)
    with pytest.raises(SettingsError) as caught:
        settings_of(task, **one, **{option: LAYERS[option]})
    assert f"{option} has no effect with one layer; leave it out" in str(caught.value)
    settings_of(task, **{option: LAYERS[option]})


@every_model
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"residual": True, "highway": True},
            "residual and highway are two kinds of connection past a layer: choose one",
        ),
        (
            {"chrono": 9, "forget_bias": 1.0},
            "chrono and forget_bias both set the bias of the gate that keeps the state: choose one",
        ),
        ({"chrono": 2}, "chrono 2 is less than 3"),
        (
            {"dilation": 10_001},
            "the top one of 2 layers would reach back more than 10000 time steps",
        ),
        ({"zoneout": 1.0}, "zoneout: expected less than 1"),
        ({"input_noise": -1.0}, "input_noise: expected at least 0"),
        ({"recurrent_init": "orthogonl"}, "recurrent_init: expected 'default', 'orthogonal', "),
        ({"spectral_radius": 0.0}, "spectral_radius: expected more than 0"),
    ],
)
def test_values_that_mean_nothing_are_refused(task: str, values: dict[str, Any], message: str):
    with pytest.raises(SettingsError) as caught:
        settings_of(task, **values)
    assert message in str(caught.value)
