"""The `[training]` table of a recipe: how any model is trained."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import Field, model_validator

from seqtool.settings import Settings

# Settings that only some choices of another setting use: by name, the other setting and those of its
# values. A value other than the default that the choice does not use is refused by `refuse_ignored`.
READERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "momentum": ("optimizer", ("sgd", "rmsprop")),
    "beta1": ("optimizer", ("adam", "adamw", "nadam")),
    "beta2": ("optimizer", ("adam", "adamw", "nadam", "rmsprop")),
    "epsilon": ("optimizer", ("adam", "adamw", "nadam", "rmsprop", "adagrad")),
    "warmup_steps": ("schedule", ("constant", "plateau", "step", "exponential", "cosine", "linear")),
    "decay_factor": ("schedule", ("plateau", "step", "exponential")),
    "decay_steps": ("schedule", ("step", "exponential")),
    "plateau_patience": ("schedule", ("plateau",)),
    "final_fraction": ("schedule", ("cosine", "linear")),
    "rise_fraction": ("schedule", ("one_cycle",)),
    "average_decay": ("average", ("ema",)),
    "average_patience": ("average", ("asgd",)),
}
RUN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class RunSettings(Settings):
    """Settings of every run, whatever its task; each task adds tables of its own."""

    task: str = Field(description="Task of the run, as in `seqtool train TASK`.")
    name: str = Field(
        pattern=RUN_NAME,
        description="Name of the run; without -o the run folder is runs/TASK/NAME.",
    )
    seed: int = Field(
        1,
        ge=0,
        lt=2**32,
        description="Random seed of the initial weights, the order of the batches and dropout.",
    )
    device: str = Field(
        "auto",
        description="Device: auto (a GPU if there is one, otherwise the CPU), cpu, cuda, cuda:N or mps.",
    )
    threads: int = Field(
        0,
        ge=0,
        description="CPU threads per operation; 0 = PyTorch's default (one per core, or $OMP_NUM_THREADS).",
    )
    deterministic: bool = Field(
        False,
        description="Use deterministic algorithms only, so that a run repeats bit for bit: slower on a GPU, "
        "and an error where an operation has no deterministic implementation.",
    )

    @property
    def raw_text(self) -> list[str]:
        """The files and folders of raw text that a model learns from before its data; empty = none."""
        return []

    def without_effect(self, *, new_model: bool) -> list[str]:
        """Messages about settings that were given and have no effect, which a new run refuses.

        They are valid, because the recipe of a run of an earlier version may have them, and that run can be
        resumed and evaluated.

        Args:
            new_model: Whether the run trains a new model; otherwise the tables `model` and `vocabulary` are
                those of the model to fine-tune.
        """
        return []


class TrainingSettings(Settings):
    """Optimizer, learning-rate schedule, limits and precision; each task adds settings of its own."""

    optimizer: Literal["sgd", "adam", "adamw", "nadam", "rmsprop", "adagrad"] = Field(
        "adamw", description="Optimizer, as implemented in torch.optim."
    )
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate of the schedule.")
    momentum: float = Field(0.0, ge=0, lt=1, description="Momentum of sgd and rmsprop; 0 = none.")
    beta1: float = Field(
        0.9, ge=0, lt=1, description="Decay rate of the first moment estimate (adam, adamw, nadam)."
    )
    beta2: float = Field(
        0.999,
        ge=0,
        lt=1,
        description="Decay rate of the second moment estimate (adam, adamw, nadam, rmsprop).",
    )
    epsilon: float = Field(
        1e-8,
        gt=0,
        description="Term added to the denominator of the update for numerical stability (all but sgd).",
    )
    weight_decay: float = Field(
        0.0,
        ge=0,
        description="Weight decay of weight matrices (biases and other vectors are exempt); 0 = none.",
    )
    decay_embeddings: bool = Field(False, description="Apply weight_decay to embeddings as well.")

    schedule: Literal["constant", "plateau", "step", "exponential", "cosine", "linear", "one_cycle"] = Field(
        "cosine",
        description="Learning-rate schedule after the warm-up: plateau reduces the rate when dev stops "
        "improving, step and exponential decay it, cosine and linear anneal it to the end of the run, "
        "one_cycle raises it first (Smith and Topin 2018).",
    )
    warmup_steps: int = Field(
        0,
        ge=0,
        description="Updates of linear learning-rate warm-up, limited to a fifth of the run; 0 = none "
        "(not with one_cycle).",
    )
    decay_factor: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="Factor by which plateau, step and exponential reduce the learning rate.",
    )
    decay_steps: int = Field(
        1000,
        ge=1,
        description="Updates per reduction by decay_factor: at once (step) or continuously (exponential).",
    )
    plateau_patience: int = Field(
        2,
        ge=0,
        description="Evaluations without improvement that plateau tolerates before it reduces the rate.",
    )
    final_fraction: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Learning rate at the end of the run, as a fraction of learning_rate (cosine, linear).",
    )
    rise_fraction: float = Field(
        0.3, gt=0, lt=1, description="Fraction of the run in which one_cycle raises the learning rate."
    )

    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Label smoothing: share of the target distribution that is uniform over all outputs "
        "(Szegedy 2016); 0 = off.",
    )
    activation_penalty: float = Field(
        0.0,
        ge=0,
        description="Activation regularization (AR, Merity 2017): weight of the mean square of the output "
        "states after dropout; 0 = off.",
    )
    slowness_penalty: float = Field(
        0.0,
        ge=0,
        description="Temporal activation regularization (TAR, Merity 2017): weight of the mean squared "
        "change of the output state per time step; 0 = off.",
    )
    norm_penalty: float = Field(
        0.0,
        ge=0,
        description="Norm stabilizer (Krueger 2016): weight of the squared change of the output state's norm "
        "per time step; 0 = off.",
    )
    r_drop: float = Field(
        0.0,
        ge=0,
        description="R-Drop (Liang 2021): weight of the divergence between two passes with different dropout "
        "masks; training takes twice as long. 0 = off; not together with adversarial.",
    )
    adversarial: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Adversarial training (Miyato 2017): size of the worst-case perturbation of the embedded "
        "inputs, relative to their norm; training takes nearly three times as long. 0 = off; not together "
        "with r_drop.",
    )
    gradient_noise: float = Field(
        0.0,
        ge=0,
        description="Gradient noise (Neelakantan 2015): variance of the Gaussian noise added to the gradient "
        "of update 1; at update t it is this divided by t^0.55. 0 = off.",
    )

    clip_norm: float = Field(
        5.0, ge=0, description="Gradient clipping: largest norm of the gradient; 0 = no clipping."
    )
    accumulation: int = Field(
        1, ge=1, description="Gradient accumulation: batches per update, on each process."
    )
    batch_tokens: int = Field(4096, ge=1, description="Tokens per batch, padding included.")

    epochs: int = Field(30, ge=1, description="Passes over the training data, at most.")
    max_steps: int = Field(0, ge=0, description="Updates of the run, at most; 0 = no limit.")
    max_minutes: float = Field(
        0.0, ge=0, description="Minutes of training, evaluations included, at most; 0 = no limit."
    )
    patience: int = Field(
        0,
        ge=0,
        description="Early stopping: consecutive evaluations without improvement after which the run ends; "
        "0 = off.",
    )
    evaluate_every: int = Field(
        0,
        ge=0,
        description="Updates between evaluations on dev; 0 = evaluate at the end of each epoch; with "
        "max_minutes after every eighth of it too, but never so often that scoring takes more than a fifth.",
    )
    checkpoint_every: int = Field(
        0,
        ge=0,
        description="Updates between checkpoints; 0 = save one at each evaluation. The best is always kept.",
    )
    report_every: int = Field(
        50, ge=1, description="Updates between two entries of the training loss in metrics.jsonl."
    )

    average: Literal["none", "ema", "asgd"] = Field(
        "none",
        description="Weights that are evaluated and kept: none = the current ones; ema = their exponential "
        "moving average; asgd = their mean since dev stopped improving (NT-ASGD, Merity 2018).",
    )
    average_patience: int = Field(
        3, ge=1, description="Evaluations without improvement before averaging begins (asgd)."
    )
    average_decay: float = Field(
        0.999, gt=0, lt=1, description="Decay rate of the moving average of the weights (ema)."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="Number type of matrix products in the forward pass (mixed precision); auto = bf16 where "
        "the hardware supports it, otherwise fp32.",
    )

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> TrainingSettings:
        refuse_ignored(self, READERS)
        if self.decay_embeddings and not self.weight_decay:
            raise ValueError(
                "decay_embeddings needs weight_decay: set training.weight_decay, or leave it out"
            )
        if self.r_drop and self.adversarial:
            raise ValueError("r_drop and adversarial each make a second pass: choose one")
        return self

    def ended_by(self, limit: str) -> str:
        """Say which limit had ended a run that was to be resumed, and how to raise it.

        Args:
            limit: The limit: epochs, max_steps, max_minutes or patience.
        """
        value = getattr(self, limit)
        if limit == "patience":
            return (
                f"already finished by early stopping (training.patience = {value}); to train longer, raise "
                f"it with --set training.patience={2 * value}, or switch it off with "
                "--set training.patience=0"
            )
        option = f"--{limit.replace('_', '-')}"
        return f"already finished by training.{limit} = {value:g}; to train longer, raise {option}"

    @property
    def state_penalties(self) -> tuple[float, float, float]:
        """Weights of AR, of TAR and of the norm stabilizer."""
        return self.activation_penalty, self.slowness_penalty, self.norm_penalty


def given_in_vain(settings: Settings, table: str, names: Iterable[str], because: str) -> list[str]:
    """A message for each setting that was given and has no effect.

    Args:
        settings: A table of settings; a value that equals the field's default counts as not given.
        table: Name of the table.
        names: Names of the settings that have no effect.
        because: Why they have none: the end of `vocabulary.size = 100 has no effect ...`.
    """
    fields, values = type(settings).model_fields, settings.model_dump(mode="json")
    given = [name for name in fields if name in names and getattr(settings, name) != fields[name].default]
    return [
        f"{table}.{name} = {json.dumps(values[name])} has no effect {because}; leave it out" for name in given
    ]


def help_of(name: str) -> str:
    """The description of a field of `TrainingSettings`, for a task that changes only its default."""
    return str(TrainingSettings.model_fields[name].description)


def refuse_ignored(settings: Settings, readers: Mapping[str, tuple[str, tuple[str | bool, ...]]]) -> None:
    """Refuse settings that were given but have no effect, because another setting does not use them.

    Args:
        settings: A table of settings; a value that equals the field's default counts as not given.
        readers: By the name of a setting, the name of the one that decides whether it is used, and the
            values of the latter with which it is.

    Raises:
        ValueError: some were given to no effect; the message names them all.
    """
    # No setting and no option is ever accepted and then ignored. Five mechanisms see to it, because they
    # need to know different things:
    # - this function: a setting is used with some values of another setting of the same table (a lookup);
    # - `WITHOUT` and `refusal` in nn/cell_options.py: an option has no effect on some cells. The reason
    #   differs by cell and is part of the message, and networks have two cells; `nn` knows no settings;
    # - validators such as `refuse_without_effect` in network_settings.py: conditions on several tables;
    # - `RunSettings.without_effect`: what a new run refuses, but not one that an earlier version began;
    # - `_refuse` in cli/: options that are no settings, which are named as they are typed.
    fields = type(settings).model_fields
    problems = []
    for name, (choice, choices) in readers.items():
        value, chosen = getattr(settings, name), getattr(settings, choice)
        if value != fields[name].default and chosen not in choices:
            problems.append(f"{name} = {value} has no effect with {choice} = {chosen!r}")
    if problems:
        raise ValueError("; ".join(problems) + "; leave it out")
