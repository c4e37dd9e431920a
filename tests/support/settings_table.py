"""The README's table of settings, as the code has it."""

from typing import Final

from pydantic_core import PydanticUndefined

from feature_platform.settings import AWS_VARIABLES, Settings, variable

BEGIN: Final = "<!-- settings:begin -->"
END: Final = "<!-- settings:end -->"


def settings_table() -> str:
    """The Markdown between the two markers."""
    rows = [f"| `{variable(name)}` | {field.description} | {_default(field.default)} |" for name, field in Settings.model_fields.items()]
    rows += [f"| `{name}` | {description} | the AWS SDK's own |" for name, description in AWS_VARIABLES.items()]
    return "\n".join(["| Variable | Meaning | Default |", "|---|---|---|", *rows])


def _default(value: object) -> str:
    if value is PydanticUndefined:
        return "**required**"
    return "none" if value is None else f"`{value}`"
