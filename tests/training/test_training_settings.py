from __future__ import annotations

import pytest

from seqtool.errors import SettingsError
from seqtool.settings import validate
from seqtool.training.settings import READERS, TrainingSettings


def test_whole_numbers_are_accepted_where_fractions_are_meant():
    settings = validate(TrainingSettings, {"learning_rate": 1, "max_minutes": 5, "clip_norm": 0}, "recipe")
    assert (settings.learning_rate, settings.max_minutes) == (1.0, 5.0)
    assert isinstance(settings.learning_rate, float)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"learning_rate": 0}, "learning_rate: expected more than 0"),
        ({"learning_rate": True}, "learning_rate"),
        ({"learning_rate": "1e-3"}, "learning_rate"),
        ({"epochs": 2.5}, "epochs"),
        ({"epochs": 0}, "epochs"),
        ({"momentum": 1}, "momentum: expected less than 1"),
        ({"optimizer": "adamm"}, "did you mean 'adam"),
        ({"learning_rates": 1}, "learning_rates: unknown key; did you mean 'learning_rate'"),
        ({"max_steps": -1}, "max_steps"),
        ({"average_decay": 1.0}, "average_decay"),
    ],
)
def test_values_out_of_range_or_of_another_kind_are_refused(table: dict[str, object], message: str):
    with pytest.raises(SettingsError, match=message):
        validate(TrainingSettings, table, "recipe")


def test_a_setting_that_would_have_no_effect_is_refused():
    with pytest.raises(SettingsError) as caught:
        validate(TrainingSettings, {"momentum": 0.9, "decay_steps": 5, "average_decay": 0.5}, "recipe")
    message = str(caught.value)
    assert "momentum = 0.9 has no effect with optimizer = 'adamw'" in message
    assert "decay_steps = 5 has no effect with schedule = 'cosine'" in message
    assert "average_decay = 0.5 has no effect with average = 'none'" in message


def test_resolved_settings_are_accepted_again():
    settings = TrainingSettings(optimizer="sgd", momentum=0.9, schedule="plateau", plateau_patience=5)
    assert TrainingSettings(**settings.model_dump()) == settings


def test_every_setting_is_described_and_every_reader_exists():
    fields = TrainingSettings.model_fields
    assert all(field.description for field in fields.values())
    for name, (choice, readers) in READERS.items():
        assert name in fields
        assert set(readers) < set(fields[choice].annotation.__args__)  # type: ignore[union-attr]
