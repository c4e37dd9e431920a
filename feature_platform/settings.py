"""Every environment variable the platform reads, typed; the only module that names them.

``AWS_*`` variables belong to the AWS SDK's own credential chain and are listed here only to be documented. Nothing is read at import.
"""

import os
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from feature_platform.errors import ConfigurationError

PREFIX: Final = "FEATURE_PLATFORM_"

# Kubernetes sets these in every pod for services of a release that is called like the project.
_SERVICE_LINK: Final = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?)")

AWS_VARIABLES: Final = {
    "AWS_ENDPOINT_URL": "S3 endpoint, for stores other than AWS",
    "AWS_ENDPOINT_URL_S3": "The same for S3 alone; goes before `AWS_ENDPOINT_URL`",
    "AWS_DEFAULT_REGION": "Region of the buckets, as boto3 and s3fs read it",
    "AWS_REGION": "The same, as Arrow, DuckDB and newer AWS SDKs read it",
    "AWS_ACCESS_KEY_ID": "Static credentials, where no role is attached",
    "AWS_SECRET_ACCESS_KEY": "Static credentials, where no role is attached",
    "AWS_SESSION_TOKEN": "Static credentials, where they are temporary",
    "AWS_PROFILE": "A profile of the shared AWS configuration files",
}
"""What the AWS SDK reads by itself (also web identity, container and instance roles)."""


def aws_environment(*, endpoint_url: str, region: str, access_key_id: str, secret_access_key: str) -> dict[str, str]:
    """The variables by which every AWS client of a process finds one S3 endpoint with static credentials.

    A session token that the surrounding environment may hold belongs to other credentials, and an endpoint of S3 alone would go before this
    one, so both are emptied.
    """
    return {
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_ENDPOINT_URL_S3": "",
        "AWS_DEFAULT_REGION": region,
        "AWS_REGION": region,
        "AWS_ACCESS_KEY_ID": access_key_id,
        "AWS_SECRET_ACCESS_KEY": secret_access_key,
        "AWS_SESSION_TOKEN": "",
    }


def redacted(value: str) -> str:
    """The beginning and length of a wrong value, enough to find it. The rest is hidden, because it may be a secret in the wrong variable.

    >>> redacted("s3://me:secret@bucket/raw"), redacted("staging")
    ("'s3://me:…' (25 characters)", "'st…' (7 characters)")
    """
    return f"{value[: min(8, len(value) // 3)] + '…'!r} ({len(value)} characters)"


def _path(value: str) -> str:
    """A path for a message; redacted where it looks like a URL, which may hold a password."""
    return redacted(value) if re.search(r":/|@", value) else repr(value)


def _s3_uri(value: str) -> str:
    if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{2,62}(/[^\s?#]*)?", value):
        raise ValueError(f"expected s3://bucket/prefix with a bucket name of 3 to 63 characters, found {redacted(value)}")
    return value.rstrip("/")


def _redis(value: str) -> str:
    address = value.split(",", 1)[0]
    if not re.fullmatch(r"[^\s:,/]+:\d{1,5}", address):
        raise ValueError("expected Feast's form host:port[,option=value…], e.g. localhost:6379,db=0; found another form")
    return value


def _day(value: object) -> object:
    # pydantic would also take a moment, or a number of seconds since 1970.
    if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        raise ValueError(f"expected a day as YYYY-MM-DD, found {redacted(value)}")
    return value


S3Uri = Annotated[str, AfterValidator(_s3_uri)]


class Settings(BaseModel):
    """Where the platform reads, writes and serves. Field names are the variables' names without prefix, in lower case."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    env: Literal["local", "dev", "prod"] = Field(
        description="Environment; names the Feast project `feature_store_<env>` and the registry path"
    )
    raw_uri: S3Uri = Field(description="Raw objects: `<raw>/<source>/dt=YYYY-MM-DD/…`, only read")
    work_uri: S3Uri = Field(description="Validated events, tiles and quarantine")
    feature_base: S3Uri = Field(description="Feature set versions, logs and `latest/`")
    registry_uri: S3Uri = Field(description="Feast registries: `<registry>/<env>/registry.pb`")
    redis: Annotated[str, AfterValidator(_redis)] = Field(
        repr=False, description="Online store, as Feast's connection string `host:port[,option=value…]`"
    )
    contracts_dir: Path = Field(description="Directory of contracts, source contracts, SQL transforms and metadata templates")
    start_date: Annotated[date, BeforeValidator(_day)] = Field(description="First daily partition, `YYYY-MM-DD`")
    home: Path = Field(default=Path(".feature_platform"), description="Local state: embedded servers, Dagster's instance, temporary files")
    engine_memory_mib: Annotated[int, Field(ge=64)] | None = Field(
        default=None, description="Memory of the compute engine in MiB; where left out, about half of what the container may use"
    )
    spark_remote: Annotated[str, Field(pattern=r"\Asc://")] | None = Field(
        default=None,
        repr=False,
        description="Spark cluster that validates days and computes features, `sc://host:port`; where left out, this process does",
    )
    look_back_days: Annotated[int, Field(ge=1, le=3660)] = Field(
        default=14, description="How many days back raw data is compared with what versions record: by the sensor, `refresh` and `status`"
    )
    online_full_days: Annotated[int, Field(ge=0, le=366)] = Field(
        default=7,
        description="Days after which a load of the online store writes every row again, not only those that differ; 0 for every load",
    )
    sensor_interval_s: Annotated[int, Field(ge=5)] = Field(
        default=300, description="Seconds between two looks of the sensor `raw_data_changed`"
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="How commands and the feature server log: `text`, or `json` for one object a line"
    )
    slack_token: str | None = Field(default=None, repr=False, description="Slack bot token for failure alerts and run summaries")
    slack_channel: str | None = Field(default=None, description="Slack channel for them; both or neither")

    @field_validator("contracts_dir")
    @classmethod
    def _existing_directory(cls, value: Path) -> Path:
        if not value.is_dir():
            raise ValueError(f"expected an existing directory, found {_path(str(value))}")
        return value

    @property
    def feast_project(self) -> str:
        return f"feature_store_{self.env}"


def variable(field: str) -> str:
    """The environment variable of a settings field.

    >>> variable("raw_uri")
    'FEATURE_PLATFORM_RAW_URI'
    """
    return f"{PREFIX}{field.upper()}"


def s3_endpoint_url() -> str | None:
    """The S3 endpoint that the AWS SDK will use, for clients that are not built on it; None for AWS itself."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the environment.

    Args:
        environ: Variables by name; the process environment where left out.

    Raises:
        ConfigurationError: With one sentence for each missing, wrong or unknown ``FEATURE_PLATFORM_*`` variable.
    """
    environ = os.environ if environ is None else environ
    given: dict[str, str] = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environ.items()
        if name.startswith(PREFIX) and value != "" and not _SERVICE_LINK.fullmatch(name)
    }
    faults = [
        f"{PREFIX}{name.upper()}: unknown setting; expected one of those in the README (Settings)"
        for name in given
        if name not in Settings.model_fields
    ]
    try:
        settings = Settings(**{name: value for name, value in given.items() if name in Settings.model_fields})
    except ValidationError as error:
        faults += [_fault(item) for item in error.errors(include_url=False)]
    else:
        if (settings.slack_token is None) != (settings.slack_channel is None):
            faults.append(f"{variable('slack_token')} and {variable('slack_channel')}: expected both or neither, found one")
        if not faults:
            return settings
    raise ConfigurationError(
        f'{len(faults)} setting(s) are missing or wrong. Set them; for a local environment: eval "$(feature-platform up)"', faults
    )


def _fault(item: Any) -> str:
    name = variable(str(item["loc"][0])) if item["loc"] else PREFIX + "*"
    description = Settings.model_fields[str(item["loc"][0])].description if item["loc"] else ""
    if item["type"] == "missing":
        return f"{name}: not set; expected: {description}"
    if item["type"] == "value_error":
        return f"{name}: {item['ctx']['error']}"
    return f"{name}: found {redacted(str(item['input']))}, {item['msg'].replace('Input should be', 'expected', 1)}"


def logs_are_json() -> bool:
    """Whether logs are JSON. Read alone, because some processes log before all settings are loaded, or without loading them."""
    return os.environ.get(variable("log_format")) == "json"


def contracts_dir(environ: Mapping[str, str] | None = None) -> Path:
    """The directory of contracts, for commands that need no other setting.

    Raises:
        ConfigurationError: The variable is not set or names no directory.
    """
    environ = os.environ if environ is None else environ
    name = variable("contracts_dir")
    directory = environ.get(name, "")
    if not directory or not Path(directory).is_dir():
        raise ConfigurationError(f"{name} names no directory:", [f"found {_path(directory)}, expected a directory of contracts"])
    return Path(directory)
