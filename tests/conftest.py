"""What holds for all tests: no skip with PPPGATE_NO_SKIP=1, and what measures time runs alone.

PPPGATE_NO_SKIP=1: every skip is a failure, for machines on which nothing may be missing, such as .ci/run's.
`--timing`: all tests (`with`, as if nothing was said), those without the marker `timing` (`without`), or those that
have it (`only`).
Hypothesis gives each example the time that it takes: a busy machine is no error.
"""

import os
from collections.abc import Generator

import coverage
import pytest
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

NO_SKIP = os.environ.get("PPPGATE_NO_SKIP", "") not in ("", "0")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--timing",
        choices=("with", "without", "only"),
        default="with",
        help="tests that measure time, rates or wake-ups",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = config.getoption("timing")
    if wanted == "with":
        return
    kept: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        measures = item.get_closest_marker("timing") is not None
        (kept if measures == (wanted == "only") else others).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=others)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Where coverage looks on, it looks away from what is marked `untraced`."""
    tracing = coverage.Coverage.current() if item.get_closest_marker("untraced") else None
    if tracing is None:
        return (yield)
    tracing.stop()
    try:
        return (yield)
    finally:
        tracing.start()


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if NO_SKIP and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"PPPGATE_NO_SKIP is set, and this was to be skipped: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_skipped(report)
    return report
