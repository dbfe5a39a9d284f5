"""The momentum that mirrors a learning rate."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from clr_schedules import _arguments
from clr_schedules._serialization import deserialize, register, serialize
from clr_schedules.schedules import numerics
from clr_schedules.schedules.base import Integers, Schedule

if TYPE_CHECKING:
    from typing_extensions import Self


@register
@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class MirroredMomentum(Schedule):
    r"""The momentum that mirrors a learning rate: down while the rate rises, and back up.

    .. code-block:: none

        max_momentum   \      /\      /\
                        \    /  \    /  \
        base_momentum    \  /    \  /    \

        momentum = max_momentum - (max_momentum - base_momentum) * amplitude

    where ``amplitude`` is that of the rate: from 0 at its lowest to 1 at its highest, scale
    included. The ``momentum`` methods of `OneCycle` and of the cyclical schedules make it.

    Args:
        schedule: The learning rate: a `OneCycle` or one of the cyclical schedules.
        max_momentum: The momentum where the rate is lowest. From ``base_momentum`` to below 1.
        base_momentum: The momentum where the rate is highest. At least 0.
        name: The name in graphs, profiles and plots. Default: the name of the class.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If an argument is out of its range, infinite or NaN.

    Reference:
        L. N. Smith, *A disciplined approach to neural network hyper-parameters: Part 1*,
        arXiv:1803.09820, section 4.3. The values are those of PyTorch's ``OneCycleLR`` and
        ``CyclicLR``.

    Example:
        >>> import clr_schedules as clr
        >>> lr = clr.OneCycle(max_lr=0.1, total_steps=100, anneal="linear")
        >>> lr.momentum(max_momentum=0.95, base_momentum=0.85).values([0, 29, 99]).round(3)
        array([0.95, 0.85, 0.95])
    """

    schedule: Any
    max_momentum: float
    base_momentum: float
    name: str | None = None

    _quantity: ClassVar[str] = "momentum"

    def _check(self) -> dict[str, Any]:
        if not (isinstance(self.schedule, Schedule) and hasattr(self.schedule, "_mirrored")):
            rule = "a OneCycle or a cyclical schedule of this package"
            raise TypeError(_arguments.received("schedule", rule, self.schedule))
        # The largest number below 1 in float32: with a momentum of 1, Adam divides by 0.
        rule, most = "a number of at least 0 and below 1, also in float32", 1 - 2.0**-24
        momenta = {
            name: _arguments.number_in(name, getattr(self, name), rule, 0.0, most)
            for name in ("max_momentum", "base_momentum")
        }
        _arguments.in_order(
            "base_momentum", momenta["base_momentum"], "max_momentum", momenta["max_momentum"]
        )
        return momenta | {"name": _arguments.label("name", self.name)}

    def _rate(self, step: Any, xp: Any) -> Any:
        share = self.schedule._mirrored(step, xp)
        height = numerics.height(self.base_momentum, self.max_momentum)
        return self.base_momentum + height * xp.minimum(share, 1.0)

    def _natural_length(self) -> int:
        return self.schedule._natural_length()  # type: ignore[no-any-return]

    def _cycle_ends(self, start: int, stop: int) -> Integers:
        return self.schedule._cycle_ends(start, stop)  # type: ignore[no-any-return]

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this schedule again, as Keras saves them."""
        return super().get_config() | {"schedule": serialize(self.schedule)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes the schedule of a config."""
        if isinstance(config.get("schedule"), dict):
            config = config | {"schedule": deserialize(config["schedule"])}
        return super().from_config(config)
