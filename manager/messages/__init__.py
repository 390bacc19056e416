"""What the control API says and understands: every body of a request or response, as a msgspec Struct.

Shared by the daemon and `miniwsgictl`, and the source of openapi.json. Times are RFC 3339 in UTC (`*_at`), durations
seconds, sizes bytes; null is "not known" or "there is none". Fields are only ever added within /v1: clients ignore
those that they do not know, while a request with an unknown field is refused. Importing it costs msgspec alone.
"""

from __future__ import annotations

from .base import API as API
from .base import EVENTS_TYPE as EVENTS_TYPE
from .base import JSON_TYPE as JSON_TYPE
from .base import MAX_EVENTS as MAX_EVENTS
from .base import MAX_WAIT_SECONDS as MAX_WAIT_SECONDS
from .base import MAX_WORKERS as MAX_WORKERS
from .base import PROBLEM_TYPE as PROBLEM_TYPE
from .base import RequestBody as RequestBody
from .base import ResponseBody as ResponseBody
from .change_operations import DIFFERENCE as DIFFERENCE
from .change_operations import DrainRequest as DrainRequest
from .change_operations import LogLevel as LogLevel
from .change_operations import LogLevelName as LogLevelName
from .change_operations import LogLevelRequest as LogLevelRequest
from .change_operations import Operation as Operation
from .change_operations import OperationKind as OperationKind
from .change_operations import OperationList as OperationList
from .change_operations import OperationState as OperationState
from .change_operations import ReloadRequest as ReloadRequest
from .change_operations import RestartRequest as RestartRequest
from .change_operations import ScaleRequest as ScaleRequest
from .change_operations import StopMode as StopMode
from .change_operations import StopRequest as StopRequest
from .change_operations import WorkerRestartRequest as WorkerRestartRequest
from .config_values import ConfigChange as ConfigChange
from .config_values import ConfigCheckRequest as ConfigCheckRequest
from .config_values import ConfigProblem as ConfigProblem
from .config_values import ConfigReport as ConfigReport
from .config_values import ConfigValue as ConfigValue
from .config_values import ConfigView as ConfigView
from .config_values import Origin as Origin
from .daemon_status import Certificate as Certificate
from .daemon_status import DaemonState as DaemonState
from .daemon_status import GenerationCounts as GenerationCounts
from .daemon_status import LastReload as LastReload
from .daemon_status import Leader as Leader
from .daemon_status import ListenerStatus as ListenerStatus
from .daemon_status import RequestCounts as RequestCounts
from .daemon_status import Role as Role
from .daemon_status import Status as Status
from .daemon_status import Verdict as Verdict
from .daemon_status import VerdictLevel as VerdictLevel
from .daemon_status import WorkerCounts as WorkerCounts
from .event_list import Event as Event
from .event_list import EventKind as EventKind
from .event_list import EventList as EventList
from .figures import LastMinute as LastMinute
from .figures import Latency as Latency
from .figures import Percentiles as Percentiles
from .figures import Rates as Rates
from .findings import LOOK_SECONDS as LOOK_SECONDS
from .findings import MAX_LOOK_SECONDS as MAX_LOOK_SECONDS
from .findings import Doctor as Doctor
from .findings import Doing as Doing
from .findings import Finding as Finding
from .findings import LookFigures as LookFigures
from .findings import Risk as Risk
from .findings import Severity as Severity
from .findings import ThreadGroup as ThreadGroup
from .findings import Why as Why
from .history import History as History
from .history import HistoryMark as HistoryMark
from .history import HistorySpan as HistorySpan
from .history import HistoryStep as HistoryStep
from .history import MarkKind as MarkKind
from .history import StepPercentiles as StepPercentiles
from .incidents import MAX_INCIDENTS as MAX_INCIDENTS
from .incidents import Crash as Crash
from .incidents import CrashList as CrashList
from .incidents import Incident as Incident
from .incidents import IncidentKind as IncidentKind
from .incidents import Look as Look
from .incidents import LossKind as LossKind
from .incidents import SlowList as SlowList
from .incidents import StackFrame as StackFrame
from .inspecting import MAX_PAUSE_SECONDS as MAX_PAUSE_SECONDS
from .inspecting import MAX_PROFILE_RATE as MAX_PROFILE_RATE
from .inspecting import MAX_PROFILE_SECONDS as MAX_PROFILE_SECONDS
from .inspecting import AllocatingLine as AllocatingLine
from .inspecting import CollectorFigures as CollectorFigures
from .inspecting import MemoryKind as MemoryKind
from .inspecting import MemoryRequest as MemoryRequest
from .inspecting import ProfileRequest as ProfileRequest
from .inspecting import Tracing as Tracing
from .inspecting import TypeCount as TypeCount
from .inspecting import WorkerMemory as WorkerMemory
from .metric_list import MetricFamily as MetricFamily
from .metric_list import MetricHistogram as MetricHistogram
from .metric_list import MetricKind as MetricKind
from .metric_list import MetricList as MetricList
from .metric_list import MetricSample as MetricSample
from .problem_document import Problem as Problem
from .route_figures import RouteFigures as RouteFigures
from .route_figures import RouteList as RouteList
from .worker_status import LeaderState as LeaderState
from .worker_status import RunningHook as RunningHook
from .worker_status import RunningRequest as RunningRequest
from .worker_status import Stack as Stack
from .worker_status import Worker as Worker
from .worker_status import WorkerList as WorkerList
from .worker_status import WorkerState as WorkerState

REQUESTS = (
    ScaleRequest, ReloadRequest, RestartRequest, WorkerRestartRequest, DrainRequest, StopRequest, LogLevelRequest,
    ConfigCheckRequest, ProfileRequest, MemoryRequest,
)  # fmt: skip
RESPONSES = (
    Problem, Status, Worker, WorkerList, Stack, Operation, OperationList, LogLevel, ConfigView, ConfigReport, Event,
    EventList, MetricList, History, RouteList, SlowList, CrashList, Incident, Crash, Why, Doctor,
    WorkerMemory,
)  # fmt: skip
