"""The `[training]` table of a recipe: how any model is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from seqtool.settings import Settings

# A setting that only some choices read. Anything but its default beside another choice is an
# error: an option is never accepted and then ignored.
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


class RunSettings(Settings):
    """What every run says of itself, whatever its task; a wing adds the tables."""

    task: str = Field(description="The task.")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the run folder.")
    seed: int = Field(1, ge=0, lt=2**32, description="Of everything random.")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps.")
    threads: int = Field(
        0,
        ge=0,
        description="Processor threads; 0 = torch's choice, as many as there are cores or $OMP_NUM_THREADS.",
    )
    deterministic: bool = Field(False, description="Refuse operations without a deterministic form.")


class TrainingSettings(Settings):
    """Optimizer, schedule, limits and precision; a wing adds what only its task has."""

    optimizer: Literal["sgd", "adam", "adamw", "nadam", "rmsprop", "adagrad"] = Field(
        "adamw", description="Update rule, torch.optim's."
    )
    learning_rate: float = Field(1e-3, gt=0, description="Highest learning rate of the schedule.")
    momentum: float = Field(0.0, ge=0, lt=1, description="Momentum of sgd and rmsprop.")
    beta1: float = Field(0.9, ge=0, lt=1, description="Decay of the first moment (adam, adamw, nadam).")
    beta2: float = Field(
        0.999, ge=0, lt=1, description="Decay of the second moment (adam, adamw, nadam, rmsprop)."
    )
    epsilon: float = Field(1e-8, gt=0, description="Added to the root of the second moment (not sgd).")
    weight_decay: float = Field(
        0.0, ge=0, description="Weight decay of matrices; biases and other vectors have none."
    )
    decay_embeddings: bool = Field(False, description="Whether weight decay reaches embeddings too.")

    schedule: Literal["constant", "plateau", "step", "exponential", "cosine", "linear", "one_cycle"] = Field(
        "cosine", description="Course of the learning rate after the warm-up."
    )
    warmup_steps: int = Field(
        0,
        ge=0,
        description="Updates of linear rise to learning_rate, at most a fifth of all (not one_cycle).",
    )
    decay_factor: float = Field(
        0.5, gt=0, lt=1, description="What plateau, step and exponential multiply the rate by."
    )
    decay_steps: int = Field(
        1000, ge=1, description="Updates from one multiplication to the next (step); exponential spreads it."
    )
    plateau_patience: int = Field(
        2, ge=0, description="Evaluations without improvement that plateau lets pass before it cuts."
    )
    final_fraction: float = Field(
        0.0, ge=0, le=1, description="Share of learning_rate left at the end (cosine, linear)."
    )
    rise_fraction: float = Field(0.3, gt=0, lt=1, description="Share of the run that one_cycle rises.")

    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Share of the target that is spread over all outputs (Szegedy 2016)."
    )
    activation_penalty: float = Field(
        0.0, ge=0, description="AR: mean square of the output states, dropout included, times this."
    )
    slowness_penalty: float = Field(
        0.0, ge=0, description="TAR: mean square of how far the output state moves in a step, times this."
    )
    norm_penalty: float = Field(
        0.0,
        ge=0,
        description="Square of how much the norm of the output state changes in a step, times this "
        "(Krueger 2016).",
    )
    r_drop: float = Field(
        0.0,
        ge=0,
        description="Weight of how far two passes with dropout of their own are apart (Liang 2021); training "
        "takes twice the time. Not with adversarial.",
    )
    adversarial: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the norm of embedded inputs that they are moved to make the loss worst, for a "
        "second pass (Miyato 2017); training takes nearly three times as long. Not with r_drop.",
    )
    gradient_noise: float = Field(
        0.0,
        ge=0,
        description="Variance of the noise on the first gradient; that of update t is this by "
        "t to the power of 0.55 (Neelakantan 2015).",
    )

    clip_norm: float = Field(5.0, ge=0, description="Largest norm of the gradient; 0 = no clipping.")
    accumulation: int = Field(1, ge=1, description="Batches summed into one update (on each process).")
    batch_tokens: int = Field(4096, ge=1, description="Tokens in a batch, padding included.")

    epochs: int = Field(30, ge=1, description="Passes over the training data.")
    max_steps: int = Field(0, ge=0, description="Stop after this many updates; 0 = no limit.")
    max_minutes: float = Field(
        0.0, ge=0, description="Stop after this time, evaluations included; 0 = no limit."
    )
    patience: int = Field(0, ge=0, description="Stop after so many evaluations without improvement; 0 = off.")
    evaluate_every: int = Field(
        0,
        ge=0,
        description="Updates between evaluations; 0 = at the end of each epoch, and with max_minutes "
        "at least eight times in all.",
    )
    checkpoint_every: int = Field(
        0, ge=0, description="Updates between checkpoints; 0 = at each evaluation. The best is always kept."
    )
    report_every: int = Field(50, ge=1, description="Updates between two `train` lines of metrics.jsonl.")

    average: Literal["none", "ema", "asgd"] = Field(
        "none",
        description="Weights that are evaluated and kept: the last ones, a moving average (ema), or the mean "
        "of all since dev last stopped improving (asgd, Merity 2018).",
    )
    average_patience: int = Field(
        3, ge=1, description="Evaluations without improvement after which the mean begins (asgd)."
    )
    average_decay: float = Field(0.999, gt=0, lt=1, description="Decay of the moving average (ema).")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="Arithmetic of the forward pass; auto = bf16 where the hardware has it."
    )

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> TrainingSettings:
        refuse_ignored(self, READERS)
        if self.decay_embeddings and not self.weight_decay:
            raise ValueError("decay_embeddings needs weight_decay, and there is none; leave it out")
        if self.r_drop and self.adversarial:
            raise ValueError("r_drop and adversarial each make a second pass: choose one")
        return self

    @property
    def state_penalties(self) -> tuple[float, float, float]:
        """AR, TAR, and that of the norm."""
        return self.activation_penalty, self.slowness_penalty, self.norm_penalty


def refuse_ignored(settings: Settings, readers: Mapping[str, tuple[str, tuple[str, ...]]]) -> None:
    """Refuse settings that were given and that nothing reads.

    Args:
        settings: Whose defaults may be those of a wing.
        readers: By the name of a setting, the one that decides, and its values with which the
            former is read.

    Raises:
        ValueError: some differ from their defaults to no effect; all are named.
    """
    fields = type(settings).model_fields
    problems = []
    for name, (choice, choices) in readers.items():
        value, chosen = getattr(settings, name), getattr(settings, choice)
        if value != fields[name].default and chosen not in choices:
            problems.append(f"{name} = {value} has no effect with {choice} = {chosen!r}")
    if problems:
        raise ValueError("; ".join(problems) + "; leave it out")
