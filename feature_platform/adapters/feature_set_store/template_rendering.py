"""Metadata templates rendered in a bounded process: one that takes too much time or memory ends as its author's error within seconds.

What a template may say does not belong here (``core.versions.template``).
"""

from collections.abc import Mapping
from typing import Any, Final

from feature_platform.adapters.machine.bounded_work import WorkEndedError, WorkLimits, run_bounded
from feature_platform.core.versions import template as metadata_template
from feature_platform.errors import ContractError

LIMITS: Final = WorkLimits(memory_bytes=256 << 20, cpu_s=1.0, wall_s=60.0)
"""A template only computes, so its CPU time is what is bounded: on a busy machine a good one does not fail."""


def render_template(template: str, values: Mapping[str, Any], *, file: str) -> dict[str, Any]:
    """See :func:`metadata_template.render`; in a process of its own, held to :data:`LIMITS`.

    Raises:
        ContractError: Also where the template needs more time or memory than that.
    """
    if len(template) > metadata_template.MAX_TEMPLATE_CHARS:
        return metadata_template.render(template, values, file=file)  # refused before it is parsed, so it is not worth a process
    request = {"template": template, "values": dict(values), "file": file}
    try:
        return dict(run_bounded(render_request, request, limits=LIMITS))
    except WorkEndedError as error:
        raise ContractError(f"Template {file} {error}.", ["expected a template that places values and does little else"]) from error


def render_request(request: dict[str, Any]) -> dict[str, Any]:
    """Runs in the bounded process of :func:`render_template`."""
    return metadata_template.render(request["template"], request["values"], file=request["file"])
