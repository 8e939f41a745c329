"""The config schema: one dataclass per factor and per group of settings, with the range of every number.

YAML files in conf/ hold the values; this module holds their types and what is allowed. `problems` in config.py
applies the ranges. Schema classes cannot be frozen (OmegaConf could not compose into them); nobody changes one.
"""

from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

from omegaconf import MISSING

from ablation.datachoice import DataConfig
from ablation.loggers import LoggerConfig
from ablation.origin import OriginConfig
from ablation.ranges import within


class NormKind(Enum):
    """Normalisation layers by their field's names; `layer` is over channels and pixels of one image."""

    batch = "batch"
    none = "none"
    instance = "instance"
    group = "group"
    layer = "layer"


class DropoutPlace(Enum):
    """Where dropout acts: on the logits (`after_fc`, the write-up's) or on the features (`before_fc`)."""

    after_fc = "after_fc"
    before_fc = "before_fc"


class ScheduleKind(Enum):
    """Shapes of the learning-rate curve over epochs."""

    step = "step"
    constant = "constant"
    cosine = "cosine"


class Device(Enum):
    """Device types; `auto` takes the first present of cuda, mps, cpu."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Precision(Enum):
    """Number format of the forward pass; `auto` is bf16 where the hardware computes it natively."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


class Retry(Enum):
    """Whether runs that ended with an error are tried again."""

    none = "none"
    failed = "failed"


class Stage(Enum):
    """Why a run was made: to look at everything, or on a fresh seed to settle what that left open."""

    screening = "screening"
    confirmation = "confirmation"


class Language(Enum):
    """Languages of the report's verdicts."""

    en = "en"
    zh = "zh"


class Metric(Enum):
    """Which accuracy is compared: of the last epoch, the last three, the best, or the only one that a table gives."""

    final = "final"
    last3 = "last3"
    best = "best"
    given = "given"


@dataclass
class FactorConfig:
    """Base of every factor: `effective` is what a level means, the base of its name and of a run's identity."""

    def effective(self) -> dict[str, Any]:
        """The values that can change the numbers, without fields that the others make meaningless."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass
class NormConfig(FactorConfig):
    """Normalisation: kind, groups for `group`, and whether it has a learned scale and shift."""

    kind: NormKind = MISSING
    groups: int | None = within(1, default=None)
    affine: bool = True

    def effective(self) -> dict[str, Any]:
        """The fields that the kind uses."""
        values: dict[str, Any] = {"kind": self.kind}
        if self.kind is NormKind.group:
            values["groups"] = self.groups
        if self.kind is not NormKind.none:
            values["affine"] = self.affine
        return values


@dataclass
class DropoutConfig(FactorConfig):
    """Dropout: probability, and the place relative to the last layer."""

    p: float = within(0.0, 1.0, open_high=True)
    where: DropoutPlace = DropoutPlace.after_fc

    def effective(self) -> dict[str, Any]:
        """Without dropout the place means nothing."""
        return {"p": self.p, "where": self.where} if self.p > 0 else {"p": 0.0}


@dataclass
class LrScheduleConfig(FactorConfig):
    """Learning rate over epochs; `lr_scale` multiplies optim.lr, so a level means the same in every preset."""

    kind: ScheduleKind = MISSING
    step_size: int | None = within(1, default=None)
    gamma: float | None = within(0.0, 1.0, open_low=True, default=None)
    lr_scale: float = within(0.0, open_low=True, default=1.0)

    def effective(self) -> dict[str, Any]:
        """The fields that the kind uses."""
        values: dict[str, Any] = {"kind": self.kind, "lr_scale": self.lr_scale}
        if self.kind is ScheduleKind.step:
            values |= {"step_size": self.step_size, "gamma": self.gamma}
        return values


@dataclass
class ResidualConfig(FactorConfig):
    """Whether blocks have their shortcut."""

    shortcut: bool = MISSING


@dataclass
class DepthConfig(FactorConfig):
    """Basic blocks in each of the four stages."""

    blocks: list[int] = MISSING


@dataclass
class AugmentConfig(FactorConfig):
    """Flip probabilities, and pixels of padding before a random crop (0 is no crop)."""

    hflip: float = within(0.0, 1.0)
    vflip: float = within(0.0, 1.0)
    crop_padding: int = within(0, 64)


@dataclass
class StemConfig(FactorConfig):
    """Kernel size of the first convolution (stride 2), and whether a max-pool follows."""

    kernel: int = within(1, 15)
    pool: bool = MISSING


@dataclass
class WidthConfig(FactorConfig):
    """Channels of the first stage; `scale` multiplies them, for recipes that work under every preset."""

    channels: int = within(1, 4096)
    scale: float = within(0.0, 16.0, open_low=True, default=1.0)

    @property
    def first_stage(self) -> int:
        """Channels of the first stage after scaling; a scale that gives no whole number is refused by `problems`."""
        return round(self.channels * self.scale)

    def effective(self) -> dict[str, Any]:
        """The number of channels, however it was given."""
        return {"channels": self.first_stage}


@dataclass
class TrainerConfig:
    """Training budget and machine; None is what suits the device, for threads the cores per job."""

    epochs: int = within(1, 100_000)
    batch_size: int = within(1, 65_536)
    eval_batch_size: int | None = within(1, 65_536, default=None)
    device: Device = MISSING
    precision: Precision = MISSING
    compile: bool = False
    threads: int | None = within(1, 1024, default=None)
    checkpoint_every: float = within(0.0, default=60.0)  # seconds


@dataclass
class OptimConfig:
    """Stochastic gradient descent."""

    lr: float = within(0.0, open_low=True)
    momentum: float = within(0.0, 1.0, open_high=True)
    weight_decay: float = within(0.0)


@dataclass
class ReportConfig(OriginConfig):
    """The report: what it reads, compares and is called; thumbnails: None shows those of embedded images alone."""

    metric: Metric = Metric.final
    delta: float = within(0.0, 0.2, open_low=True, default=0.005)
    lang: Language = Language.en
    name: str | None = None
    also: list[str] = field(default_factory=list)
    watch: bool = False
    thumbnails: bool | None = None


@dataclass
class GateConfig:
    """An earlier report.json to hold this report against, and the drop in percentage points that is allowed."""

    reference: str | None = None
    margin: float = within(0.0, 100.0, default=1.0)


@dataclass
class Config:
    """The root: every factor, then every setting."""

    norm: NormConfig = MISSING
    dropout: DropoutConfig = MISSING
    lr_schedule: LrScheduleConfig = MISSING
    residual: ResidualConfig = MISSING
    depth: DepthConfig = MISSING
    augment: AugmentConfig = MISSING
    stem: StemConfig = MISSING
    width: WidthConfig = MISSING
    data: DataConfig = MISSING
    trainer: TrainerConfig = MISSING
    optim: OptimConfig = MISSING
    report: ReportConfig = MISSING
    gate: GateConfig = field(default_factory=GateConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    seed: int = within(0, 2**63 - 1)
    preset: str = MISSING
    runs_dir: str = MISSING
    report_dir: str = MISSING
    plan: bool = MISSING
    retry: Retry = MISSING
    on_failure: str = MISSING
    time_limit: float | None = within(0.0, open_low=True, default=None)
    stage: Stage = Stage.screening


FACTORS: tuple[str, ...] = tuple(
    f.name for f in fields(Config) if isinstance(f.type, type) and issubclass(f.type, FactorConfig)
)
