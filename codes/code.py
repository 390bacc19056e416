"""Each cause that the daemon, its commands and its API complain of, by a number that never changes.

One code is one cause with one remedy, not one line of the source: lines that ask the same of an operator share one. A
number is never given to another cause; one that is not needed any more goes from here and stays in RETIRED. To add
one: a member here, in its range, and an entry in docs/errors.md; tests/unit/test_codes.py holds both in step.

    1xxx configuration    2xxx start, reload, stop    3xxx workers    4xxx requests and clients
    5xxx the application's own mistakes    6xxx control API and metrics    7xxx host, files, logs, TLS
"""

from __future__ import annotations

from enum import Enum, unique

RETIRED: frozenset[int] = frozenset()


@unique
class Code(Enum):
    """`str()` is what people search for: "MW3011"."""

    # configuration
    CONFIG_FILE = 1001
    UNKNOWN_KEY = 1002
    UNKNOWN_SECTION = 1003
    WRONG_VALUE = 1004
    CONTRADICTION = 1005
    NEEDS_RESTART = 1006
    KEY_UNUSED = 1101
    WATCHFILES_MISSING = 1102
    GRANTEE_UNKNOWN = 1103
    SOCKET_UNUSED = 1104
    VARIABLE_UNKNOWN = 1105
    VARIABLES_DROPPED = 1106
    ARGUMENTS_IGNORED = 1107
    ANYBODY_TRUSTED = 1108
    NOT_TRANSLATED = 1201
    OUTPUT_NOT_WRITTEN = 1202
    NOT_CARRIED_OVER = 1203
    MISTYPED = 1301

    # start, reload, stop
    ADDRESS_IN_USE = 2001
    ADDRESS_FORBIDDEN = 2002
    ADDRESS_NOT_LOCAL = 2003
    HOST_UNKNOWN = 2004
    SOCKET_NOT_PASSED = 2005
    CANNOT_LISTEN = 2006
    SOCKET_ACCESS = 2007
    ACCOUNT_UNUSABLE = 2011
    PRIVILEGE_KEEPER = 2012
    PID_FILE_UNUSABLE = 2013
    PID_FILE_HELD = 2014
    NOT_PRELOADED = 2101
    CHANGE_REFUSED = 2102
    OPERATION_REVOKED = 2104
    FIRST_START_FAILED = 2105
    NEW_CODE_FAILS = 2106
    OVERTAKEN = 2108
    CODE_MIXED = 2107  # workers of one generation run different revisions
    STOP_CUT_SHORT = 2201
    END_LATE = 2202
    LEFTOVERS_KILLED = 2203
    PROCESSES_LEFT = 2204
    NO_MODULE = 2301
    IMPORT_RAISED = 2302
    NO_APPLICATION = 2303
    FACTORY_FAILED = 2304
    BOOT_CHECK_FAILED = 2305
    HOOKS_WRONG = 2306
    PATCHED_EARLY = 2307
    INTERPRETER_UNFIT = 2308
    ENGINE_UNAVAILABLE = 2309
    DIRECTORY_UNUSABLE = 2310
    UPGRADED = 2311
    PYTHON_UNUSABLE = 2312
    ENGINE_NOT_BUILT = 2313
    IMPORT_ENDED = 2314
    NONE_READY_YET = 2401
    STOPPING = 2402
    DRAINED = 2403
    INTERNAL = 2901  # a fault of ours

    # workers
    NOT_FORKED = 3001
    BOOT_LATE = 3003
    WORKER_FAILED = 3004
    CRASHED = 3011
    OUT_OF_MEMORY = 3012
    CRASHES_REPEATED = 3013  # most of the latest had the same request in hand
    WORKERS_LOST = 3014  # within a minute, for whatever reason
    WORKERS_MISSING = 3015
    WEDGED = 3021
    SILENT = 3022
    KILLED_LATE = 3023  # after timeouts.graceful
    KILLED_BY_ORDER = 3024
    LAUNCHER_LOST = 3031
    LAUNCHER_STUCK = 3032
    CANNOT_LEAD = 3041
    LEADER_LOST = 3042
    BUSY = 3051
    NO_THREAD = 3052
    NO_PROCESS = 3053
    NO_DESCRIPTORS = 3054
    CHILD_CRASHED = 3055
    ORPHANED = 3056
    JOBS_CUT_OFF = 3057
    SOCKETS_CUT_OFF = 3058
    QUEUE_FILLS = 3059

    # requests and clients
    OPENING_FAILED = 4001
    SLOW_READER = 4002
    BODY_NOT_KEPT = 4003
    REQUEST_TIMEOUT = 4011
    SLOW_REQUEST = 4012
    SOCKETS_FULL = 4021
    SOCKETS_UNSERVED = 4022
    FILE_UNREADABLE = 4031
    REFUSED_400 = 4400
    REFUSED_403 = 4403
    REFUSED_408 = 4408
    REFUSED_411 = 4411
    REFUSED_413 = 4413
    REFUSED_414 = 4414
    REFUSED_417 = 4417
    REFUSED_431 = 4431
    REFUSED_501 = 4501
    REFUSED_503 = 4503
    REFUSED_505 = 4505

    # the application's own mistakes
    RAISED = 5001
    RESPONSE_WRONG = 5002
    SENDFILE_WRONG = 5003
    ROUTE_NO_TEXT = 5004
    CAME_BACK = 5005
    ANSWERS_FAIL = 5006
    HOOK_FAILED = 5011
    HOOK_LATE = 5012
    HOOK_RETURNED = 5013
    AT_FORK_FAILED = 5014

    # control API and metrics
    CONTROL_OFF = 6001
    CONTROL_SOCKET_GONE = 6002
    CONTROL_DENIED = 6003
    SCALE_NOT_KEPT = 6004
    API_MISUSED = 6005
    API_HAS_NONE = 6006
    API_CANNOT_SAY = 6007
    NOBODY_LISTENS = 6011
    NOT_OUR_SOCKET = 6012
    NO_ANSWER = 6013
    ANSWER_LOST = 6014
    VERSIONS_DIFFER = 6015
    WAIT_ENDED = 6016
    NOTHING_SEEN = 6017
    NOT_INSPECTED = 6018
    METRICS_OFF = 6101
    METRICS_DENIED = 6102
    APP_METRICS_UNMERGED = 6201
    APP_METRIC_TAKEN = 6202
    APP_METRICS_DAMAGED = 6203
    APP_METRICS_HOMELESS = 6204

    # host, files, logs, TLS
    LOG_UNUSABLE = 7101
    ACCESS_LOG_UNUSABLE = 7102
    LINES_LOST = 7103
    LAST_WORDS_LOST = 7104
    CERTIFICATE_UNUSABLE = 7201
    CERTIFICATE_REFUSED = 7202
    CERTIFICATE_DOUBTFUL = 7203
    LEADER_LOCK_UNUSABLE = 7301
    LISTENER_KEPT = 7302
    FILE_LEFT = 7303
    REVISION_UNREADABLE = 7304
    UNITS_NOT_INSTALLED = 7305

    def __str__(self) -> str:
        return f"MW{self.value}"
