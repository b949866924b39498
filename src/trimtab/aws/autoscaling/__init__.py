"""Application Auto Scaling, of SageMaker's variants: targets, policies, scheduled actions, activities, tags."""

from __future__ import annotations

from trimtab.aws.autoscaling.activities import Activities
from trimtab.aws.autoscaling.policies import AlarmList, Policies
from trimtab.aws.autoscaling.schedules import Schedules
from trimtab.aws.autoscaling.tags import Tags
from trimtab.aws.autoscaling.targets import Targets
from trimtab.aws.paging import Pager
from trimtab.aws.registry import OperationHandler, handlers_of, merge
from trimtab.clock import Clock
from trimtab.control.scaling.api import ScalingApi


def autoscaling_handlers(
    scaling: ScalingApi, clock: Clock, pager: Pager, alarms: AlarmList = tuple
) -> dict[str, dict[str, OperationHandler]]:
    """The handlers of every operation of Application Auto Scaling that trimtab serves, for the Dispatcher.

    `alarms` lists all alarms of CloudWatch: those of step scaling policies are described with them.
    """
    return merge(
        handlers_of(Targets(scaling, pager)),
        handlers_of(Policies(scaling, alarms, pager)),
        handlers_of(Schedules(scaling, pager)),
        handlers_of(Activities(scaling, clock, pager)),
        handlers_of(Tags(scaling)),
    )
