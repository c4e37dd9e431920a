"""The alert port over Slack, and over any webhook that takes JSON: PagerDuty, Opsgenie and Teams have such addresses.

What a notice says does not belong here (``core.operations.incidents``).
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import urllib3

from feature_platform.core.operations.incidents import Notice
from feature_platform.errors import ConfigurationError, StorageError

_ANSWER_S: Final = 10.0
_TAKEN: Final = range(200, 300)


@dataclass(frozen=True, slots=True)
class WebhookChannel:
    """Posts a notice's document (:meth:`Notice.document`, whose ``text`` is what Slack's and Teams' own webhooks show)."""

    url: str = field(repr=False)

    @classmethod
    def of(cls, file: Path) -> Self:
        """The webhook whose address a file holds: the address is a secret, and command lines are read by others.

        Raises:
            ConfigurationError: The file cannot be read or holds no address.
        """
        try:
            url = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeError) as error:
            raise ConfigurationError(f"{file} cannot be read:", [str(error)]) from error
        if not re.fullmatch(r"https?://[^\s/]+\S*", url):
            raise ConfigurationError(f"{file}:", ["expected one http:// or https:// address of a webhook, found something else"])
        return cls(url)

    def send(self, notice: Notice) -> None:
        tries = urllib3.Retry(
            2, status_forcelist=(429, 500, 502, 503, 504), allowed_methods={"POST"}, backoff_factor=0.2, raise_on_status=False
        )
        try:
            answer = urllib3.request("POST", self.url, json=notice.document(), timeout=_ANSWER_S, retries=tries, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            # The error's text has the address, which is a secret.
            raise StorageError(f"The alert webhook does not answer ({type(error).__name__}); it is tried again.") from None
        # Nobody has read an alert that was answered by a redirect, to a login page for example.
        if answer.status not in _TAKEN:
            raise StorageError(
                f"The alert webhook took no alert: it answered with status {answer.status}; expected 200 to 299. It is tried again; "
                "if this stays, correct the webhook's address."
            )


@dataclass(frozen=True, slots=True)
class SlackChannel:
    """Posts a notice's text to a channel, by a bot's token."""

    token: str = field(repr=False)
    channel: str
    base_url: str = "https://slack.com/api/"

    def send(self, notice: Notice) -> None:
        from slack_sdk.errors import SlackClientError
        from slack_sdk.web.client import WebClient

        alert = ":warning:" if notice.incident.problem.state == "healthy" else ":rotating_light:"
        sign = ":white_check_mark:" if notice.kind == "recovery" else alert
        try:
            WebClient(token=self.token, base_url=self.base_url, timeout=int(_ANSWER_S)).chat_postMessage(
                channel=self.channel, text=f"{sign} {notice.text}"
            )
        except (SlackClientError, OSError) as error:
            raise StorageError(f"Slack took no alert ({type(error).__name__}); it is tried again.") from error
