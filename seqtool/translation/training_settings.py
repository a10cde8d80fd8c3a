"""The `[training]` table of a translator's recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from seqtool.settings import MOST_FACTOR, MOST_VALUES, Settings
from seqtool.training.network_settings import Probability
from seqtool.training.settings import TrainingSettings, help_of, refuse_ignored

# The setting that decides whether another one is used, and its values with which that is so.
SEQUENCE_OBJECTIVES = ("mrt", "self_critical")
OBJECTIVE_READERS: dict[str, tuple[str, tuple[str, ...]]] = {
    **dict.fromkeys(("hallucinate", "hallucinate_weight"), ("objective", ("mle",))),
    "reward": ("objective", SEQUENCE_OBJECTIVES),
    "samples": ("objective", SEQUENCE_OBJECTIVES),
    "sample_length": ("objective", SEQUENCE_OBJECTIVES),
    "mle_weight": ("objective", SEQUENCE_OBJECTIVES),
    "sharpness": ("objective", ("mrt",)),
}


class TeacherForcing(Settings):
    """Scheduled sampling: how often training feeds the decoder the reference instead of its own output.

    Reference: Bengio et al. 2015, section 2.4 (schedules).
    """

    ratio: float = Field(
        1.0, ge=0, le=1, description="Probability of the reference (schedule = constant); 1 = always."
    )
    schedule: Literal["constant", "linear", "exponential", "inverse_sigmoid"] = Field(
        "constant", description="How the probability of the reference falls over the updates."
    )
    start: float = Field(1.0, ge=0, le=1, description="Probability at the first update (not constant).")
    end: float = Field(
        0.0, ge=0, le=1, description="Probability that the schedule approaches (not constant)."
    )
    steps: int = Field(10_000, ge=1, description="Updates from start to end (not constant).")

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> TeacherForcing:
        varying = ("linear", "exponential", "inverse_sigmoid")
        readers = dict.fromkeys(("start", "end", "steps"), ("schedule", varying))
        refuse_ignored(self, {**readers, "ratio": ("schedule", ("constant",))})
        return self


class TranslatorTraining(TrainingSettings):
    """The `[training]` table with the settings that only translators have."""

    objective: Literal["mle", "mrt", "self_critical"] = Field(
        "mle",
        description="Training objective: the likelihood of the references (mle), or the reward of sampled "
        "outputs, by minimum risk (mrt, Shen 2016) or self_critical (Rennie 2017), with --init-from only.",
    )
    reward: Literal["bleu", "chrf"] = Field(
        "bleu", description="Reward of an output: its sentence BLEU or chrF (not mle)."
    )
    samples: int = Field(
        10, ge=1, description="Outputs sampled per sentence (not mle); time and memory grow with it."
    )
    sample_length: int = Field(
        0,
        ge=0,
        description="Maximum length of a sampled output, symbols (not mle); 0 = twice the source's, plus 5.",
    )
    sharpness: float = Field(
        0.005, gt=0, description="Exponent of the probabilities that weight the outputs of a sentence (mrt)."
    )
    mle_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of the mle loss, nats per sentence, that is added (not mle); Wu 2016 uses 0.017.",
    )
    text_minutes: float = Field(
        10.0,
        gt=0,
        le=MOST_FACTOR,
        description="Minutes of learning from data.source_text and data.target_text, at most.",
    )
    hallucinate: float = Field(
        0.0,
        ge=0,
        le=MOST_FACTOR,
        description="Pairs that are made up for each training pair, anew in every epoch: the letters that "
        "source and target share are replaced by random ones (Anastasopoulos 2019; symbols are characters).",
    )
    hallucinate_weight: float = Field(
        0.5, gt=0, le=MOST_FACTOR, description="Weight in the loss of the pairs that are made up."
    )
    teachers: list[str] = Field(
        [],
        max_length=MOST_VALUES,
        description="Translators (run or model folders) whose mean distribution is learned beside the "
        "references, with their vocabulary (Kim 2016).",
    )
    distillation: Literal["word", "sequence", "both"] = Field(
        "word",
        description="What is learned from teachers: their distribution at each symbol of the references "
        "(word), their own translations as further pairs (sequence), or both.",
    )
    teacher_weight: float = Field(
        1.0,
        gt=0,
        le=MOST_FACTOR,
        description="Weight of the cross-entropy with the teachers, beside that with the references (word, "
        "both).",
    )
    label_smoothing: Probability = Field(0.1, description=help_of("label_smoothing"))
    coverage_loss: float = Field(0.0, ge=0, description="Weight of the coverage loss (See 2017); 0 = off.")
    teacher_forcing: TeacherForcing = TeacherForcing()
    select: Literal["bleu", "chrf", "exact_match", "loss"] = Field(
        "bleu",
        description="Metric on dev, with greedy search, that selects the best checkpoint. bleu falls back to "
        "chrf where BLEU is 0, or where nearly all references are shorter than four words.",
    )
    learning_rate: float = Field(2e-3, gt=0, description=help_of("learning_rate"))
    batch_tokens: int = Field(
        1024,
        ge=1,
        description="Symbols of the longer side per batch, padding included; small values give more updates, "
        "which small data need.",
    )
    average_decay: float = Field(0.995, gt=0, lt=1, description=help_of("average_decay"))
    clip_norm: float = Field(1.0, ge=0, description=help_of("clip_norm"))
    beta2: float = Field(0.98, ge=0, lt=1, description=help_of("beta2"))
    warmup_steps: int = Field(200, ge=0, description=help_of("warmup_steps"))
    average: Literal["none", "ema", "asgd"] = Field("ema", description=help_of("average"))

    @model_validator(mode="after")
    def _passes_read_the_reference(self) -> TranslatorTraining:
        own = self.objective != "mle" or self.teacher_forcing != TeacherForcing()
        if own and (self.r_drop or self.adversarial):
            raise ValueError(
                "r_drop and adversarial compare two passes over the reference, so they need "
                "objective = 'mle' and teacher_forcing = { ratio = 1.0 }; leave them out"
            )
        return self

    @model_validator(mode="after")
    def _teachers_read_the_reference(self) -> TranslatorTraining:
        if self.teachers and self.objective != "mle":
            raise ValueError("teachers need objective = 'mle'; leave out one of them")
        if self.teachers and self.distillation != "sequence" and self.teacher_forcing != TeacherForcing():
            raise ValueError(
                "teachers speak about the symbols of the reference, which teacher_forcing replaces by the "
                "model's own: leave out one of them, or set distillation = 'sequence'"
            )
        refuse_ignored(self, {"teacher_weight": ("distillation", ("word", "both"))})
        return self

    @model_validator(mode="after")
    def _objective_reads_all(self) -> TranslatorTraining:
        refuse_ignored(self, OBJECTIVE_READERS)
        if self.objective == "mle" or self.mle_weight:
            return self
        # Settings of the mle loss alone; a recipe may state them as long as they are off.
        given = {
            "label_smoothing": self.label_smoothing
            not in (0.0, type(self).model_fields["label_smoothing"].default),
            "coverage_loss": self.coverage_loss > 0,
            "activation_penalty": self.activation_penalty > 0,
            "slowness_penalty": self.slowness_penalty > 0,
            "norm_penalty": self.norm_penalty > 0,
            "teacher_forcing": self.teacher_forcing != TeacherForcing(),
        }
        ignored = [name for name, is_given in given.items() if is_given]
        if ignored:
            raise ValueError(
                f"{', '.join(ignored)} has no effect with objective = {self.objective!r} and mle_weight = 0; "
                "leave it out, or set mle_weight"
            )
        return self
